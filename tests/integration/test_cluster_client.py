# SPDX-License-Identifier: Apache-2.0
"""The REST client over real HTTP: errors, credentials, pages, timeouts, broken answers."""

from __future__ import annotations

import asyncio
import json

import pytest
import yaml
from aiohttp import web

from scaler.kube import credentials as credentials_module
from scaler.kube.client import KubeClient
from scaler.kube.credentials import ApiCredentials
from scaler.kube.errors import (
    AlreadyExists,
    ApiError,
    ConfigurationError,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from simulator.apiserver import running_apiserver
from tests.serving import serving

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name, **data):
    return {"metadata": {"name": name}, "data": data}


def kubeconfig(server, **user):
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "contexts": [
                {"name": "here", "context": {"cluster": "c", "user": "u"}},
                {"name": "other", "context": {"cluster": "c", "user": "u"}},
            ],
            "users": [{"name": "u", "user": user}],
        }
    )


async def test_the_verbs():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        made = await client.post(CONFIG_MAPS, config_map("a", x="1"))
        assert made["metadata"]["uid"]
        patched = await client.patch(f"{CONFIG_MAPS}/a", {"data": {"y": "2"}})
        assert patched["data"] == {"x": "1", "y": "2"}
        patched["data"] = {"z": "3"}
        await client.put(f"{CONFIG_MAPS}/a", patched)
        assert (await client.get(f"{CONFIG_MAPS}/a"))["data"] == {"z": "3"}
        await client.delete(f"{CONFIG_MAPS}/a")
        with pytest.raises(NotFound, match='configmaps "a" not found'):
            await client.get(f"{CONFIG_MAPS}/a")


async def test_conflicts_are_told_apart():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        old = await client.post(CONFIG_MAPS, config_map("a"))
        with pytest.raises(AlreadyExists):
            await client.post(CONFIG_MAPS, config_map("a"))
        await client.patch(f"{CONFIG_MAPS}/a", {"data": {"y": "2"}})
        with pytest.raises(Conflict) as caught:
            await client.put(f"{CONFIG_MAPS}/a", old)
        assert not isinstance(caught.value, AlreadyExists)
        assert caught.value.body["reason"] == "Conflict"


async def test_a_list_is_read_page_by_page():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        for number in range(5):
            await client.post(CONFIG_MAPS, config_map(f"m{number}"))
        pages = [len(page["items"]) async for page in client.pages(CONFIG_MAPS, limit=2)]
        assert pages == [2, 2, 1]
        whole = await client.list_(CONFIG_MAPS, limit=2)
        assert [item["metadata"]["name"] for item in whole["items"]] == [
            f"m{number}" for number in range(5)
        ]


async def test_a_continue_token_may_be_too_old():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        for number in range(3):
            await client.post(CONFIG_MAPS, config_map(f"m{number}"))
        pages = client.pages(CONFIG_MAPS, limit=2)
        await anext(pages)
        await client.post(CONFIG_MAPS, config_map("late"))
        api.compact()
        with pytest.raises(Gone):
            await anext(pages)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        pytest.param(400, ApiError, id="bad request"),
        pytest.param(401, Unauthorized, id="unauthorized"),
        pytest.param(403, Forbidden, id="forbidden"),
        pytest.param(404, NotFound, id="not found"),
        pytest.param(410, Gone, id="gone"),
        pytest.param(422, Invalid, id="invalid"),
        pytest.param(429, TooManyRequests, id="too many requests"),
        pytest.param(500, ServerError, id="server error"),
        pytest.param(503, ServerError, id="unavailable"),
        pytest.param(301, ApiError, id="a redirect is no answer"),
    ],
)
async def test_errors_by_status(status, kind):
    async def answer(request):
        return web.Response(status=status, text="<html>a proxy's page</html>")

    async with serving(answer) as url, KubeClient(url) as client:
        with pytest.raises(kind) as caught:
            await client.get("/api/v1/pods")
    assert caught.value.status == status
    assert "a proxy's page" in caught.value.message


async def test_the_servers_own_words_and_retry_after():
    body = {"kind": "Status", "reason": "TooManyRequests", "message": "slow down", "code": 429}

    async def answer(request):
        return web.json_response(body, status=429, headers={"Retry-After": "7"})

    async with serving(answer) as url, KubeClient(url) as client:
        with pytest.raises(TooManyRequests, match="slow down") as caught:
            await client.get("/api/v1/pods")
    assert caught.value.retry_after_seconds == 7.0
    assert caught.value.body == body


