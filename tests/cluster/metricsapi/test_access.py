# SPDX-License-Identifier: Apache-2.0
"""What the manifest lets the scaler do, and whom a replica lets in past the API server."""

from __future__ import annotations

import asyncio
import ssl

import aiohttp
import pytest

from tests.cluster.certificates import Authority
from tests.cluster.metricsapi import installing
from tests.cluster.metricsapi.installing import API
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="package")

MAY = (
    "list pods --all-namespaces",
    "get deployments.apps/web --subresource=scale --all-namespaces",
    "get statefulsets.apps/web --subresource=scale --all-namespaces",
    "list statefulsets.apps --all-namespaces",
    "watch nodes",
    "get secrets/gpu-metrics-api --namespace=gpu-scaler",
    "patch secrets/gpu-metrics-api --namespace=gpu-scaler",
    "list endpointslices.discovery.k8s.io --namespace=gpu-scaler",
    "get apiservices.apiregistration.k8s.io/v1beta1.custom.metrics.k8s.io",
    "patch apiservices.apiregistration.k8s.io/v1beta2.custom.metrics.k8s.io",
    "delete apiservices.apiregistration.k8s.io/v1beta2.custom.metrics.k8s.io",
    "create apiservices.apiregistration.k8s.io",
    "create tokenreviews.authentication.k8s.io",
    "create subjectaccessreviews.authorization.k8s.io",
    "get configmaps/extension-apiserver-authentication --namespace=kube-system",
)
MAY_NOT = (
    "get statefulsets.apps/web",
    "watch statefulsets.apps",
    "patch statefulsets.apps/web --subresource=scale",
    "get secrets/another --namespace=gpu-scaler",
    "list secrets --namespace=gpu-scaler",
    "get secrets/gpu-metrics-api --namespace=default",
    "create secrets --namespace=gpu-scaler",
    "delete secrets/gpu-metrics-api --namespace=gpu-scaler",
    "get apiservices.apiregistration.k8s.io/v1beta1.metrics.k8s.io",
    "patch apiservices.apiregistration.k8s.io/v1beta1.metrics.k8s.io",
    "delete apiservices.apiregistration.k8s.io/v1beta1.metrics.k8s.io",
    "list apiservices.apiregistration.k8s.io",
    "get configmaps/another --namespace=kube-system",
    "patch clusterroles.rbac.authorization.k8s.io/gpu-metrics-api",
    "patch nodes",
    "impersonate users",
)
AUTHORITIES = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
PATH = f"{API}/v1beta1/nodes/*/duty_cycle_current"
ADMIN = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}


@pytest.mark.parametrize(
    ("question", "answer"), [(q, "yes") for q in MAY] + [(q, "no") for q in MAY_NOT]
)
async def test_the_manifest_gives_these_rights(served, question, answer):
    kubeconfig = await asyncio.to_thread(served.plane.kubeconfig_for, installing.ACCOUNT)
    done = await asyncio.to_thread(
        served.plane.kubectl, "auth", "can-i", *question.split(), kubeconfig=kubeconfig
    )
    assert done.stdout.strip() == answer, done.stderr


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        pytest.param(PATH, {}, 401, id="nobody"),
        pytest.param(PATH, ADMIN, 401, id="headers of the front proxy without its certificate"),
        pytest.param(PATH, {"Authorization": "Bearer made-up"}, 401, id="a token that is none"),
        pytest.param("/apis", {}, 401, id="discovery"),
        pytest.param("/healthz", {}, 200, id="health"),
        pytest.param("/readyz", {}, 200, id="readiness"),
    ],
)
async def test_a_replica_asked_directly(served, path, headers, status):
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"https://127.0.0.1:{served.follower_port}{path}", headers=headers, ssl=False
        ) as answer,
    ):
        assert answer.status == status


async def test_a_token_goes_as_far_as_its_rights(served):
    async def ask(account: str) -> int:
        answer = await served.client.post(
            "/api/v1/namespaces/{}/serviceaccounts/{}/token".format(*account.split("/")),
            {"spec": {"expirationSeconds": 600}},
        )
        headers = {"Authorization": f"Bearer {answer['status']['token']}"}
        url = f"https://127.0.0.1:{served.follower_port}{PATH}"
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers=headers, ssl=False) as found,
        ):
            return found.status

    assert await ask("default/default") == 403
    assert await ask("kube-system/horizontal-pod-autoscaler") == 200


async def test_whom_the_api_server_publishes_is_watched(served, tmp_path):
    """A certificate that becomes good, and is good no more, without a restart."""
    stranger = Authority(tmp_path, "stranger").issue("someone", organizations=["system:masters"])
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(stranger.certificate, stranger.key)
    url = f"https://127.0.0.1:{served.follower_port}{PATH}"

    async def is_let_in() -> bool:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(url, ssl=context) as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def is_shut_out() -> bool:
        return not await is_let_in()

    async def publish(pem: str) -> None:
        await served.client.patch(AUTHORITIES, {"data": {"client-ca-file": pem}})

    assert await is_shut_out()
    before = (await served.client.get(AUTHORITIES))["data"]["client-ca-file"]
    try:
        await publish(before + (tmp_path / "stranger.crt").read_text())
        await until(is_let_in, what="the published authority is believed")
    finally:
        await publish(before)
    await until(is_shut_out, what="what is published no more is believed no more")
