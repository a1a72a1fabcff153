# SPDX-License-Identifier: Apache-2.0
"""What the stream of one unary gRPC call carries -> a message or an error."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.podresources.grpc_answer import (
    MAX_DETAILS_CHARACTERS,
    GrpcAnswer,
    GrpcError,
    framed,
    reset_error,
)

HEADERS = [(b":status", b"200"), (b"content-type", b"application/grpc+proto")]
OK = [(b"grpc-status", b"0")]


def answered(*data, headers=HEADERS, trailers=OK, max_bytes=100):
    answer = GrpcAnswer(max_bytes)
    answer.on_headers(headers)
    for one in data:
        answer.on_data(one)
    if trailers is not None:
        answer.on_trailers(trailers)
    return answer.message()


def error(*data, **options):
    with pytest.raises(GrpcError) as caught:
        answered(*data, **options)
    return caught.value


@given(message=st.binary(max_size=100), cuts=st.lists(st.integers(0, 105)))
def test_a_message_is_whole_however_it_is_cut(message, cuts):
    sent = framed(message)
    ends = [0, *sorted(cuts), len(sent)]
    parts = [sent[start:end] for start, end in pairwise(ends)]
    assert answered(*parts) == message


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param([], "INTERNAL", id="no message"),
        pytest.param([b"\0\0"], "INTERNAL", id="a part of the length"),
        pytest.param([framed(b"four")[:-1]], "INTERNAL", id="truncated"),
        pytest.param([b"\1" + framed(b"four")[1:]], "INTERNAL", id="compressed"),
        pytest.param([framed(b"four"), framed(b"")], "INTERNAL", id="two messages"),
        pytest.param([framed(b"x" * 101)[:5]], "RESOURCE_EXHAUSTED", id="announces too much"),
    ],
)
def test_a_message_that_is_none(data, code):
    assert error(*data).code == code


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (b"1", "CANCELLED"),
        (b"8", "RESOURCE_EXHAUSTED"),
        (b"14", "UNAVAILABLE"),
        (b"16", "UNAUTHENTICATED"),
        (b"17", "UNKNOWN"),
        (b"-1", "UNKNOWN"),
        (b"00", "UNKNOWN"),
        (b"\xff", "UNKNOWN"),
        (b"", "UNKNOWN"),
    ],
)
def test_a_status_other_than_ok(status, code):
    trailers = [(b"grpc-status", status), (b"grpc-message", b"rate%20limit %E2%82%AC %")]
    caught = error(framed(b"four"), trailers=trailers)
    assert (caught.code, caught.details) == (code, "rate limit € %")
    alone = error(headers=[*HEADERS, *trailers], trailers=None)
    assert (alone.code, alone.details) == (code, "rate limit € %"), "an answer without a message"


def test_an_answer_without_a_status_is_not_ok():
    assert error(framed(b"four"), trailers=None).code == "UNKNOWN"
    assert error(framed(b"four"), trailers=[(b"x", b"y")]).code == "UNKNOWN"


def test_details_have_a_bound_and_are_text():
    trailers = [(b"grpc-status", b"2"), (b"grpc-message", b"%ff" * 10_000)]
    assert error(trailers=trailers).details == "\ufffd" * MAX_DETAILS_CHARACTERS
    trailers = [(b"grpc-status", b"2"), (b"grpc-message", b"%1b[2Jgone")]
    assert error(trailers=trailers).details == "\ufffd[2Jgone"


@pytest.mark.parametrize(
    ("status", "content_type", "code"),
    [
        (b"400", b"text/plain", "INTERNAL"),
        (b"401", b"application/grpc", "UNAUTHENTICATED"),
        (b"403", b"application/grpc", "PERMISSION_DENIED"),
        (b"404", b"text/html", "UNIMPLEMENTED"),
        (b"503", b"text/plain", "UNAVAILABLE"),
        (b"500", b"text/plain", "UNKNOWN"),
        (b"200", b"text/html" * 1000, "UNKNOWN"),
    ],
)
def test_what_is_not_grpc(status, content_type, code):
    caught = error(headers=[(b":status", status), (b"content-type", content_type)])
    assert caught.code == code
    assert len(caught.details) < 2 * MAX_DETAILS_CHARACTERS


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (0, "INTERNAL"),
        (7, "UNAVAILABLE"),
        (8, "CANCELLED"),
        (11, "RESOURCE_EXHAUSTED"),
        (12, "PERMISSION_DENIED"),
        (4_000_000_000, "INTERNAL"),
    ],
)
def test_a_stream_that_is_reset(number, code):
    assert reset_error(number).code == code
