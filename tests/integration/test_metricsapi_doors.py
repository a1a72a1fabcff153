# SPDX-License-Identifier: Apache-2.0
"""Who gets in: every kind of certificate, token and header, over real TLS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import aiohttp
import pytest

from scaler.metricsapi.certificates import renewed
from tests.cluster.certificates import Authority
from tests.metricsapidoor import AGGREGATED, BY_HEADERS, HOST, HPA, PODS


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


async def test_who_may_not_learns_nothing_of_what_is_there(door):
    certificate = door.cluster.issue("bob")
    for path in (PODS, "/apis", "/openapi/v2", "/nothing"):
        assert (await door.get(path, certificate=certificate))[0] == 403


async def test_only_reading(door):
    certificate = door.cluster.issue("alice")
    status, answer = await door.get(certificate=certificate, method="DELETE")
    assert (status, answer["reason"]) == (405, "MethodNotAllowed")
    assert door.kubernetes.asked[-1]["spec"]["resourceAttributes"]["verb"] == "delete"
    bob = door.cluster.issue("bob")
    status, answer = await door.get(certificate=bob, method="DELETE")
    assert status == 403
    assert 'User "bob" cannot delete resource "pods/duty_cycle_current"' in answer["message"]


async def test_health_is_open(door):
    for path in ("/healthz", "/livez", "/readyz"):
        assert await door.get(path) == (200, {"text": "ok\n"})
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
    assert "Cannot read the published CAs; the previous ones stay in use" in caplog.messages
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
