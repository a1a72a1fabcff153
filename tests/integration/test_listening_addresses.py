# SPDX-License-Identifier: Apache-2.0
"""The addresses that the listener of both programs binds for a host name."""

from __future__ import annotations

import asyncio
import errno
import socket

import pytest

from toolkit.listening.sockets import bound_sockets


@pytest.mark.parametrize(
    ("host", "v4", "v6"),
    [
        pytest.param("", True, True, id="none"),
        pytest.param("::", True, True, id="IPv6's everything"),
        pytest.param("::0", True, True, id="the same"),
        pytest.param("0:0:0:0:0:0:0:0", True, True, id="the same in full"),
        pytest.param("0.0.0.0", True, False, id="IPv4's everything"),
        pytest.param("127.0.0.1", True, False, id="IPv4"),
        pytest.param("::1", False, True, id="IPv6"),
        pytest.param("::ffff:127.0.0.1", True, False, id="IPv4 written as IPv6"),
    ],
)
async def test_what_a_host_binds(host, v4, v6):
    bound = await bound_sockets(host, 0)
    try:
        port = bound[0].getsockname()[1]
        for address, answers in (("127.0.0.1", v4), ("::1", v6)):
            try:
                _, writer = await asyncio.open_connection(address, port)
            except OSError:
                assert not answers, address
            else:
                assert answers, address
                writer.close()
    finally:
        for one in bound:
            one.close()


async def test_a_name_binds_all_its_addresses_at_one_port():
    bound = await bound_sockets("localhost", 0)
    assert len({one.getsockname()[1] for one in bound}) == 1
    assert "127.0.0.1" in {one.getsockname()[0] for one in bound}
    for one in bound:
        one.close()


async def test_a_name_of_all_addresses_binds_those_of_both_families(monkeypatch):
    async def everything(*_, **__):
        return [
            (family, socket.SOCK_STREAM, 6, "", (address, 0))
            for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", everything)
    bound = await bound_sockets("everywhere.example", 0)
    assert {one.family for one in bound} == {socket.AF_INET, socket.AF_INET6}
    assert len({one.getsockname()[1] for one in bound}) == 1
    for one in bound:
        one.close()


@pytest.mark.parametrize("host", ["", "::", "localhost"])
@pytest.mark.parametrize("when", ["made", "bound"])
async def test_without_ipv6_it_is_ipv4(monkeypatch, host, when):
    real = socket.socket

    class WithoutIpv6(real):  # type: ignore[misc, valid-type]
        def __init__(self, family=socket.AF_INET, *rest, **others) -> None:
            if family == socket.AF_INET6 and when == "made":
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *rest, **others)

        def bind(self, address) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
            super().bind(address)

    monkeypatch.setattr(socket, "socket", WithoutIpv6)
    (bound,) = await bound_sockets(host, 0)
    assert bound.family == socket.AF_INET
    bound.close()


@pytest.mark.parametrize("host", ["", "::", "127.0.0.1", "localhost", "0.0.0.0"])
async def test_a_port_that_is_taken_is_an_error(host):
    (taken,) = await bound_sockets("127.0.0.1", 0)
    with pytest.raises(OSError, match="in use"):
        await bound_sockets(host, taken.getsockname()[1])
    taken.close()


async def test_an_address_of_another_machine_is_an_error():
    with pytest.raises(OSError, match="assign requested"):
        await bound_sockets("192.0.2.1", 0)
