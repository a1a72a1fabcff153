# SPDX-License-Identifier: Apache-2.0
"""Pure: the order of queries, for when there is not time for all of them.

A namespace with a hundred slow queries must not keep another one's query from being sent.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


def in_fair_order(
    queries: Iterable[tuple[str, str]],
    *,
    begun_seconds: Mapping[str, float],
    timed_out: Collection[str],
) -> list[str]:
    """Return each query once, from (namespace, query) pairs.

    Namespaces take turns, and within one the query that was sent longest ago comes first
    (`begun_seconds` has when each was last sent). Queries that `timed_out` come last, so that they
    do not delay the others.
    """
    of_namespace: defaultdict[str, set[str]] = defaultdict(set)
    for namespace, query in queries:
        of_namespace[namespace].add(query)
    ranks: dict[str, tuple[bool, int, float, str]] = {}
    for asked in of_namespace.values():
        in_turn = sorted(
            asked, key=lambda one: (one in timed_out, begun_seconds.get(one, 0.0), one)
        )
        for turn, query in enumerate(in_turn):
            rank = (query in timed_out, turn, begun_seconds.get(query, 0.0), query)
            ranks[query] = min(rank, ranks.get(query, rank))
    return sorted(ranks, key=ranks.__getitem__)
