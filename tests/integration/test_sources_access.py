# SPDX-License-Identifier: Apache-2.0
"""Sources behind TLS, client certificates, passwords and tokens, whose files are replaced."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiohttp
import bcrypt
import pytest
import yaml
from aiohttp import web

from exporter.app import running
from exporter.cli.config import ExporterConfig
from scaler.model import ExporterEndpoint, Metric, ObjectRef, PodPhase, PodState
from scaler.readings.exporters.source import ExporterSource
from scaler.readings.prometheus.source import PrometheusSource
from scaler.readings.settings import ExportersSettings, PrometheusSettings
from scaler.readings.source import ReadingRequest
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.nvml.binding import bind
from tests.cluster.certificates import Authority
from tests.serving import serving
from toolkit import http_credentials
from toolkit.http_access import HttpAccess

if TYPE_CHECKING:
    from scaler.model import MetricReading
    from scaler.readings.source import Source

WEB = ObjectRef(namespace="default", name="web")
POD = ObjectRef(namespace="default", name="web-0")
EXPORTER = ObjectRef(namespace="gpu-exporter", name="gpu-exporter-1")


@pytest.fixture(autouse=True)
def _always_reread(monkeypatch):
    monkeypatch.setattr(http_credentials, "REREAD_SECONDS", 0.0)


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path, "ca")


def server_tls(authority: Authority, *, host: str = "127.0.0.1", asks: bool = False):
    """The TLS of a server for `host`, which asks clients for certificates of the same CA."""
    issued = authority.issue(f"server-{host}", hosts=[host])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.file)
    return context


async def ask(source: Source, url: str = "") -> MetricReading:
    pod = PodState(
        ref=POD,
        uid="1",
        phase=PodPhase.RUNNING,
        deleting=False,
        ready_since_seconds=0.0,
        node_name="node-1",
    )
    asked = ReadingRequest(
        deployment=WEB, metrics=(Metric.DUTY_CYCLE,), pods=(pod,), window_seconds=0
    )
    endpoint = ExporterEndpoint(url=f"{url}/metrics", pod=EXPORTER, ready=True)
    answer = await source.read([asked], {"node-1": endpoint})
    return answer.readings[WEB][Metric.DUTY_CYCLE]


class Server:
    """A Prometheus that knows nothing, and an exporter without GPUs; keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[str | None] = []
        self.keys: list[str | None] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.shown.append(request.headers.get("Authorization"))
        self.keys.append(request.headers.get("X-Key"))
        if request.path == "/metrics":
            return web.Response(text="nvidia_gpu_exporter_snapshot_age_seconds 1\n")
        data: dict[str, Any] = {"resultType": "vector", "result": []}
        return web.json_response({"status": "success", "data": data})


@asynccontextmanager
async def prometheus_source(url: str, access: HttpAccess):
    async with PrometheusSource(PrometheusSettings(url=url, access=access)) as source:
        yield source


@asynccontextmanager
async def exporters_source(url: str, access: HttpAccess):
    scheme = url.partition(":")[0]
    async with ExporterSource(settings=ExportersSettings(scheme=scheme, access=access)) as source:
        yield source


async def outcome(kind, url: str, access: HttpAccess) -> str:
    """What a source says of the one pod: without a value, since the server has none."""
    async with kind(url, access) as source:
        reading = await ask(source, url.replace("https://", "http://"))
        return reading.problem or reading.missing[POD]


KINDS = [
    pytest.param(prometheus_source, id="prometheus"),
    pytest.param(exporters_source, id="exporters"),
]
ANSWERED = ("Prometheus has no nvidia_gpu_duty_cycle", "reports no duty_cycle for this pod")


def is_answered(message: str) -> bool:
    return any(text in message for text in ANSWERED)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_token_is_read_again_and_its_absence_holds(kind, tmp_path):
    server, token = Server(), tmp_path / "token"
    async with (
        serving(server.handle) as url,
        kind(url, HttpAccess(bearer_token_file=str(token))) as source,
    ):
        for text in ("first\n", "second"):
            token.write_text(text)
            await ask(source, url)
        assert server.shown == ["Bearer first", "Bearer second"]
        token.unlink()
        reading = await ask(source, url)
        assert f"cannot read {token}" in (reading.problem or reading.missing[POD])
        for wrong in ("", "two\nlines", "x" * 70_000):
            token.write_text(wrong)
            reading = await ask(source, url)
            message = reading.problem or reading.missing[POD]
            assert f"{token} does not contain exactly one line of text" in message
        assert len(server.shown) == 2
        token.write_text("third")
        await ask(source, url)
    assert server.shown[-1] == "Bearer third"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_password_is_read_again(kind, tmp_path):
    server, password = Server(), tmp_path / "password"
    access = HttpAccess(username="scaler", password_file=str(password))
    async with serving(server.handle) as url, kind(url, access) as source:
        for text in ("hunter2\n", "hünter3"):
            password.write_text(text)
            await ask(source, url)
    assert server.shown == [
        aiohttp.encode_basic_auth("scaler", "hunter2"),
        aiohttp.encode_basic_auth("scaler", "hünter3", encoding="utf-8"),
    ]


async def test_the_value_of_a_header_is_read_again(tmp_path):
    server, key = Server(), tmp_path / "key"
    access = HttpAccess(header_files=(("X-Key", str(key)),))
    async with serving(server.handle) as url, prometheus_source(url, access) as source:
        for text in ("a", "b"):
            key.write_text(text)
            await ask(source)
    assert server.keys == ["a", "b"]


