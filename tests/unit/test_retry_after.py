# SPDX-License-Identifier: Apache-2.0
"""What a busy server asks for is understood in every form, bounded, and kept for its path alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.kube.errors import ApiError, from_status
from scaler.kube.retry_after import (
    MAX_PATHS,
    MOST_FOR_LEASES_SECONDS,
    MOST_SECONDS,
    RetryAfter,
    retry_after_seconds,
)

SCALE = "/apis/apps/v1/namespaces/default/deployments/web/scale"
OTHER = "/apis/apps/v1/namespaces/default/deployments/other/scale"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/gpu-scaler/leases/gpu-scaler"
# 2026-11-23T21:00:00Z
NOW_UNIX_SECONDS = 1795467600.0


def asked(header, status):
    return retry_after_seconds(header, status, now_unix_seconds=NOW_UNIX_SECONDS)


@pytest.mark.parametrize(
    ("header", "details", "seconds"),
    [
        ("20", None, 20.0),
        (" 20 ", None, 20.0),
        ("0", None, 0.0),
        ("0.4", None, 0.4),
        ("9" * 400, None, 999_999_999.0),
        ("-1", None, None),
        ("nan", None, None),
        ("inf", None, None),
        ("soon", None, None),
        ("", None, None),
        (None, None, None),
        (None, {"retryAfterSeconds": 7}, 7.0),
        ("soon", {"retryAfterSeconds": 7}, 7.0),
        ("-1", {"retryAfterSeconds": 7}, 7.0),
        ("inf", {"retryAfterSeconds": 7}, 7.0),
        ("3", {"retryAfterSeconds": 7}, 3.0),
        (None, {"retryAfterSeconds": "7"}, None),
        (None, {"retryAfterSeconds": -7}, None),
        (None, {"retryAfterSeconds": True}, None),
        (None, ["retryAfterSeconds"], None),
    ],
)
def test_what_a_server_asks_for(header, details, seconds):
    assert asked(header, {"details": details}) == seconds


def test_a_date_is_an_answer_too():
    assert asked("Mon, 23 Nov 2026 21:01:00 GMT", {}) == 60.0
    assert asked("Wed, 21 Oct 2015 07:28:00 GMT", {}) == 0.0


@given(st.none() | st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_no_text_raises(header, details):
    seconds = asked(header, {"details": details})
    assert seconds is None or seconds >= 0


def refusal(status=429, seconds: float | None = 20.0):
    return from_status(request="PATCH", status=status, body={}, retry_after_seconds=seconds)


class Clock:
    now_seconds = 1000.0

    def __call__(self):
        return self.now_seconds


def is_asked(waits, path):
    try:
        waits.check("GET", path)
    except ApiError as error:
        return not (error.is_refusal() and "retry after" in str(error))
    return True


@pytest.mark.parametrize(
    ("path", "status", "seconds", "waits_seconds"),
    [
        (SCALE, 429, 20.0, 20.0),
        (SCALE, 503, 20.0, 20.0),
        (SCALE, 429, 86_400.0, MOST_SECONDS),
        (SCALE, 429, None, 0.0),
        (SCALE, 500, 20.0, 0.0),
        (SCALE, 409, 20.0, 0.0),
        (SCALE.replace("default", "leases"), 429, 20.0, 20.0),
        (LEASE, 429, 20.0, MOST_FOR_LEASES_SECONDS),
        (LEASE, 429, 1.0, 1.0),
    ],
)
def test_how_long_a_path_is_left_alone(path, status, seconds, waits_seconds):
    waits = RetryAfter(clock := Clock())
    waits.note(path, refusal(status, seconds))
    assert is_asked(waits, OTHER)
    if waits_seconds:
        clock.now_seconds += waits_seconds - 0.1
        assert not is_asked(waits, path)
        clock.now_seconds += 0.1
    assert is_asked(waits, path)


def test_the_body_of_a_refusal_is_not_kept():
    waits = RetryAfter(Clock())
    body = {"message": "busy", "details": ["x" * 10_000]}
    waits.note(SCALE, from_status(request="GET", status=429, body=body, retry_after_seconds=20.0))
    with pytest.raises(ApiError, match="busy") as again:
        waits.check("GET", SCALE)
    assert not again.value.body


def test_what_is_remembered_is_bounded():
    waits = RetryAfter(clock := Clock())
    for n in range(MAX_PATHS + 10):
        waits.note(f"/api/v1/{n}", refusal())
    assert len(waits._until) == MAX_PATHS
    clock.now_seconds += 60
    waits.note(SCALE, refusal())
    assert len(waits._until) == 1
