"""Who gets in: every kind of certificate, token and header, over real TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from scaler.cluster.client import KubeClient
from scaler.cluster.frontproxy import FrontProxy
from scaler.cluster.reviews import Reviews
from scaler.metricsapi import tls
from scaler.metricsapi.authentication import Authentication
from scaler.metricsapi.certificates import renewed
from scaler.metricsapi.documents import value_list
from scaler.metricsapi.paths import ValuesAsked
from scaler.metricsapi.server import Server
from scaler.metricsapi.telemetry import Telemetry
from scaler.metricsapi.tls import ServerTls
from tests.cluster.certificates import Authority
from tests.serving import serving
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.cluster.certificates import Certificate

HOST = "api.ns.svc"
ANY_CIPHER = "DEFAULT:@SECLEVEL=0"
PODS = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/default/pods/*/duty_cycle_current"
HPA = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
BY_HEADERS = {"X-Remote-User": HPA, "X-Remote-Group": "system:authenticated"}


@dataclass
class KubernetesApi:
    """Reviews tokens and access; `may` names who may do anything at all."""

    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    may: set[str] = field(default_factory=lambda: {HPA, "alice"})
    asked: list[dict[str, Any]] = field(default_factory=list)
    broken: bool = False

    async def handle(self, request: web.Request) -> web.Response:
        if self.broken:
            return web.Response(status=503)
        body = orjson.loads(await request.read())
        self.asked.append(body)
        if body["kind"] == "TokenReview":
            user = self.tokens.get(body["spec"]["token"])
            status = {"authenticated": user is not None} | ({"user": user} if user else {})
        else:
            status = {"allowed": body["spec"]["user"] in self.may}
        return web.json_response(body | {"status": status})

    def kinds(self) -> list[str]:
        return [body["kind"] for body in self.asked]


class AnswersNothing:
    """Has one empty list for every metric."""

    async def answer(self, asked, query):
        if isinstance(asked, ValuesAsked):
            return value_list(asked, ())
        return {"kind": "APIGroup"}


@dataclass
class Door:
    """The running API and what callers show it."""

    url: str
    kubernetes: KubernetesApi
    authentication: Authentication
    tls: ServerTls
    folder: Path
    bundle: str
    cluster: Authority
    front_proxy: Authority
    stranger: Authority
    clock: SimpleNamespace
    not_ready: list[str]

    def publish(self, **changes: Any) -> None:
        """Tell the API whom to believe."""
        published = {
            "client_ca_pem": self.cluster.file.read_text(),
            "front_proxy_ca_pem": self.front_proxy.file.read_text(),
            "allowed_names": ("front-proxy-client",),
            "user_headers": ("X-Remote-User",),
            "uid_headers": ("X-Remote-Uid",),
            "group_headers": ("X-Remote-Group",),
            "extra_prefixes": ("X-Remote-Extra-",),
        }
        self.authentication.follow(FrontProxy(**(published | changes)))

    @asynccontextmanager
    async def session(
        self, certificate: Certificate | None = None
    ) -> AsyncIterator[aiohttp.ClientSession]:
        context = ssl.create_default_context(cadata=self.bundle)
        if certificate is not None:
            context.load_cert_chain(certificate.certificate, certificate.key)
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield session

    async def get(
        self,
        path: str = PODS,
        *,
        certificate: Certificate | None = None,
        headers: Any = None,
        method: str = "GET",
    ) -> tuple[int, dict[str, Any]]:
        async with (
            self.session(certificate) as session,
            session.request(
                method, self.url + path, headers=headers, server_hostname=HOST
            ) as answer,
        ):
            text = await answer.text()
            return answer.status, orjson.loads(text) if text.startswith("{") else {"text": text}


@pytest.fixture
async def door(tmp_path) -> AsyncIterator[Door]:
    kubernetes = KubernetesApi()
    material = renewed(None, hosts=(HOST,), now=datetime.now(UTC))
    clock = SimpleNamespace(seconds=0.0, later=timedelta(0))
    tls = ServerTls()
    tls.use(material.serving.certificate_pem(), material.serving.key_pem())
    not_ready: list[str] = []
    async with serving(kubernetes.handle) as kubernetes_url, KubeClient(kubernetes_url) as client:
        reviews = Reviews(client, clock=lambda: clock.seconds)
        authentication = Authentication(
            tls, reviews, wall_clock=lambda: datetime.now(UTC) + clock.later
        )
        server = Server(
            answers=AnswersNothing(),  # type: ignore[arg-type]
            authentication=authentication,
            reviews=reviews,
            telemetry=Telemetry(CollectorRegistry()),
            not_ready_because=lambda: not_ready[0] if not_ready else None,
        )
        runner = server.runner()
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.context).start()
            made = Door(
                url=f"https://127.0.0.1:{runner.addresses[0][1]}",
                kubernetes=kubernetes,
                authentication=authentication,
                tls=tls,
                folder=tmp_path,
                bundle=material.bundle_pem().decode(),
                cluster=Authority(tmp_path, "cluster"),
                front_proxy=Authority(tmp_path, "front-proxy"),
                stranger=Authority(tmp_path, "stranger"),
                clock=clock,
                not_ready=not_ready,
            )
            made.publish()
            yield made
        finally:
            await runner.cleanup()


async def test_the_front_proxy_vouches_for_the_user_of_its_headers(door):
    certificate = door.front_proxy.issue("front-proxy-client")
    headers = [
        ("x-remote-user", HPA),
        ("X-Remote-Group", "system:serviceaccounts"),
        ("X-Remote-Group", "system:authenticated"),
        ("X-Remote-Uid", "uid-1"),
        ("X-Remote-Extra-Example.com%2fscope", "a"),
    ]
    status, answer = await door.get(certificate=certificate, headers=headers)
    assert (status, answer["kind"]) == (200, "MetricValueList")
    (review,) = door.kubernetes.asked
    assert review["spec"] == {
        "user": HPA,
        "groups": ["system:serviceaccounts", "system:authenticated"],
        "uid": "uid-1",
        "extra": {"example.com/scope": ["a"]},
        "resourceAttributes": {
            "verb": "get",
            "group": "custom.metrics.k8s.io",
            "version": "v1beta1",
            "namespace": "default",
            "resource": "pods",
            "subresource": "duty_cycle_current",
            "name": "*",
        },
    }


async def test_nobody_is_asked_about_a_member_of_masters(door):
    certificate = door.front_proxy.issue("front-proxy-client")
    headers = {"X-Remote-User": "system:kube-aggregator", "X-Remote-Group": "system:masters"}
    assert (await door.get("/apis", certificate=certificate, headers=headers))[0] == 200
    assert door.kubernetes.asked == []


async def test_a_wrong_name_of_the_right_authority_vouches_for_nobody(door):
    certificate = door.front_proxy.issue("somebody")
    assert (await door.get(certificate=certificate, headers=BY_HEADERS))[0] == 401
    door.publish(allowed_names=())
    assert (await door.get(certificate=certificate, headers=BY_HEADERS))[0] == 200


async def test_the_front_proxy_without_a_user_is_nobody(door):
    certificate = door.front_proxy.issue("front-proxy-client")
    for headers in ({}, {"X-Remote-Group": "system:masters"}, {"X-Remote-User": ""}):
        assert (await door.get(certificate=certificate, headers=headers))[0] == 401


@pytest.mark.parametrize("name", ["front-proxy-client", "alice"])
async def test_headers_beside_a_clients_certificate_mean_nothing(door, name):
    # The name of the front proxy, signed by another authority that the server trusts.
    certificate = door.cluster.issue(name)
    headers = {"X-Remote-User": "root", "X-Remote-Group": "system:masters"}
    status, _ = await door.get(certificate=certificate, headers=headers)
    (review,) = door.kubernetes.asked
    assert (review["spec"]["user"], status) == (name, 200 if name == "alice" else 403)
    assert "system:masters" not in review["spec"]["groups"]


async def test_a_clients_certificate_names_user_and_groups(door):
    certificate = door.cluster.issue("alice", organizations=["team"])
    assert (await door.get(certificate=certificate))[0] == 200
    (review,) = door.kubernetes.asked
    assert review["spec"]["groups"] == ["team", "system:authenticated"]


async def test_an_authority_of_the_same_name_is_another(door, tmp_path):
    (tmp_path / "imitation").mkdir()
    imitation = Authority(tmp_path / "imitation", "front-proxy")
    with pytest.raises(aiohttp.ClientError):
        await door.get(certificate=imitation.issue("front-proxy-client"), headers=BY_HEADERS)


async def test_a_strangers_certificate_ends_the_handshake(door):
    certificate = door.stranger.issue("front-proxy-client")
    with pytest.raises(aiohttp.ClientError):
        await door.get(certificate=certificate, headers=BY_HEADERS)


async def test_a_certificate_that_has_ended_ends_the_handshake(door):
    certificate = door.front_proxy.issue("front-proxy-client", lifetime=timedelta(minutes=-1))
    with pytest.raises(aiohttp.ClientError):
        await door.get(certificate=certificate, headers=BY_HEADERS)


async def test_a_servers_certificate_is_no_clients(door):
    material = renewed(None, hosts=(HOST,), now=datetime.now(UTC))
    made = SimpleNamespace(certificate=door.folder / "s.crt", key=door.folder / "s.key")
    made.certificate.write_bytes(material.serving.certificate_pem())
    made.key.write_bytes(material.serving.key_pem())
    door.publish(client_ca_pem=material.bundle_pem().decode())
    with pytest.raises(aiohttp.ClientError):
        await door.get(certificate=made)


async def test_a_certificate_that_ends_under_an_open_connection_says_nothing_any_more(door):
    # Its authority's lasts longer.
    certificate = door.front_proxy.issue("front-proxy-client", lifetime=timedelta(hours=1))
    async with door.session(certificate) as session:

        async def ask() -> int:
            async with session.get(
                door.url + PODS, headers=BY_HEADERS, server_hostname=HOST
            ) as answer:
                await answer.read()
                status: int = answer.status
                return status

        assert await ask() == 200
        door.clock.later = timedelta(hours=2)
        assert await ask() == 401


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="nothing"),
        pytest.param(BY_HEADERS, id="identity headers"),
        pytest.param({"X-Remote-User": "a", "X-Remote-Group": "system:masters"}, id="masters"),
        pytest.param({"X-Remote_User": "a"}, id="a header that looks like it"),
        pytest.param({"Authorization": "Bearer wrong"}, id="a wrong token"),
        pytest.param({"Authorization": "Bearer "}, id="no token"),
        pytest.param({"Authorization": "Basic YWxpY2U6eA=="}, id="a password"),
        pytest.param({"Impersonate-User": "alice"}, id="impersonation"),
    ],
)
async def test_without_a_certificate(door, headers):
    status, answer = await door.get(headers=headers)
    assert (status, answer["reason"], answer["message"]) == (401, "Unauthorized", "Unauthorized")
    assert "SubjectAccessReview" not in door.kubernetes.kinds()


async def test_a_token_that_the_api_server_knows(door):
    door.kubernetes.tokens["good"] = {"username": "alice", "groups": ["team"], "uid": "1"}
    headers = {"Authorization": "Bearer good", "X-Remote-User": "root"}
    assert (await door.get(headers=headers))[0] == 200
    assert door.kubernetes.asked[-1]["spec"]["user"] == "alice"
    door.kubernetes.tokens["known"] = {"username": "bob"}
    status, answer = await door.get(headers={"Authorization": "Bearer known"})
    assert (status, answer["reason"]) == (403, "Forbidden")
    assert answer["message"] == (
        'pods/duty_cycle_current.custom.metrics.k8s.io "*" is forbidden: User "bob" cannot get'
        ' resource "pods/duty_cycle_current" in API group "custom.metrics.k8s.io"'
        ' in the namespace "default"'
    )


async def test_reviews_are_remembered_for_10_seconds(door):
    door.kubernetes.tokens["good"] = {"username": "alice"}
    headers = {"Authorization": "Bearer good"}
    for _ in range(3):
        assert (await door.get(headers=headers))[0] == 200
    assert door.kubernetes.kinds() == ["TokenReview", "SubjectAccessReview"]
    # A right that was taken away, and a token.
    door.kubernetes.may.clear()
    door.clock.seconds = 9.9
    assert (await door.get(headers=headers))[0] == 200
    door.clock.seconds = 10.1
    assert (await door.get(headers=headers))[0] == 403
    door.kubernetes.tokens.clear()
    door.clock.seconds = 30
    assert (await door.get(headers=headers))[0] == 401


async def test_another_path_is_another_review(door):
    certificate = door.cluster.issue("alice")
    for path in (PODS, PODS.replace("default", "other"), "/apis/custom.metrics.k8s.io/v1beta1"):
        assert (await door.get(path, certificate=certificate))[0] == 200
    (_, second, third) = (body["spec"] for body in door.kubernetes.asked)
    assert second["resourceAttributes"]["namespace"] == "other"
    assert third["nonResourceAttributes"] == {
        "verb": "get",
        "path": "/apis/custom.metrics.k8s.io/v1beta1",
    }


async def test_who_may_not_learns_nothing_of_what_is_there(door):
    certificate = door.cluster.issue("bob")
    for path in (PODS, "/apis", "/openapi/v2", "/nothing"):
        assert (await door.get(path, certificate=certificate))[0] == 403


async def test_without_the_api_server_nobody_new_gets_in(door):
    certificate = door.cluster.issue("alice")
    door.kubernetes.broken = True
    status, answer = await door.get(certificate=certificate)
    assert (status, answer["reason"]) == (500, "InternalError")
    # What failed is not remembered.
    door.kubernetes.broken = False
    assert (await door.get(certificate=certificate))[0] == 200


async def test_only_reading(door):
    certificate = door.cluster.issue("alice")
    status, answer = await door.get(certificate=certificate, method="DELETE")
    assert (status, answer["reason"]) == (405, "MethodNotAllowed")
    assert door.kubernetes.asked[-1]["spec"]["resourceAttributes"]["verb"] == "delete"


async def test_health_is_open(door):
    for path in ("/healthz", "/livez", "/readyz"):
        assert await door.get(path) == (200, {"text": "ok"})
    door.not_ready.append("not yet")
    assert (await door.get("/healthz"))[0] == 200
    assert await door.get("/readyz") == (503, {"text": "not yet\n"})
    assert door.kubernetes.asked == []


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        pytest.param("application/json", None, id="plain"),
        pytest.param(f"{AGGREGATED.format('v2')},{AGGREGATED.format('v2beta1')}", "v2", id="both"),
        pytest.param(AGGREGATED.format("v2beta1"), "v2beta1", id="of Kubernetes 1.26 to 1.29"),
        pytest.param(f"{AGGREGATED.format('v9')},application/json", None, id="not known"),
    ],
)
async def test_discovery_is_what_is_accepted(door, accept, version):
    url, headers = door.url + "/apis", {"Accept": accept}
    async with door.session(door.cluster.issue("alice")) as session:
        async with session.get(url, headers=headers, server_hostname=HOST) as answer:
            document = await answer.json(content_type=None)
            content_type, etag = answer.headers["Content-Type"], answer.headers.get("ETag")
        if version is None:
            assert (document["kind"], etag) == ("APIGroup", None)
            return
        assert content_type == AGGREGATED.format(version)
        assert document["apiVersion"] == f"apidiscovery.k8s.io/{version}"
        assert document["items"][0]["metadata"]["name"] == "custom.metrics.k8s.io"
        # Who has it already is told so.
        async with session.get(
            url, headers=headers | {"If-None-Match": etag}, server_hostname=HOST
        ) as answer:
            assert (answer.status, await answer.read()) == (304, b"")


async def test_an_authority_that_is_published_no_more_is_believed_no_more(door):
    certificate = door.front_proxy.issue("front-proxy-client")
    async with door.session(certificate) as session:

        async def ask(session: aiohttp.ClientSession) -> int:
            async with session.get(
                door.url + PODS, headers=BY_HEADERS, server_hostname=HOST
            ) as answer:
                await answer.read()
                return answer.status

        assert await ask(session) == 200
        door.publish(front_proxy_ca_pem=door.stranger.file.read_text())
        # The connection was made when it was still believed.
        assert await ask(session) == 401
    with pytest.raises(aiohttp.ClientError):
        await door.get(certificate=certificate, headers=BY_HEADERS)
    certificate = door.stranger.issue("front-proxy-client")
    assert (await door.get(certificate=certificate, headers=BY_HEADERS))[0] == 200


async def test_what_is_published_and_cannot_be_read_changes_nothing(door, caplog):
    door.publish(front_proxy_ca_pem="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    assert "Published authorities cannot be read; the earlier ones stay" in caplog.messages
    certificate = door.front_proxy.issue("front-proxy-client")
    assert (await door.get(certificate=certificate, headers=BY_HEADERS))[0] == 200


async def test_one_authority_for_both_goes_by_the_name(door):
    door.publish(front_proxy_ca_pem=door.cluster.file.read_text())
    alice = door.cluster.issue("alice")
    await door.get(certificate=alice, headers={"X-Remote-User": "root"})
    assert door.kubernetes.asked[-1]["spec"]["user"] == "alice"
    proxy = door.cluster.issue("front-proxy-client")
    await door.get(certificate=proxy, headers={"X-Remote-User": "root"})
    assert door.kubernetes.asked[-1]["spec"]["user"] == "root"


@pytest.mark.parametrize(
    ("version", "spoken"),
    [
        pytest.param(ssl.TLSVersion.TLSv1_2, True, id="TLS 1.2"),
        pytest.param(ssl.TLSVersion.TLSv1_3, True, id="TLS 1.3"),
        pytest.param(ssl.TLSVersion.TLSv1_1, False, id="TLS 1.1"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
async def test_versions_of_tls(door, monkeypatch, version, spoken):
    context = ssl.create_default_context(cadata=door.bundle)
    context.minimum_version = context.maximum_version = version
    # What is refused is refused for its version, not for what OpenSSL thinks of its ciphers.
    make_context = tls._context

    def lenient() -> ssl.SSLContext:
        made = make_context()
        made.set_ciphers(ANY_CIPHER)
        return made

    monkeypatch.setattr(tls, "_context", lenient)
    door.publish()
    for one in (context, door.tls.context):
        one.set_ciphers(ANY_CIPHER)
    host, port = door.url.removeprefix("https://").split(":")

    async def connect() -> None:
        _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=HOST)
        writer.close()
        await writer.wait_closed()

    if spoken:
        await connect()
    else:
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await connect()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_resumed_session_brings_nobody_in_again(door, version):
    """With TLS 1.3 there is none; of TLS 1.2 the certificate is looked at as ever."""
    alice = door.cluster.issue("alice")
    context = ssl.create_default_context(cadata=door.bundle)
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(alice.certificate, alice.key)
    host, port = door.url.removeprefix("https://").split(":")

    def ask(session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession | None, bool]:
        with (
            socket.create_connection((host, int(port)), timeout=5) as connection,
            context.wrap_socket(connection, server_hostname=HOST, session=session) as tls,
        ):
            tls.sendall(f"GET {PODS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: tls.recv(4096), b""))
            return answer[:12], tls.session, bool(tls.session_reused)

    answer, session, _ = await asyncio.to_thread(ask, None)
    assert answer == b"HTTP/1.1 200"
    answer, session, resumed = await asyncio.to_thread(ask, session)
    assert (answer, resumed) == (b"HTTP/1.1 200", version is ssl.TLSVersion.TLSv1_2)
    door.publish(client_ca_pem=door.stranger.file.read_text())
    try:
        answer, _, _ = await asyncio.to_thread(ask, session)
    except (ssl.SSLError, ConnectionError):
        answer = b""
    # A whole handshake verifies it anew, and ends.
    assert answer == (b"HTTP/1.1 401" if version is ssl.TLSVersion.TLSv1_2 else b"")


async def test_a_new_certificate_drops_no_request(door):
    alice = door.cluster.issue("alice")
    statuses: list[int] = []
    stop = asyncio.Event()
    trusted = [door.bundle]

    async def ask_anew() -> None:
        while not stop.is_set():
            door.bundle = "".join(trusted)
            statuses.append((await door.get(certificate=alice))[0])

    async def ask_on_one_connection() -> None:
        async with door.session(alice) as session:
            while not stop.is_set():
                async with session.get(door.url + PODS, server_hostname=HOST) as answer:
                    await answer.read()
                    statuses.append(answer.status)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask_on_one_connection())
        for _ in range(3):
            group.create_task(ask_anew())
        serials = set()
        for _ in range(4):
            serials.add(await _served_serial(door))
            material = renewed(None, hosts=(HOST,), now=datetime.now(UTC))
            trusted.append(material.bundle_pem().decode())
            await _until_answered(statuses, len(statuses) + 10)
            door.tls.use(material.serving.certificate_pem(), material.serving.key_pem())
        stop.set()
    assert set(statuses) == {200}
    assert len(serials) == 4


async def _until_answered(statuses: list[int], count: int) -> None:
    await until(lambda: len(statuses) >= count, what="more requests are answered")


async def _served_serial(door: Door) -> str:
    host, port = door.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cadata=door.bundle)
    _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=HOST)
    serial: str = writer.get_extra_info("peercert")["serialNumber"]
    writer.close()
    await writer.wait_closed()
    return serial
