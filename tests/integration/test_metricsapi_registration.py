# SPDX-License-Identifier: Apache-2.0
"""The Secret and the APIServices on an API server: shared, kept, and never taken from others."""

from __future__ import annotations

import asyncio
import base64
import copy
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from scaler.kube.api_services import ApiServices, OwnedByAnother, Registration
from scaler.kube.client import KubeClient
from scaler.kube.errors import NotFound
from scaler.kube.secret import SharedSecret
from scaler.metricsapi.certificates import SERVING_LIFETIME, Material, read_secret, renewed
from scaler.metricsapi.serving import CertificateError, FileCertificate, SecretCertificate
from scaler.metricsapi.telemetry import Telemetry
from scaler.metricsapi.tls import ServerTls
from tests.serving import serving

SECRET = "/api/v1/namespaces/ns/secrets/api"
APIS = "/apis/apiregistration.k8s.io/v1/apiservices"
ROLE = "/apis/rbac.authorization.k8s.io/v1/clusterroles/api"
V1, V2 = f"{APIS}/v1beta1.custom.metrics.k8s.io", f"{APIS}/v1beta2.custom.metrics.k8s.io"
HOSTS = ("api.ns.svc",)


class Store:
    """Objects by path, with resource versions; counts what was written."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.written: list[str] = []
        self._version = 0

    def put(self, path: str, body: dict[str, Any]) -> None:
        self._version += 1
        metadata = body.setdefault("metadata", {})
        metadata.setdefault("uid", f"uid-{self._version}")
        metadata["resourceVersion"] = str(self._version)
        self.objects[path] = body

    async def handle(self, request: web.Request) -> web.Response:
        path, old = request.path, self.objects.get(request.path)
        if request.method == "GET":
            return web.json_response(old) if old else web.Response(status=404)
        self.written.append(f"{request.method} {path}")
        body = orjson.loads(await request.read())
        if request.method == "DELETE":
            if old is None:
                return web.Response(status=404)
            wanted = body["preconditions"]
            if any(wanted[key] != old["metadata"][key] for key in ("uid", "resourceVersion")):
                return web.json_response({"reason": "Conflict"}, status=409)
            del self.objects[path]
            return web.json_response({"kind": "Status"})
        if request.method == "POST":
            path = f"{path}/{body['metadata']['name']}"
            if path in self.objects:
                return web.json_response({"reason": "AlreadyExists"}, status=409)
        else:
            assert old is not None
            if body["metadata"]["resourceVersion"] != old["metadata"]["resourceVersion"]:
                return web.json_response({"reason": "Conflict"}, status=409)
            body = _merged(copy.deepcopy(old), body)
        self.put(path, body)
        return web.json_response(body)


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(patch, dict):
        return patch
    for key, value in patch.items():
        if value is None:
            old.pop(key, None)
        else:
            old[key] = _merged(old.get(key), value)
    return old


@pytest.fixture
async def server():
    store = Store()
    async with serving(store.handle) as url, KubeClient(url) as client:
        yield SimpleNamespace(store=store, client=client)


def registration() -> Registration:
    return Registration(
        group="custom.metrics.k8s.io",
        priorities={"v1beta1": 100, "v1beta2": 200},
        service_namespace="ns",
        service_name="api",
        service_port=443,
        owner_role="api",
    )


def replica(server, clock=None):
    tls = ServerTls()
    certificate = SecretCertificate(
        SharedSecret(server.client, namespace="ns", name="api"),
        tls,
        Telemetry(CollectorRegistry()),
        hosts=HOSTS,
        wall_clock=clock or (lambda: datetime.now(UTC)),
    )
    return SimpleNamespace(tls=tls, certificate=certificate)


async def test_two_replicas_share_what_one_of_them_made(server):
    server.store.put(SECRET, {})
    first, second = replica(server), replica(server)
    bundles = await asyncio.gather(first.certificate.refresh(), second.certificate.refresh())
    assert bundles[0] == bundles[1]
    assert first.tls.has_certificate
    assert second.tls.has_certificate
    data = server.store.objects[SECRET]["data"]
    material = read_secret({key: base64.b64decode(value) for key, value in data.items()})
    assert material is not None
    assert material.bundle_pem() == bundles[0]
    writes = len(server.store.written)
    await first.certificate.refresh()
    assert len(server.store.written) == writes


async def test_it_is_renewed_by_whoever_comes_first_and_taken_up_by_the_other(server):
    now = [datetime.now(UTC)]
    server.store.put(SECRET, {})
    first, second = (replica(server, lambda: now[0]) for _ in range(2))
    bundle = await first.certificate.refresh()
    await second.certificate.refresh()
    old = server.store.objects[SECRET]["data"]["tls.crt"]
    now[0] += SERVING_LIFETIME - timedelta(days=1)
    assert await first.certificate.refresh() == bundle
    assert server.store.objects[SECRET]["data"]["tls.crt"] != old
    writes = len(server.store.written)
    assert await second.certificate.refresh() == bundle
    assert len(server.store.written) == writes


async def test_what_somebody_else_put_into_the_secret_is_replaced(server, caplog):
    server.store.put(SECRET, {"data": {"tls.crt": base64.b64encode(b"x").decode()}})
    one = replica(server)
    await one.certificate.refresh()
    assert one.tls.has_certificate
    assert "Replacing the content of the Secret" in caplog.messages


async def test_without_the_secret_there_is_no_certificate(server):
    one = replica(server)
    with pytest.raises(NotFound):
        await one.certificate.refresh()
    assert not one.tls.has_certificate


async def test_certificates_from_files_are_taken_up_when_they_change(tmp_path, caplog):
    caplog.set_level("INFO")

    def put(material: Material) -> None:
        for name, content in material.to_secret().items():
            (tmp_path / name).write_bytes(content)

    def used() -> list[str]:
        return [
            record.serial
            for record in caplog.records
            if record.message == "Serving certificate in use"
        ]

    first, second = (renewed(None, hosts=HOSTS, now=datetime.now(UTC)) for _ in range(2))
    put(first)
    tls = ServerTls()
    telemetry = Telemetry(CollectorRegistry())
    files = FileCertificate(
        tls,
        telemetry,
        cert_file=str(tmp_path / "tls.crt"),
        key_file=str(tmp_path / "tls.key"),
        ca_file=str(tmp_path / "ca.crt"),
    )
    for _ in range(2):
        assert await files.refresh() == first.bundle_pem()
    assert tls.has_certificate
    serials = [f"{one.serving.certificate.serial_number:x}" for one in (first, second)]
    assert used() == serials[:1]
    (tmp_path / "tls.key").write_text("half written")
    with pytest.raises(CertificateError, match=r"cannot use the certificate in .*tls\.key"):
        await files.refresh()
    # What was there before still serves.
    assert tls.has_certificate
    put(second)
    assert await files.refresh() == second.bundle_pem()
    assert used() == serials


async def test_the_apiservices_are_made_once_and_go_with_the_role(server):
    server.store.put(ROLE, {"metadata": {"uid": "role-uid"}})
    services = ApiServices(server.client, registration())
    assert await services.ensure(b"bundle") is True
    assert await services.ensure(b"bundle") is False
    assert server.store.written == [f"POST {APIS}"] * 2
    for path, priority in ((V1, 100), (V2, 200)):
        made = server.store.objects[path]
        assert made["spec"] == {
            "group": "custom.metrics.k8s.io",
            "version": path.rpartition("/")[2].partition(".")[0],
            "groupPriorityMinimum": 100,
            "versionPriority": priority,
            "service": {"namespace": "ns", "name": "api", "port": 443},
            "caBundle": base64.b64encode(b"bundle").decode(),
        }
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == ("ClusterRole", "api", "role-uid")


async def test_a_new_bundle_is_patched_in_and_nothing_else(server):
    services = ApiServices(server.client, registration())
    await services.ensure(b"old")
    server.store.objects[V1]["metadata"]["annotations"] = {"theirs": "1"}
    before = copy.deepcopy(server.store.objects[V1])
    assert await services.ensure(b"new") is True
    after = server.store.objects[V1]
    assert after["spec"].pop("caBundle") == base64.b64encode(b"new").decode()
    del before["spec"]["caBundle"]
    assert (after["spec"], after["metadata"]["annotations"]) == (before["spec"], {"theirs": "1"})
    # Without one, what others put there stays.
    assert await services.ensure(None) is False


async def test_both_replicas_at_once(server):
    results = await asyncio.gather(
        *(ApiServices(server.client, registration()).ensure(b"bundle") for _ in range(2))
    )
    assert any(results)
    assert {V1, V2} <= server.store.objects.keys()


@pytest.mark.parametrize("theirs", [V1, V2])
@pytest.mark.parametrize(
    ("spec", "labels", "expected"),
    [
        pytest.param(
            {"service": {"namespace": "monitoring", "name": "prometheus-adapter"}},
            {"app.kubernetes.io/managed-by": "Helm"},
            "belongs to the Service monitoring/prometheus-adapter, managed by Helm",
            id="an adapter",
        ),
        pytest.param(
            {"service": {"namespace": "other", "name": "api"}},
            {},
            "belongs to the Service other/api",
            id="another namespace",
        ),
        pytest.param({"service": None}, {}, "is served by the API server itself", id="local"),
    ],
)
async def test_what_belongs_to_another_is_left_alone(server, theirs, spec, labels, expected):
    server.store.put(theirs, {"spec": spec, "metadata": {"labels": labels}})
    services = ApiServices(server.client, registration())
    with pytest.raises(OwnedByAnother) as refused:
        await services.ensure(b"bundle")
    assert str(refused.value) == f"{theirs.rpartition('/')[2]} {expected}"
    assert server.store.written == []


async def test_only_what_was_made_here_is_taken_away(server):
    services = ApiServices(server.client, registration())
    assert await services.remove() is False
    await services.ensure(b"bundle")
    # By another's manifest, with what cert-manager is to put in: nobody would make it again so.
    server.store.objects[V1]["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "Helm"}
    assert await services.remove() is True
    assert V1 in server.store.objects
    assert V2 not in server.store.objects
    server.store.objects[V1]["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "gpu-scaler"}
    server.store.objects[V1]["spec"]["service"]["namespace"] = "other"
    assert await services.remove() is False
    assert V1 in server.store.objects


async def test_both_replicas_may_take_them_away(server):
    services = ApiServices(server.client, registration())
    await services.ensure(b"bundle")
    removed = await asyncio.gather(services.remove(), services.remove())
    assert any(removed)
    assert not {V1, V2} & server.store.objects.keys()
