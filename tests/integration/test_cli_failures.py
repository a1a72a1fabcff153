# SPDX-License-Identifier: Apache-2.0
"""What the programs say, word for word, where the world around them is not as they need it."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import socket
import sys
from contextlib import contextmanager, suppress

import pytest
from aiohttp import web

from scaler.__main__ import main
from scaler.app import lifecycle
from scaler.cli import api_client
from scaler.cli.api_client import ScalerClientError, get_from_server
from simulator.apiserver import running_apiserver
from tests.forbidding import forbidden
from tests.running import run_program
from tests.serving import serving
from toolkit.http_access import HttpAccess

LEASE = "/apis/coordination.k8s.io/v1/namespaces/gpu-scaler/leases/gpu-scaler"
FORBIDDEN = {
    "kind": "Status",
    "status": "Failure",
    "reason": "Forbidden",
    "code": 403,
    "message": 'leases.coordination.k8s.io "gpu-scaler" is forbidden: User "jane" cannot get'
    ' resource "leases" in API group "coordination.k8s.io" in the namespace "gpu-scaler"',
}


@contextmanager
def port_in_use():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def free_port():
    with port_in_use() as port:
        return port


@pytest.fixture
def kubeconfig(tmp_path):
    """Of a cluster that is not there."""
    return written(tmp_path, f"http://127.0.0.1:{free_port()}")


def written(folder, url):
    file = folder / "kubeconfig"
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "a",
                "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
                "clusters": [{"name": "a", "cluster": {"server": url}}],
                "users": [{"name": "a", "user": {"token": "x"}}],
            }
        )
    )
    return file


@pytest.fixture(autouse=True)
def logging_as_before(monkeypatch):
    """`run` sets logging up for its whole process."""
    monkeypatch.setattr(logging.root, "handlers", [*logging.root.handlers])
    level = logging.root.level
    yield
    logging.root.setLevel(level)


def printed_error(capsys):
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.removeprefix("gpu-scaler: ")


@pytest.mark.parametrize("command", ["status", "explain default/web", "run"])
def test_no_kubeconfig(command, tmp_path, capsys):
    assert main([*command.split(), f"--kubeconfig={tmp_path}/absent"]) == 1
    assert printed_error(capsys) == (
        f"kubeconfig {tmp_path}/absent: no such file; set --kubeconfig or KUBECONFIG\n"
    )


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.ESTALE, errno.EIO])
@pytest.mark.parametrize("command", ["status", "run"])
def test_a_kubeconfig_that_the_system_keeps_from_us(command, code, tmp_path, capsys):
    file = tmp_path / "config"
    with forbidden(tmp_path, code):
        assert main([command, f"--kubeconfig={file}"]) == 1
    assert printed_error(capsys) == f"kubeconfig {file}: cannot read {file}: {os.strerror(code)}\n"


def test_a_service_account_that_the_system_keeps_from_us(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr("scaler.kube.credentials.SERVICE_ACCOUNT", tmp_path)
    with forbidden(tmp_path, errno.EACCES):
        assert main(["status"]) == 1
    assert printed_error(capsys) == (
        f"in-cluster service account: cannot read {tmp_path}/token: Permission denied\n"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("clusters: 3\n", "is not a kubeconfig: TypeError: 'int' object is not iterable"),
        (
            "a: [b\n",
            'is not a kubeconfig: ParserError: while parsing a flow sequence in "FILE", line 1,'
            " column 4 expected ',' or ']', but got '<stream end>' in \"FILE\", line 2, column 1",
        ),
    ],
)
def test_a_file_that_is_no_kubeconfig(content, expected, tmp_path, capsys):
    file = tmp_path / "config"
    file.write_text(content)
    assert main(["status", f"--kubeconfig={file}"]) == 1
    assert printed_error(capsys).replace(str(file), "FILE") == f"kubeconfig FILE: {expected}\n"


def test_no_cluster(kubeconfig, capsys):
    assert main(["status", f"--kubeconfig={kubeconfig}"]) == 1
    output = printed_error(capsys)
    assert output.startswith(f"GET {LEASE}: no response: cannot connect to 127.0.0.1:")
    assert output.endswith(": Connection refused\n")


def test_no_scaler_at_an_address(capsys):
    port = free_port()
    assert main(["status", f"--server=http://127.0.0.1:{port}"]) == 1
    assert printed_error(capsys) == (
        f"cannot query the scaler at http://127.0.0.1:{port}/api/v1/decisions: cannot connect"
        f" to 127.0.0.1:{port}: Connection refused\n"
    )


def test_flags_of_an_address_that_is_not_given(capsys):
    assert main(["status", "--server.tls-insecure-skip-verify"]) == 2
    assert "--server.* flags are set" in printed_error(capsys)


async def test_no_scaler_in_the_cluster(tmp_path):
    async with running_apiserver() as api:
        file = api.write_kubeconfig(tmp_path / "kubeconfig")
        status, out, err = await run_program("status", f"--kubeconfig={file}")
    assert (status, out) == (1, "")
    assert err == (
        "gpu-scaler: there is no Lease gpu-scaler/gpu-scaler: is the scaler installed in that"
        " namespace? (--lease-namespace, --lease-name)\n"
    )


async def test_a_cluster_that_permits_nothing(tmp_path):
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response(FORBIDDEN, status=403)

    async with serving(refuse) as url:
        file = written(tmp_path, url)
        status, out, err = await run_program("status", f"--kubeconfig={file}")
    assert (status, out) == (1, "")
    assert err == f"gpu-scaler: GET {LEASE}: 403 Forbidden: {FORBIDDEN['message']}\n"


def test_an_address_that_is_taken(kubeconfig, capsys):
    with port_in_use() as port:
        address = f"127.0.0.1:{port}"
        arguments = [f"--kubeconfig={kubeconfig}", f"--web.listen-address={address}"]
        assert main(["run", *arguments]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == (
        f"gpu-scaler: --web.listen-address: cannot bind {address}: Address already in use"
    )


@pytest.mark.parametrize(
    "command", ["check -o json /absent", "completion bash"], ids=["short", "long"]
)
async def test_a_reader_that_has_seen_enough(command):
    process = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m scaler {command} | true",
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": ""},
    )
    _, err = await asyncio.wait_for(process.communicate(), 60)
    assert err == b""


def test_one_loop_without_a_cluster(kubeconfig, monkeypatch, capsys):
    monkeypatch.setattr(lifecycle, "SYNC_TIMEOUT_SECONDS", 0.3)
    assert main(["run", "--once", f"--kubeconfig={kubeconfig}"]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "gpu-scaler: the watches did not sync within 0.3 s"


@pytest.mark.parametrize("command", ["status", "why-not", "explain default/web"])
@pytest.mark.parametrize(
    "document", [{}, {"error": "broken"}, {"decisions": 3}, {"decisions": [3]}, {"kind": "Status"}]
)
def test_an_answer_that_is_not_a_scalers(command, document, monkeypatch, capsys):
    async def answer(*_):
        return document

    monkeypatch.setattr("scaler.cli.decisions.get_from_server", answer)
    assert main([*command.split(), "--server=http://x"]) == 1
    assert printed_error(capsys)


async def test_an_answer_without_end_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(api_client, "MAX_ANSWER_BYTES", 1000)

    async def endless(request):
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b" " * 4096)
        return response

    async with serving(endless) as url:
        with pytest.raises(ScalerClientError, match="exceeds 1000 bytes"):
            await get_from_server(url, HttpAccess())


@pytest.mark.parametrize(
    ("command", "path"),
    [
        ("status", "/api/v1/decisions"),
        ("explain default/web", "/api/v1/decisions/default/web"),
        ("explain default/web --history", "/api/v1/decisions/default/web/history"),
    ],
)
def test_a_scaler_of_another_version(command, path, monkeypatch, capsys):
    documents = {
        "/api/v1/decisions": {"decisions": [{"namespace": "default"}], "leading": True},
        "/api/v1/decisions/default/web": {"decision": {"namespace": "default"}},
        "/api/v1/decisions/default/web/history": {"history": [{"outcome": 3}]},
    }

    async def answer(url, _):
        return documents[url.removeprefix("http://x")]

    monkeypatch.setattr("scaler.cli.decisions.get_from_server", answer)
    assert main([*command.split(), "--server=http://x"]) == 1
    assert "another version" in printed_error(capsys)
    assert main([*command.split(), "--server=http://x", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == documents[path]