@pytest.mark.parametrize("text", ["<html>", "[1, 2]", '{"cut":'])
async def test_an_answer_that_is_no_object(text):
    async def answer(request):
        return web.Response(text=text)

    async with serving(answer) as url, KubeClient(url) as client:
        with pytest.raises(ApiError) as caught:
            await client.get("/api/v1/pods")
    assert caught.value.reason == "NotJSON"


async def test_a_silent_server_is_unreachable():
    async def answer(request):
        await asyncio.sleep(3600)
        return web.Response()

    async with serving(answer) as url, KubeClient(url, timeout_seconds=0.1) as client:
        with pytest.raises(Unreachable) as caught:
            await client.get("/api/v1/pods")
    assert caught.value.status is None
    assert caught.value.reason == "Timeout"


async def test_nobody_listens_or_the_connection_is_cut():
    async with running_apiserver() as api, KubeClient(api.url) as client:
        api.faults.cut_connections = True
        with pytest.raises(Unreachable):
            await client.get("/api/v1/pods")
    async with KubeClient(api.url) as client:
        with pytest.raises(Unreachable):
            await client.get("/api/v1/pods")


async def test_a_rotated_token_file_is_read_again(tmp_path):
    accepted = {"Bearer first"}

    async def answer(request):
        if request.headers.get("Authorization") not in accepted:
            return web.json_response({"reason": "Unauthorized"}, status=401)
        return web.json_response({})

    async with serving(answer) as url:
        token = tmp_path / "token"
        token.write_text("first\n")
        config = tmp_path / "config"
        config.write_text(kubeconfig(url, tokenFile="token"))
        async with await KubeClient.load(str(config)) as client:
            await client.get("/api")
            token.write_text("second\n")
            accepted.clear()
            accepted.add("Bearer second")
            await client.get("/api")  # 401, then read again
            token.write_text("wrong")
            accepted.clear()
            with pytest.raises(Unauthorized):
                await client.get("/api")


async def test_a_token_file_is_read_again_without_being_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(credentials_module, "REFRESH_SECONDS", 0.0)
    (tmp_path / "token").write_text("first")
    (tmp_path / "config").write_text(kubeconfig("http://api", tokenFile="token"))
    credentials = await ApiCredentials.from_kubeconfig(str(tmp_path / "config"))
    (tmp_path / "token").write_text("second")
    assert (await credentials.access()).authorization == "Bearer second"
    (tmp_path / "token").unlink()
    assert (await credentials.access()).authorization == "Bearer second"


async def test_an_exec_plugin_gives_the_token(tmp_path):
    answer = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "echo",
        "args": [json.dumps(answer)],
    }
    (tmp_path / "config").write_text(kubeconfig("http://api/", exec=plugin))
    credentials = await ApiCredentials.from_kubeconfig(str(tmp_path / "config"), "other")
    assert (await credentials.access()).authorization == "Bearer from-plugin"
    assert credentials.server == "http://api"


async def test_the_service_account_of_the_pod(tmp_path, monkeypatch):
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    (tmp_path / "token").write_text("pod-token\n")
    with pytest.raises(ConfigurationError, match="in-cluster service account"):
        await ApiCredentials.in_cluster(tmp_path)
    (tmp_path / "ca.crt").write_text(certificate())
    access = await (await ApiCredentials.in_cluster(tmp_path)).access()
    assert access.server == "https://[fd00::1]:443"
    assert access.authorization == "bearer pod-token"
    assert access.tls is not None


def certificate():
    """Return some CA certificate: the first that this Python's HTTPS libraries ship."""
    import certifi

    text = certifi.contents()
    return text[text.index("-----BEGIN") : text.index("-----END CERTIFICATE-----") + 26]


@pytest.mark.parametrize(
    ("text", "context", "expected"),
    [
        pytest.param(None, None, "no such file", id="no file"),
        pytest.param("{}", None, "current-context", id="an empty one"),
        pytest.param("a: [", None, "while parsing", id="not YAML"),
        pytest.param(
            kubeconfig("http://api"), "absent", "absent; it has here, other", id="unknown context"
        ),
        pytest.param(kubeconfig("http://api", tokenFile="gone"), None, "gone", id="no token file"),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used(tmp_path, text, context, expected):
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        await KubeClient.load(str(path), context)
    assert str(path) in str(caught.value)


async def test_the_environment_names_the_kubeconfig(tmp_path, monkeypatch):
    async with running_apiserver() as api:
        monkeypatch.setenv("KUBECONFIG", str(api.write_kubeconfig(tmp_path / "config")))
        async with await KubeClient.load() as client:
            assert client.server == api.url
            assert (await client.get("/version"))["major"] == "1"
