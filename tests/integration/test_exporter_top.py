# SPDX-License-Identifier: Apache-2.0
"""`gpu-exporter top` over the simulated library and over HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import pytest
from aiohttp import web

from exporter.cli.config import TopConfig
from exporter.top import page as top_page
from exporter.top.command import show
from exporter.top.page import TopError, read_page
from simulator.driver import SimulatedDriver
from simulator.exporter import busy_driver, hold_all_but_one
from simulator.gpus import SimulatedProcess
from simulator.kubelet import SimulatedKubelet
from simulator.nvml.binding import bind
from tests import sharednode
from tests.cluster.certificates import Authority
from tests.exporterweb import WebFile, hashed
from tests.exporterweb import exporter as guarded_exporter
from tests.exporting import configuration, exporter
from tests.integration.test_exporter_process import NO_LIBRARY, finished, process, simulated
from tests.pages.reading import read_through, run
from tests.simulated import programs
from tests.waiting import DEADLINE_SECONDS, until
from toolkit.http_access import HttpAccess

GIB = 1 << 30
NO_ACCESS = HttpAccess()
INTERVAL = "nvidia_gpu_exporter_interval_seconds 2\n"


@asynccontextmanager
async def answering(handler):
    """Serve this handler at every path; yields the URL."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield "http://{}:{}/metrics".format(*runner.addresses[0][:2])
    finally:
        await runner.cleanup()


async def table(capsys, *, binding=None, url=None, access=NO_ACCESS, **settings):
    config = TopConfig(exporter=configuration(**settings), url=url, watch=False, access=access)
    shown = await show(config, binding)
    out, err = capsys.readouterr()
    return shown, [line.split() for line in out.splitlines()], err


async def test_the_node_and_its_exporter_show_the_same_pods(socket_path, capsys):
    with busy_driver("H100", 3) as driver:
        async with SimulatedKubelet(driver, socket_path) as kubelet:
            hold_all_but_one(driver, kubelet)
            shown, here, err = await table(
                capsys, binding=bind(driver), pod_resources_socket=socket_path
            )
            assert (shown, err) == (True, "")
            assert [row[-2:] for row in here] == [
                ["POD", "CONTAINER"],
                ["default/serving-0", "main"],
                ["default/serving-1", "main"],
                ["(free)", "-"],
            ]
            assert [row[4] for row in here[1:]] == ["0%", "33%", "67%"]
            async with exporter(driver, pod_resources_socket=socket_path) as reader:
                await until(reader.pods, what="the pods")
                url = f"http://127.0.0.1:{reader.port}/metrics"
                shown, remote, err = await table(capsys, url=url)
    assert (shown, err) == (True, "")
    assert [row[:5] + row[-2:] for row in remote] == [row[:5] + row[-2:] for row in here]


async def test_what_the_page_asks_for(tmp_path):
    with (
        busy_driver("H100", 1) as driver,
        read_through("docs/exporter.md", "A table of one node") as page,
    ):
        (block,) = page.take()
        async with exporter(driver) as reader:
            await until(reader.ready)
            there = block.text.replace("gpu-node-7:9445", f"127.0.0.1:{reader.port}")
            printed = await asyncio.to_thread(
                run, replace(block, text=there), tmp_path, programs(tmp_path)
            )
    local, remote = printed.split("GPU ")[1:]
    assert "default/serving-0" in local
    assert "default" not in remote


async def test_containers_that_share_a_gpu_have_a_row_each(tmp_path, capsys):
    node = sharednode.FakeNode(tmp_path)
    node.process_of(100, "web")
    with SimulatedDriver(["T4"]) as driver:
        driver.set_processes(0, [SimulatedProcess(pid=100, memory_used_bytes=3 * GIB)])
        async with sharednode.exporter(node, driver, "web/main", "batch/main") as url:
            await sharednode.becomes(url, sharednode.MEMORY, {"web/main": 3 * GIB, "batch/main": 0})
            _, rows, _ = await table(capsys, url=url)
    assert [(row[4].split("/")[0], row[-2]) for row in rows[1:]] == [
        ("0.0", "default/batch"),
        ("3.0", "default/web"),
    ]


async def test_a_gpu_that_cannot_be_read_has_a_note(capsys):
    with SimulatedDriver(["T4", "T4"]) as driver:
        driver.faults.lose(driver.gpus[1].uuid)
        shown, rows, err = await table(capsys, binding=bind(driver))
    assert shown
    assert len(rows) == 2
    assert "1 of 2 GPUs cannot be read" in err


