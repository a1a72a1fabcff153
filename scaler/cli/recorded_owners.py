# SPDX-License-Identifier: Apache-2.0
"""What the Kubernetes API and kube-state-metrics' series tell of workloads and their pods."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from scaler.cluster.past_workloads import PastWorkloads, read_workloads
from scaler.kube.client import KubeClient
from scaler.kube.errors import ClusterError
from scaler.readings.prometheus.kube_state import (
    IS_THERE,
    pod_owners_query,
    read_pod_owners,
    read_replica_sets,
    read_start_times,
    replica_sets_query,
    start_times_query,
)
from scaler.replay.owners import Owners, Way

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scaler.model import ObjectRef
    from scaler.readings.prometheus.range_chunks import Span
    from scaler.readings.prometheus.ranges import RangeReader

API_SECONDS = 120.0
"""How long the Kubernetes API may take to list workloads and pods."""
DAY_SECONDS = 86_400.0
MOST_DAYS = 60
"""Queries of each series; over a longer time each query is of several days."""


async def read_cluster(
    kubeconfig: str | None,
    context: str | None,
    named: Sequence[ObjectRef] = (),
    *,
    is_for_all: bool,
) -> PastWorkloads:
    """Return what the API shows, with a problem if it shows nothing."""
    try:
        async with (
            asyncio.timeout(API_SECONDS),
            await KubeClient.load(kubeconfig, context) as client,
        ):
            return await read_workloads(client, named, is_for_all=is_for_all)
    except TimeoutError:
        return PastWorkloads(problems=[f"no answer within {API_SECONDS:g} s"])
    except (ClusterError, OSError) as error:
        return PastWorkloads(problems=[str(error)])


def days_of(steps: Span) -> Iterator[tuple[float, float]]:
    """Yield the ends and the lengths of days that cover these steps, the newest first."""
    total = steps.seconds
    seconds = max(min(DAY_SECONDS, total), total / MOST_DAYS)
    for number in range(math.ceil(total / seconds)):
        yield steps.ended_unix_seconds - number * seconds, seconds


async def read_kube_state(
    reader: RangeReader,
    steps: Span,
    owners: Owners,
    starts: dict[ObjectRef, float] | None = None,
) -> None:
    """Add what the series say; without them nothing.

    Raises:
        PastError, PromqlError: they cannot be read.
    """
    if not (await reader.now(IS_THERE, at_unix_seconds=steps.ended_unix_seconds)).rows:
        return
    for at, seconds in days_of(steps):
        pods = await reader.now(pod_owners_query(seconds), at_unix_seconds=at)
        owners.add_pods(read_pod_owners(pods), Way.KUBE_STATE_METRICS)
        sets = await reader.now(replica_sets_query(seconds), at_unix_seconds=at)
        owners.add_replica_sets(read_replica_sets(sets), Way.KUBE_STATE_METRICS)
        if starts is None:
            continue
        took = await reader.now(start_times_query(seconds), at_unix_seconds=at)
        for pod, start_seconds in read_start_times(took):
            starts[pod] = min(start_seconds, starts.get(pod, start_seconds))
