# SPDX-License-Identifier: Apache-2.0
"""What the metrics API asks the Kubernetes API about its callers, and how often."""

from __future__ import annotations

import asyncio

from scaler.kube.delegated_auth import MAX_AT_ONCE
from scaler.metricsapi import server
from tests.metricsapidoor import PODS
from tests.waiting import until


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


async def test_another_caller_is_another_review(door):
    """The same name with other groups, or otherwise not the same."""
    certificate = door.front_proxy.issue("front-proxy-client")
    for more in (
        {},
        {"X-Remote-Group": "team"},
        {"X-Remote-Uid": "1"},
        {"X-Remote-Extra-scope": "a"},
        {"X-Remote-Extra-scope": "b"},
    ):
        for _ in range(2):
            headers = {"X-Remote-User": "alice"} | more
            assert (await door.get(certificate=certificate, headers=headers))[0] == 200
    asked = [body["spec"] for body in door.kubernetes.asked]
    assert [one["groups"] for one in asked] == [[], ["team"], [], [], []]
    assert [one["uid"] for one in asked] == ["", "", "1", "", ""]
    assert [one["extra"] for one in asked] == [{}, {}, {}, {"scope": ["a"]}, {"scope": ["b"]}]


async def test_without_the_api_server_nobody_new_gets_in(door, caplog):
    certificate = door.cluster.issue("alice")
    door.kubernetes.broken = True
    for _ in range(2):
        status, answer = await door.get(certificate=certificate)
        assert (status, answer["reason"]) == (500, "InternalError")
    # However many come meanwhile.
    assert caplog.messages.count("Cannot review clients") == 1
    # What failed is not remembered.
    door.kubernetes.broken = False
    assert (await door.get(certificate=certificate))[0] == 200


async def test_strangers_tokens_leave_connections_for_others(door):
    door.kubernetes.go_on.clear()
    asking = [
        asyncio.create_task(door.get(headers={"Authorization": f"Bearer token-{n}"}))
        for n in range(MAX_AT_ONCE + 10)
    ]
    await until(lambda: len(door.kubernetes.asked) >= MAX_AT_ONCE)
    proxy = door.front_proxy.issue("front-proxy-client")
    # Callers by certificate are not held up by them.
    headers = {"X-Remote-User": "root", "X-Remote-Group": "system:masters"}
    assert (await door.get(certificate=proxy, headers=headers))[0] == 200
    assert len(door.kubernetes.asked) == MAX_AT_ONCE
    door.kubernetes.go_on.set()
    assert {status for status, _ in await asyncio.gather(*asking)} == {401}
    assert len(door.kubernetes.asked) == MAX_AT_ONCE + 10


async def test_of_too_many_requests_the_last_are_sent_away(door, monkeypatch):
    monkeypatch.setattr(server, "MAX_REQUESTS", 5)
    door.kubernetes.go_on.clear()
    asking = [
        asyncio.create_task(door.get(headers={"Authorization": f"Bearer token-{n}"}))
        for n in range(5)
    ]
    await until(lambda: len(door.kubernetes.asked) == 5)
    status, answer = await door.get(headers={"Authorization": "Bearer another"})
    assert (status, answer["reason"]) == (429, "TooManyRequests")
    assert (await door.get("/readyz"))[0] == 200
    door.kubernetes.go_on.set()
    assert {status for status, _ in await asyncio.gather(*asking)} == {401}
    assert (await door.get())[0] == 401
