# SPDX-License-Identifier: Apache-2.0
"""The table of servers: each row is complete, and the order tells servers apart."""

from __future__ import annotations

import pytest

from scaler.readings.servers.table import SERVERS, ModelServer, Term, hints_of

TERMS = [
    term
    for server in SERVERS
    for measure in (server.requests, server.waiting, server.kv_cache)
    if not isinstance(measure, str)
    for terms in measure
    for term in terms
]


def test_names_and_titles_are_unique():
    assert len({server.name for server in SERVERS}) == len(SERVERS)
    assert len({server.title for server in SERVERS}) == len(SERVERS)


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_each_row_is_complete(server: ModelServer):
    assert server.recognised_by
    assert 0 < server.port < 65536
    assert server.path.startswith("/")
    assert server.requests
    assert server.waiting
    assert server.kv_cache
    # The mean of a cache is of one metric.
    assert isinstance(server.kv_cache, str) or all(len(terms) == 1 for terms in server.kv_cache)
    assert not isinstance(server.requests, str) or not isinstance(server.waiting, str)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: str(term.series))
def test_only_times_are_scaled(term: Term):
    assert term.series.is_rate == (term.unit != 1) == term.series.name.endswith(("_us", "seconds"))


def test_no_name_tells_two_servers():
    names = [name for server in SERVERS for name in server.recognised_by]
    assert len(set(names)) == len(names)


def test_hints_about_statuses():
    assert hints_of("llama.cpp") == {501: "start it with --metrics"}
    assert hints_of("vllm") == {}
    unknown = hints_of(None)
    assert "llama.cpp" in unknown[501]
    assert 404 not in unknown
