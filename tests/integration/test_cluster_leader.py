"""`status` and `explain` through the Lease and the API server's pod proxy."""

from __future__ import annotations

import pytest
from aiohttp import web

from scaler.kube.client import KubeClient
from scaler.kube.errors import NotFound
from scaler.kube.leader_proxy import NoLeaderError, get_from_leader
from tests.serving import serving

LEASE = "/apis/coordination.k8s.io/v1/namespaces/gpu-scaler/leases/gpu-scaler"
PROXY = "/api/v1/namespaces/gpu-scaler/pods/scaler-a:9446/proxy"


def api(*, holder: str | None, status: int = 200, answer: dict[str, object] | None = None):
    """Answer as an API server with this Lease holder, whose pod gives `answer`."""

    async def handle(request: web.Request) -> web.Response:
        if request.path == LEASE and holder is not None:
            return web.json_response({"spec": {"holderIdentity": holder}})
        if request.path == f"{PROXY}/api/v1/decisions":
            return web.json_response(answer or {"identity": "scaler-a"}, status=status)
        return web.json_response({"kind": "Status", "reason": "NotFound", "code": 404}, status=404)

    return handle


async def ask(handler) -> dict[str, object]:
    async with serving(handler) as url, KubeClient(url) as client:
        return await get_from_leader(
            client,
            "/api/v1/decisions",
            lease_namespace="gpu-scaler",
            lease_name="gpu-scaler",
            port=9446,
        )


async def test_asks_the_pod_that_holds_the_lease():
    assert await ask(api(holder="scaler-a")) == {"identity": "scaler-a"}


async def test_what_the_scaler_does_not_know_is_its_answer():
    answer: dict[str, object] = {"identity": "scaler-a", "error": "no decision"}
    assert await ask(api(holder="scaler-a", status=404, answer=answer)) == answer


async def test_a_pod_that_is_gone_is_an_error():
    with pytest.raises(NotFound):
        await ask(api(holder="scaler-b"))


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