async def large(_):
    return web.Response(text=INTERVAL + "# \n" * (top_page.MAX_PAGE_BYTES // 3))


async def elsewhere(request):
    raise web.HTTPFound(str(request.url))


async def missing(_):
    return web.Response(status=404)


async def stale(_):
    return web.Response(text=INTERVAL)


async def html(_):
    return web.Response(text="<html><body>no metrics", content_type="text/html")


async def others(_):
    return web.Response(text="node_load1 0.5\n")


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        (large, f"exceeds {16 << 20} bytes"),
        (elsewhere, "HTTP status 302"),
        (missing, "HTTP status 404"),
        (stale, "no current readings"),
        (html, "no exposition"),
        (others, "no gpu-exporter"),
    ],
)
async def test_what_answers_there_is_named(handler, words, capsys):
    async with answering(handler) as url:
        shown, rows, err = await table(capsys, url=url.replace("//", "//user:secret@"))
    assert (shown, rows) == (False, [])
    assert words in err
    assert "secret" not in err


async def test_an_exporter_that_does_not_answer_ends_the_wait(monkeypatch):
    monkeypatch.setattr(top_page, "TIMEOUT", aiohttp.ClientTimeout(total=0.1))
    release = asyncio.Event()

    async def never(_):
        await release.wait()
        return web.Response()

    async with answering(never) as url:
        with pytest.raises(TopError, match="did not answer"):
            await read_page(url)
        release.set()


async def test_a_password_in_the_url_is_sent():
    seen = []

    async def protected(request):
        seen.append(request.headers.get("Authorization"))
        return web.Response(text=f"{INTERVAL}nvidia_gpu_num_devices 0\n")

    async with answering(protected) as url:
        page = await read_page(url.replace("//", "//user:secret@"))
    assert page.device_count == 0
    assert seen == ["Basic dXNlcjpzZWNyZXQ="]


async def test_tls_client_certificates_and_passwords_of_the_web_configuration(tmp_path, capsys):
    file = WebFile(tmp_path, Authority(tmp_path, "ca"))
    client = file.authority.issue("client", hosts=["client"])
    password = tmp_path / "password"
    password.write_text("right\n")
    file.write(
        tls_server_config=file.tls
        | {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.crt"},
        basic_auth_users={"prometheus": hashed("right")},
    )
    whole = HttpAccess(
        ca_file=str(file.authority.file),
        cert_file=str(client.certificate),
        key_file=str(client.key),
        username="prometheus",
        password_file=str(password),
    )
    async with guarded_exporter(file) as address:

        async def shown(access: HttpAccess) -> tuple[bool, str]:
            done, _, err = await table(capsys, url=f"https://{address}/metrics", access=access)
            return done, err

        assert (await shown(whole))[0]
        unverified = replace(whole, ca_file=None, insecure_skip_verify=True)
        assert (await shown(unverified))[0]
        for access, words in (
            (replace(whole, ca_file=None), "certificate verify failed"),
            (replace(whole, server_name="other"), "certificate"),
            (replace(whole, cert_file=None, key_file=None), "https://"),
            (replace(whole, username="other"), "401 (--url.username"),
            (replace(whole, password_file=str(tmp_path / "missing")), "cannot read"),
        ):
            done, err = await shown(access)
            assert not done
            assert words in err
            assert "right" not in err


async def test_a_bearer_token_is_sent(tmp_path, capsys):
    token = tmp_path / "token"
    token.write_text("abc\n")
    seen = []

    async def protected(request):
        seen.append(request.headers.get("Authorization"))
        return web.Response(text=f"{INTERVAL}nvidia_gpu_num_devices 0\n")

    async with answering(protected) as url:
        done, _, _ = await table(capsys, url=url, access=HttpAccess(bearer_token_file=str(token)))
    assert (done, seen) == (True, ["Bearer abc"])


async def test_the_program():
    status, out, err = await finished(simulated(), "top")
    assert status == 0, err
    assert out.splitlines()[1].split()[:2] == ["0", "Tesla"], out
    status, out, err = await finished(NO_LIBRARY, "top")
    assert (status, out) == (1, "")
    assert "LIBRARY_NOT_FOUND" in err


async def test_watch_prints_again_until_ctrl_c():
    async with process(simulated(), "top", "--watch", "--nvml.interval=100ms") as started:
        for _ in range(3):
            assert (await started.stdout.readline()).startswith(b"GPU ")
            await started.stdout.readline()
        os.kill(started.pid, signal.SIGINT)
        async with asyncio.timeout(DEADLINE_SECONDS):
            _, err = await started.communicate()
    assert started.returncode == 130
    assert b"Traceback" not in err
