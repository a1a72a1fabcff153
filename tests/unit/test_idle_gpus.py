# SPDX-License-Identifier: Apache-2.0
"""GPU-seconds idle by workload, from one reading to the next."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scaler.budgets import IDLE_NAMESPACES, IDLE_WORKLOADS, IDLE_WORKLOADS_OF_NAMESPACE
from scaler.controller.idle_watch import IdleWatch
from scaler.model import ObjectRef
from scaler.readings.devices import DUTY_CYCLE
from scaler.readings.gpus import GpuAnswer, GpuSample, samples_by_node
from scaler.reporting import idle_gpus
from scaler.reporting.idle_gpus import FORGET_AFTER_SECONDS, OTHERS, IdleGpus
from scaler.reporting.metrics import ScalerMetrics
from tests.unit.controllerworld import deployment

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

A, B = ObjectRef("prod", "web-0"), ObjectRef("prod", "web-1")
WEB, BATCH = ObjectRef("prod", "web"), ObjectRef("lab", "train", "jobs.batch")
GAP = 25.0


def sample(at: float, duty: float, pod: ObjectRef | None = A, uuid: str = "GPU-0") -> GpuSample:
    return GpuSample("node-1", pod, uuid, duty, at, 15.0)


def nobodys(_: ObjectRef) -> None:
    return None


def observed(*rounds: Sequence[GpuSample]) -> IdleGpus:
    idle = IdleGpus(longest_gap_seconds=GAP)
    for samples in rounds:
        idle.observe(samples, opted_in={A: WEB, B: WEB}.get, other=nobodys)
    return idle


@pytest.mark.parametrize(
    ("rounds", "seconds"),
    [
        ([(0, 0)], 0),
        ([(0, 0), (10, 0), (20, 0)], 20),
        # Idle in one of two readings says nothing about the time between them.
        ([(0, 0), (10, 3), (20, 0), (30, 0)], 10),
        ([(0, 0), (10, 0), (10, 0), (5, 0), (20, 0)], 20),
        # A gap is unknown.
        ([(0, 0), (GAP, 0), (2 * GAP + 1, 0), (2 * GAP + 11, 0)], GAP + 10),
    ],
)
def test_time_between_two_idle_readings_counts(
    rounds: Sequence[tuple[float, float]], seconds: float
) -> None:
    idle = observed(*([sample(at, duty)] for at, duty in rounds))

    assert idle.seconds == {WEB: seconds}


def test_what_one_answer_has_of_all_nodes_is_observed_one_node_at_a_time() -> None:
    """As from Prometheus; others have their turn in between."""
    samples = [
        GpuSample(f"node-{number % 3}", A, f"GPU-{number}", 0.0, 0.0, 15.0) for number in range(9)
    ]
    nodes = [list(some) for some in samples_by_node(samples)]
    assert [{one.node for one in some} for some in nodes] == [{"node-0"}, {"node-1"}, {"node-2"}]
    assert sorted(one for some in nodes for one in some) == sorted(samples)


def test_pods_that_share_a_gpu_have_equal_parts() -> None:
    other = ObjectRef("lab", "train-0")
    idle = IdleGpus(longest_gap_seconds=GAP)
    for at in (0.0, 10.0):
        idle.observe(
            [sample(at, 0, A), sample(at, 0, A), sample(at, 0, other)],
            opted_in={A: WEB}.get,
            other={other: BATCH}.get,
        )

    assert idle.seconds == {WEB: 5, BATCH: 5}


def test_a_change_of_pods_begins_anew() -> None:
    idle = observed([sample(0, 0, None)], [sample(10, 0, A)], [sample(20, 0, A)])

    assert idle.seconds == {WEB: 10}
    assert idle.since_seconds("node-1", "GPU-0") == 10


def test_a_free_gpu_is_nobodys_idle_time() -> None:
    idle = observed([sample(0, 0, None)], [sample(10, 0, None)])

    assert idle.seconds == {}
    assert idle.since_seconds("node-1", "GPU-0") == 0


def test_counts_stay_over_an_interruption_of_which_nothing_is_known() -> None:
    idle = observed([sample(0, 0)], [sample(10, 0)])
    idle.interrupt()
    idle.observe([sample(20, 0)], opted_in={A: WEB}.get, other=nobodys)

    assert idle.seconds == {WEB: 10}


def test_a_workload_that_holds_no_gpu_any_more_is_forgotten_in_time() -> None:
    idle = observed([sample(0, 0)], [sample(10, 0)])

    idle.forget(10 + FORGET_AFTER_SECONDS)
    assert idle.seconds == {WEB: 10}
    assert idle.since_seconds("node-1", "GPU-0") is None

    idle.forget(11 + FORGET_AFTER_SECONDS)
    assert idle.seconds == {}


def test_workloads_beyond_the_limit_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_gpus, "IDLE_WORKLOADS", 2)
    idle = IdleGpus(longest_gap_seconds=GAP)
    pods = [ObjectRef("lab", f"job-{number}") for number in range(4)]
    for at in (0.0, 10.0):
        idle.observe(
            [
                *(sample(at, 0, pod, f"GPU-{number}") for number, pod in enumerate(pods)),
                sample(at, 0, A, "GPU-9"),
            ],
            opted_in={A: WEB}.get,
            other=lambda pod: pod,
        )

    assert idle.is_full
    assert idle.seconds == {pods[0]: 10, pods[1]: 10, OTHERS: 20, WEB: 10}
    metrics = ScalerMetrics("test")
    metrics.show_idle(lambda: idle.seconds)
    name = "gpu_scaler_idle_gpu_seconds_total"
    labels = {"namespace": "prod", "workload": "web", "kind": "deployments.apps"}
    others = {"namespace": "", "workload": OTHERS.name, "kind": ""}
    assert metrics.registry.get_sample_value(name, labels) == 10
    assert metrics.registry.get_sample_value(name, others) == 20


def _held(pods: Sequence[ObjectRef]) -> list[list[GpuSample]]:
    return [[sample(at, 0, pod, f"GPU-{pod}") for pod in pods] for at in (0.0, 10.0)]


def test_a_namespace_with_many_workloads_takes_no_place_of_others() -> None:
    idle = IdleGpus(longest_gap_seconds=GAP)
    flood = [ObjectRef("flood", f"job-{number}") for number in range(2 * IDLE_WORKLOADS)]
    for samples in _held([*flood, A]):
        idle.observe(samples, opted_in=nobodys, other=lambda pod: pod)

    own, rest = IDLE_WORKLOADS_OF_NAMESPACE, ObjectRef("flood", "", "")
    assert idle.seconds[A] == 10
    assert idle.seconds[rest] == 10 * (len(flood) - own)
    assert len(idle.seconds) == own + 2
    assert not idle.is_full


def test_an_exporter_that_invents_namespaces_takes_no_place_of_workloads() -> None:
    idle = IdleGpus(longest_gap_seconds=GAP)
    flood = [ObjectRef(f"no-{number}", "pod") for number in range(2 * IDLE_WORKLOADS)]
    for samples in _held([*flood, A]):
        idle.observe(
            samples,
            opted_in=nobodys,
            other=lambda pod: pod if pod == A else ObjectRef(pod.namespace, "", ""),
        )

    assert idle.seconds[A] == 10
    assert idle.seconds[OTHERS] == 10 * (len(flood) - IDLE_NAMESPACES)


def test_a_workload_that_is_gone_leaves_its_place_to_the_next() -> None:
    idle = IdleGpus(longest_gap_seconds=GAP)
    for turn in range(3):
        begun = turn * 2 * FORGET_AFTER_SECONDS
        pods = [
            ObjectRef("prod", f"{turn}-{number}") for number in range(IDLE_WORKLOADS_OF_NAMESPACE)
        ]
        for at in (begun, begun + 10):
            samples = [sample(at, 0, pod, f"GPU-{pod}") for pod in pods]
            idle.observe(samples, opted_in=nobodys, other=lambda pod: pod)
        assert idle.seconds == dict.fromkeys(pods, 10)
        idle.forget(begun + 2 * FORGET_AFTER_SECONDS)


_round = st.tuples(
    st.floats(0, 60, allow_nan=False),
    st.lists(
        st.tuples(
            st.sampled_from([None, A, B]),
            st.sampled_from(["GPU-0", "GPU-1"]),
            st.sampled_from([0, 7]),
        ),
        max_size=6,
    ),
)


@settings(max_examples=100)
@given(st.lists(_round, max_size=12))
def test_idle_time_never_exceeds_the_time_of_the_gpus_without_gaps(
    rounds: list[tuple[float, list[tuple[ObjectRef | None, str, int]]]],
) -> None:
    idle = IdleGpus(longest_gap_seconds=GAP)
    now, without_gaps = 0.0, 0.0
    last: dict[str, float] = {}
    for passed, samples in rounds:
        now += passed
        idle.observe(
            [sample(now, duty, pod, uuid) for pod, uuid, duty in samples],
            opted_in={A: WEB, B: WEB}.get,
            other=nobodys,
        )
        for uuid in {uuid for _, uuid, _ in samples}:
            since = now - last.get(uuid, -math.inf)
            without_gaps += since if since <= GAP else 0.0
            last[uuid] = now

    assert sum(idle.seconds.values()) <= without_gaps + 1e-9


class Source:
    """Counts what is read; each node has a GPU that is idle."""

    def __init__(self) -> None:
        self.needed: Mapping[str, Collection[str]] | None = None
        self.read: list[str] = []

    def need(self, wanted: Mapping[str, Collection[str]]) -> None:
        self.needed = wanted

    async def read_gpus(self, wanted: Mapping[str, Collection[str]]) -> GpuAnswer:
        self.read += wanted
        return GpuAnswer(samples={})

    async def read_past(self, *_: object, **__: object) -> None:
        raise NotImplementedError


class Watched:
    """An `IdleWatch` over readings that the test sets."""

    def __init__(self, *, every_gpu: bool = False, by_node: bool = True) -> None:
        self.leads = True
        self.in_memory: list[list[GpuSample]] = []
        self.source = Source()
        self.now = 0.0
        endpoints: Any = dict.fromkeys(["node-1", "node-2"])
        self.watch = IdleWatch(
            self.source,
            known=lambda: self.in_memory,
            endpoints=lambda: endpoints,
            deployments=lambda: [deployment("web", namespace="prod", replicas=1)],
            workload_of={ObjectRef("lab", "train-0"): BATCH}.get,
            leads=lambda: self.leads,
            by_node=by_node,
            every_gpu=every_gpu,
            clock=lambda: self.now,
        )

    async def see(self, *samples: tuple[str, str]) -> Mapping[ObjectRef, float]:
        """Take idle readings of a GPU of each pod, twice."""
        for _ in range(2):
            self.now += 10
            self.in_memory = [
                [sample(self.now, 0, ObjectRef(*pod), f"GPU-{number}")]
                for number, pod in enumerate(samples)
            ]
            await self.watch.observe()
        return self.watch.idle.seconds


async def test_only_opted_in_workloads_count_and_nothing_is_read_for_them() -> None:
    watched = Watched()

    assert await watched.see(("prod", "web-0"), ("lab", "train-0")) == {WEB: 10}
    assert watched.watch.idle.since_seconds("node-1", "GPU-1") == 10
    assert watched.source.read == []


async def test_with_every_gpu_all_pods_count_and_all_nodes_are_read() -> None:
    watched = Watched(every_gpu=True)
    await watched.watch.read()

    seconds = await watched.see(("prod", "web-0"), ("lab", "train-0"), ("hidden", "pod"))
    assert seconds == {WEB: 10, BATCH: 10, ObjectRef("hidden", ""): 10}
    wanted = {"node-1": {DUTY_CYCLE}, "node-2": {DUTY_CYCLE}}
    assert (watched.source.read, watched.source.needed) == (["node-1", "node-2"], wanted)


async def test_prometheus_is_asked_once_for_all() -> None:
    watched = Watched(by_node=False)
    await watched.watch.read()

    assert watched.source.read == [""]


async def test_a_standby_reads_and_counts_nothing() -> None:
    watched = Watched(every_gpu=True)
    watched.leads = False
    await watched.watch.read()

    assert await watched.see(("prod", "web-0")) == {}
    assert (watched.source.read, watched.source.needed) == ([], {})
