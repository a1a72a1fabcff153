# SPDX-License-Identifier: Apache-2.0
"""`status` and `explain` through the Lease and the API server's pod proxy."""

from __future__ import annotations

import pytest
from aiohttp import web

from scaler.kube.client import KubeClient
from scaler.kube.errors import NotFound, Unauthorized
from scaler.kube.leader_proxy import (
    LeaderNotAPodError,
    NoLeaderError,
    PageProtectedError,
    get_from_leader,
)
from tests.serving import serving

LEASE = "/apis/coordination.k8s.io/v1/namespaces/gpu-scaler/leases/gpu-scaler"
PODS = "/api/v1/namespaces/gpu-scaler/pods"


def api(
    *,
    holder: str | None,
    page: str | None = None,
    pod: str = "scaler-a:9446",
    status: int = 200,
    answer: dict[str, object] | None = None,
    text: str | None = None,
):
    """Answer as an API server with this Lease holder, whose pod gives `answer` or `text`."""
    annotations = {} if page is None else {"gpu-scaler/status-page": page}

    async def handle(request: web.Request) -> web.Response:
        if request.path == LEASE and holder is not None:
            return web.json_response(
                {"metadata": {"annotations": annotations}, "spec": {"holderIdentity": holder}}
            )
        if request.path == f"{PODS}/{pod}/proxy/api/v1/decisions":
            if text is not None:
                return web.Response(text=text, status=status)
            return web.json_response(answer or {"identity": "scaler-a"}, status=status)
        return web.json_response({"kind": "Status", "reason": "NotFound", "code": 404}, status=404)

    return handle


async def ask(handler, port: int | None = None) -> dict[str, object]:
    async with serving(handler) as url, KubeClient(url) as client:
        return await get_from_leader(
            client,
            "/api/v1/decisions",
            lease_namespace="gpu-scaler",
            lease_name="gpu-scaler",
            port=port,
        )


async def test_asks_the_pod_that_holds_the_lease():
    assert await ask(api(holder="scaler-a")) == {"identity": "scaler-a"}


@pytest.mark.parametrize(
    ("page", "port", "pod"),
    [
        pytest.param("https:scaler-a:8443", None, "https:scaler-a:8443", id="TLS"),
        pytest.param("http:scaler-a:8080", None, "scaler-a:8080", id="another port"),
        pytest.param("https:scaler-a:8443", 7, "https:scaler-a:7", id="a port by flag"),
        pytest.param("https:scaler-b:8443", None, "scaler-a:9446", id="of an earlier holder"),
        pytest.param("gopher:scaler-a:70", None, "scaler-a:9446", id="no page"),
        pytest.param("https:scaler-a:99999", None, "scaler-a:9446", id="no port"),
    ],
)
async def test_the_lease_says_where_the_page_is(page, port, pod):
    assert await ask(api(holder="scaler-a", page=page, pod=pod), port) == {"identity": "scaler-a"}


async def test_a_page_with_passwords_is_told_from_an_api_server_that_refuses():
    page = {"holder": "scaler-a", "page": "https:scaler-a:9446", "pod": "https:scaler-a:9446"}
    with pytest.raises(PageProtectedError, match="port-forward pod/scaler-a 9446") as refused:
        await ask(api(**page, status=401, text="Unauthorized\n"))  # type: ignore[arg-type]
    assert "--server https://localhost:9446" in str(refused.value)
    status: dict[str, object] = {"kind": "Status", "reason": "Unauthorized", "code": 401}
    with pytest.raises(Unauthorized):
        await ask(api(**page, status=401, answer=status))


async def test_a_page_that_hangs_up_may_want_a_client_certificate():
    status: dict[str, object] = {"message": "error trying to reach service: EOF"}
    tls = api(
        holder="scaler-a",
        page="https:scaler-a:9446",
        pod="https:scaler-a:9446",
        status=503,
        answer=status,
    )
    with pytest.raises(PageProtectedError, match="client certificates"):
        await ask(tls)


async def test_what_the_scaler_does_not_know_is_its_answer():
    answer: dict[str, object] = {"identity": "scaler-a", "error": "no decision"}
    assert await ask(api(holder="scaler-a", status=404, answer=answer)) == answer


async def test_a_pod_that_is_gone_is_an_error():
    with pytest.raises(NotFound):
        await ask(api(holder="scaler-b"))


@pytest.mark.parametrize(
    "holder",
    [
        pytest.param("x/../../secrets/token?", id="another path"),
        pytest.param("x/proxy/api/v1/decisions#", id="a path of the pod"),
        pytest.param("..", id="up"),
        pytest.param("https:scaler-a", id="a scheme"),
        pytest.param("scaler-a:1", id="a port"),
        pytest.param("scaler%2Da", id="escaped"),
        pytest.param("Scaler_A", id="a host name that no pod has"),
        pytest.param("a" * 254, id="too long"),
        pytest.param("a" * 100_000, id="far too long"),
        pytest.param(["scaler-a"], id="no text"),
    ],
)
async def test_a_holder_that_is_no_pod_name_is_not_asked(holder):
    paths: list[str] = []
    answer = api(holder=holder)

    async def noting(request):
        paths.append(request.path)
        return await answer(request)

    with pytest.raises(LeaderNotAPodError) as refused:
        await ask(noting)
    assert paths == [LEASE]
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize("spec", [None, [], {"holderIdentity": None}])
async def test_a_lease_without_a_usable_spec_has_no_leader(spec):
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"metadata": None, "spec": spec})

    with pytest.raises(NoLeaderError):
        await ask(answer)


@pytest.mark.parametrize(
    ("holder", "message"),
    [
        pytest.param("", "nobody holds the Lease gpu-scaler/gpu-scaler", id="released"),
        pytest.param(None, "there is no Lease gpu-scaler/gpu-scaler", id="no lease"),
    ],
)
async def test_nobody_acts(holder, message):
    with pytest.raises(NoLeaderError, match=message):
        await ask(api(holder=holder))
