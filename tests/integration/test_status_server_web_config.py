# SPDX-License-Identifier: Apache-2.0
"""The status page with a web configuration file, and those who ask a page that has one."""

from __future__ import annotations

import pytest

from scaler.kube.errors import NotFound
from simulator.apiserver import running_apiserver
from tests.cluster.certificates import Authority
from tests.embedded import running_cluster
from tests.exporterweb import WebFile, get, hashed
from tests.running import run_program, running_scaler
from tests.scaled import LEASE
from tests.statuspage import Scene, decision, status_page
from tests.waiting import until
from toolkit.web import auth
from toolkit.web.server import PROBE_PATHS

USER = ("us", "right")


@pytest.fixture
def scene():
    made = Scene()
    made.decide(decision())
    return made


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setattr(auth, "POLL_SECONDS", 0.02)
    made = WebFile(tmp_path, Authority(tmp_path, "ca"))
    made.write(tls_server_config=made.tls, basic_auth_users={"us": hashed("right")})
    return made


async def test_tls_and_passwords_for_all_but_probes(scene, file):
    async with status_page(scene, config_file=str(file.path)) as url:
        address = url.removeprefix("https://")
        for path in ("/", "/metrics", "/api/v1/decisions"):
            assert (await get(address, file.client(), path=path))[0] == 401
            assert (await get(address, file.client(), path=path, user=USER))[0] == 200
        for path in PROBE_PATHS:
            assert (await get(address, file.client(), path=path))[0] == 200


async def test_the_page_keeps_its_own_security_headers(scene, file):
    file.write(
        http_server_config={
            "headers": {
                "Content-Security-Policy": "default-src *",
                "Strict-Transport-Security": "max-age=1",
            }
        }
    )
    async with status_page(scene, config_file=str(file.path)) as url:
        _, _, headers = await get(url.removeprefix("http://"), path="/")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Strict-Transport-Security"] == "max-age=1"


async def test_a_changed_password_counts_without_a_restart(scene, file):
    async with status_page(scene, config_file=str(file.path)) as url:
        address = url.removeprefix("https://")
        file.write(tls_server_config=file.tls, basic_auth_users={"us": hashed("newer")})

        async def is_read() -> bool:
            return (await get(address, file.client(), user=("us", "newer")))[0] == 200

        await until(is_read, what="the new password")
        assert (await get(address, file.client(), user=USER))[0] == 401


async def test_status_shows_a_password_and_believes_a_ca(scene, file, tmp_path):
    (tmp_path / "password").write_text("right\n")
    async with status_page(scene, config_file=str(file.path)) as url:
        server = (f"--server={url}", f"--server.tls-ca-file={file.authority.file}")
        status, table, err = await run_program(
            *("status", *server, "--server.username=us"),
            f"--server.password-file={tmp_path / 'password'}",
        )
        assert (status, err) == (0, "")
        assert "web" in table
        status, _, err = await run_program("status", *server)
        assert status == 1
        assert "answered 401: Unauthorized (--server.username, --server.password-file" in err
        status, _, err = await run_program("status", f"--server={url}")
        assert status == 1
        assert "certificate verify failed" in err


async def test_a_file_that_cannot_be_used_ends_the_start(tmp_path):
    async with running_apiserver() as api:
        kubeconfig = api.write_kubeconfig(tmp_path / "kubeconfig")
        status, _, err = await run_program(
            *("run", f"--kubeconfig={kubeconfig}", "--web.listen-address=127.0.0.1:0"),
            f"--web.config.file={tmp_path / 'absent'}",
        )
    assert status == 2
    assert err.splitlines()[-1] == (
        f"gpu-scaler: {tmp_path / 'absent'}: cannot be read: No such file or directory"
    )


async def test_the_lease_says_when_a_running_scaler_begins_to_speak_tls(file, tmp_path):
    file.write()
    async with (
        running_cluster(tmp_path) as cluster,
        running_scaler(
            cluster.kubeconfig, "--identity=scaler-a", f"--web.config.file={file.path}"
        ) as scaler,
    ):
        address = scaler.url.removeprefix("http://")

        async def page() -> str:
            try:
                lease = await cluster.client.get(LEASE)
            except NotFound:
                return ""
            annotations = lease["metadata"].get("annotations") or {}
            return str(annotations.get("gpu-scaler/status-page"))

        async def is_plain() -> bool:
            return await page() == f"http:scaler-a:{address.rpartition(':')[2]}"

        async def is_by_tls() -> bool:
            return await page() == f"https:scaler-a:{address.rpartition(':')[2]}"

        await until(is_plain, what="the page in the Lease")
        file.write(tls_server_config=file.tls)
        await until(is_by_tls, what="TLS in the Lease")
        status, metrics, _ = await get(address, file.client())
        assert status == 200
        assert "gpu_scaler_web_config_last_reload_successful 1.0" in metrics
