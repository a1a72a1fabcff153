# SPDX-License-Identifier: Apache-2.0
"""The exporter at a socket in the file system, and at those that systemd passes."""

from __future__ import annotations

import socket
import stat

import aiohttp
import pytest

from exporter.doctor.serving import check_serving
from simulator.driver import SimulatedDriver
from tests.exporting import configuration, exporter
from tests.integration.test_exporter_process import (
    finished,
    listening_port,
    process,
    simulated,
)
from tests.waiting import until
from toolkit.listening.listener import BindError, Listener
from toolkit.listening.local_sockets import local_sockets

# As systemd does it: the socket is file 3 of the process that the variables name.
PASSED = """
import os, socket
made = socket.create_server(("127.0.0.1", 0))
os.dup2(made.fileno(), 3)
os.environ["LISTEN_PID"], os.environ["LISTEN_FDS"] = str(os.getpid()), "1"
"""


async def ready(path):
    """Return whether the exporter at a path is ready."""
    connector = aiohttp.UnixConnector(str(path))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get("http://localhost/readyz") as answer,
    ):
        return answer.status == 200


async def test_a_socket_in_the_file_system(tmp_path):
    path = tmp_path / "exporter.sock"
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver, listen_host=f"unix:{path}") as reader:
            assert reader.exporter.address == (f"unix:{path}", 0)
            await until(lambda: ready(path))
            with pytest.raises(BindError):
                async with exporter(driver, listen_host=f"unix:{path}"):
                    pass
            assert await ready(path), "the second has not taken it from the first"
    assert not path.exists()


async def test_a_socket_that_was_left_behind_is_replaced(tmp_path):
    path = tmp_path / "exporter.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert stat.S_ISSOCK(path.lstat().st_mode)
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver, listen_host=f"unix:{path}"):
            await until(lambda: ready(path))


async def test_the_socket_of_the_next_exporter_stays(tmp_path, monkeypatch):
    path = tmp_path / "exporter.sock"
    close = Listener.close
    following: list[socket.socket] = []

    def close_and_be_followed(listener):
        close(listener)
        if not following:
            following.extend(local_sockets(f"unix:{path}"))

    monkeypatch.setattr(Listener, "close", close_and_be_followed)
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver, listen_host=f"unix:{path}"):
            pass
    with following[0]:
        assert path.exists()


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "notes"
    path.write_text("mine")
    with SimulatedDriver(["T4"]) as driver, pytest.raises(BindError):
        async with exporter(driver, listen_host=f"unix:{path}"):
            pass
    assert path.read_text() == "mine"


async def test_sockets_that_systemd_passes():
    _, program = simulated()
    flags = ("--web.listen-address=systemd", "--log.format=json")
    async with (
        process(("-c", PASSED + program), *flags) as started,
        aiohttp.ClientSession() as session,
    ):
        port = await listening_port(started)

        async def answers():
            async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                return answer.status == 200

        await until(answers)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param("", "systemd passed no socket", id="none"),
        pytest.param(PASSED.replace('"1"', '"seven"'), "LISTEN_FDS is 'seven'", id="no number"),
        pytest.param(PASSED.replace('"1"', '"17"'), "LISTEN_FDS is '17'", id="too many"),
        pytest.param(
            PASSED.replace('socket.create_server(("127.0.0.1", 0))', "socket.socket()"),
            "accepts no connections",
            id="it does not listen",
        ),
    ],
)
async def test_what_systemd_does_not_pass(files, expected):
    _, program = simulated()
    flags = ("--web.listen-address=systemd",)
    status, _, err = await finished(("-c", files + program), *flags)
    assert status == 1
    assert expected in err


async def test_doctor_takes_no_socket_from_anybody(tmp_path):
    path = tmp_path / "exporter.sock"
    host = f"unix:{path}"
    with SimulatedDriver(["T4"]) as driver:
        config = configuration(listen_host=host)
        assert (await checked(config)).endswith("is free")
        async with exporter(driver, listen_host=host):
            await until(lambda: ready(path))
            assert (await checked(config)).endswith("is in use by an exporter that is ready")
            assert await ready(path)
        nowhere = configuration(listen_host=f"unix:{tmp_path}/none/x.sock")
        assert "is missing" in await checked(nowhere)
        circle = tmp_path / "circle"
        circle.symlink_to(circle)
        assert "cannot be read" in await checked(configuration(listen_host=f"unix:{circle}"))
        assert "systemd" in await checked(configuration(listen_host="systemd"))


async def checked(config):
    (finding,) = await check_serving(config)
    return finding.text