@pytest.mark.parametrize("kind", KINDS)
async def test_files_are_not_read_for_every_request(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(http_credentials, "REREAD_SECONDS", 1000.0)
    server, token = Server(), tmp_path / "token"
    token.write_text("first")
    async with (
        serving(server.handle) as url,
        kind(url, HttpAccess(bearer_token_file=str(token))) as source,
    ):
        await ask(source, url)
        token.write_text("second")
        await ask(source, url)
    assert server.shown == ["Bearer first"] * 2


@pytest.mark.parametrize("kind", KINDS)
async def test_the_servers_certificate_is_verified(kind, authority, tmp_path):
    (tmp_path / "other").mkdir()
    others = str(Authority(tmp_path / "other", "ca").file)
    known = HttpAccess(ca_file=str(authority.file))
    async with serving(Server().handle, tls=server_tls(authority)) as url:
        assert is_answered(await outcome(kind, url, known))
        for access in (HttpAccess(), HttpAccess(ca_file=others)):
            assert "certificate verify failed" in await outcome(kind, url, access)
        assert is_answered(await outcome(kind, url, HttpAccess(insecure_skip_verify=True)))
        assert "cannot use the certificates in /nowhere" in await outcome(
            kind, url, HttpAccess(ca_file="/nowhere")
        )


@pytest.mark.parametrize("kind", KINDS)
async def test_the_name_in_the_certificate_counts(kind, authority):
    """Exporters are asked by address; their certificate is for one name that all share."""
    access = HttpAccess(ca_file=str(authority.file))
    async with serving(Server().handle, tls=server_tls(authority, host="gpu-exporter")) as url:
        assert "certificate verify failed: IP address mismatch" in await outcome(kind, url, access)
        assert is_answered(await outcome(kind, url, replace(access, server_name="gpu-exporter")))
        assert "Hostname mismatch" in await outcome(kind, url, replace(access, server_name="x"))


@pytest.mark.parametrize("kind", KINDS)
async def test_both_sides_show_certificates(kind, authority):
    ours = authority.issue("gpu-scaler")
    access = HttpAccess(ca_file=str(authority.file))
    shown = replace(access, cert_file=str(ours.certificate), key_file=str(ours.key))
    async with serving(Server().handle, tls=server_tls(authority, asks=True)) as url:
        assert not is_answered(await outcome(kind, url, access))
        assert is_answered(await outcome(kind, url, shown))


@pytest.mark.parametrize("kind", KINDS)
async def test_new_certificates_are_used_without_a_restart(kind, authority, tmp_path):
    """The CA of the server is replaced, then our own certificate."""
    (tmp_path / "new").mkdir()
    new = Authority(tmp_path / "new", "ca")
    ca, cert, key = (tmp_path / name for name in ("used-ca", "used-crt", "used-key"))
    ours = authority.issue("gpu-scaler")
    for path, text in ((ca, authority.file), (cert, ours.certificate), (key, ours.key)):
        path.write_bytes(text.read_bytes())
    access = HttpAccess(ca_file=str(ca), cert_file=str(cert), key_file=str(key))
    server = Server()
    async with (
        serving(server.handle, tls=server_tls(new, asks=True)) as url,
        kind(url, access) as source,
    ):
        plain = url.replace("https://", "http://")
        reading = await ask(source, plain)
        assert "certificate verify failed" in (reading.problem or reading.missing[POD])
        ca.write_bytes(new.file.read_bytes())
        reading = await ask(source, plain)
        assert not is_answered(reading.problem or reading.missing[POD])
        theirs = new.issue("gpu-scaler")
        cert.write_bytes(theirs.certificate.read_bytes())
        key.write_bytes(theirs.key.read_bytes())
        reading = await ask(source, plain)
        assert is_answered(reading.problem or reading.missing[POD])


async def test_our_exporter_behind_tls_certificates_and_a_password(authority, tmp_path):
    """By the web configuration file that the exporter has for it."""
    authority.issue("server", hosts=["gpu-exporter.example"])
    ours = authority.issue("gpu-scaler")
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    file = tmp_path / "web.yaml"
    hashed = bcrypt.hashpw(b"hunter2", bcrypt.gensalt(rounds=4)).decode()
    file.write_text(
        yaml.safe_dump(
            {
                "tls_server_config": {
                    "cert_file": "server.crt",
                    "key_file": "server.key",
                    "client_ca_file": "ca.crt",
                    "client_auth_type": "RequireAndVerifyClientCert",
                },
                "basic_auth_users": {"scaler": hashed},
            }
        )
    )
    config = ExporterConfig(
        listen_host="127.0.0.1",
        listen_port=0,
        node_name="node-1",
        pod_resources_socket="",
        nvml_interval_seconds=0.1,
        web_config_file=str(file),
    )
    access = HttpAccess(
        ca_file=str(authority.file),
        server_name="gpu-exporter.example",
        cert_file=str(ours.certificate),
        key_file=str(ours.key),
        username="scaler",
        password_file=str(password),
    )
    async with running(config, bind(SimulatedDriver([GpuSpec()]))) as started:
        url = "https://{}:{}".format(*started.address)
        assert is_answered(await outcome(exporters_source, url, access))
        password.write_text("wrong")
        assert "HTTP status 401" in await outcome(exporters_source, url, access)
        anonymous = replace(access, cert_file=None, key_file=None)
        assert not is_answered(await outcome(exporters_source, url, anonymous))
