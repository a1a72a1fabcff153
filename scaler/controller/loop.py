# SPDX-License-Identifier: Apache-2.0
"""The loop: watch -> read -> decide -> act. One Deployment's failure is its own.

Only the holder of the Lease decides and acts. A standby keeps its watches warm and holds no
history, so that a takeover starts with the replica counts that it finds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from scaler.cluster.kinds import Kinds
from scaler.controller.apply import DecisionApplier
from scaler.controller.history import ScalingHistories
from scaler.controller.idle_pods import IdlePods
from scaler.controller.loop_clock import LoopClock, suspended_seconds
from scaler.controller.marks import PodMarks
from scaler.controller.missing_gpus import MissingGpus
from scaler.controller.own_zeros import adopt_scale_to_zero, reconcile_scale_to_zero
from scaler.controller.plans import Plan, same_idle_condition
from scaler.controller.policies import Policies, parsed_policy
from scaler.controller.schedules import Schedules
from scaler.controller.settler import Settler
from scaler.controller.writer import ScaleWriter
from scaler.decision.allocation import GpuAllocation, growths
from scaler.decision.decide import decide
from scaler.decision.history import standing
from scaler.decision.model import Decision, Outcome, Reason
from scaler.model import ScalingPolicy
from scaler.policy.parse import opted_in
from scaler.reporting.notifier import Notifier
from scaler.reporting.status_store import LoopReport, StatusStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from scaler.cluster.events import EventRecorder
    from scaler.cluster.scale_to_zero_store import ScaleToZeroStore
    from scaler.cluster.state import ClusterState
    from scaler.controller.leader_election import Leadership
    from scaler.controller.plans import Policy
    from scaler.kube.client import KubeClient
    from scaler.model import DeploymentState, Metric, MetricReading, ObjectRef
    from scaler.readings.source import Source, SourceAnswer
    from scaler.reporting.metrics import ScalerMetrics

log = logging.getLogger(__name__)


class Controller:
    """Decides for every opted-in Deployment once per interval, and acts as the leader."""

    def __init__(  # noqa: PLR0913  (the parts that the loop ties together)
        self,
        *,
        client: KubeClient,
        state: ClusterState,
        source: Source,
        events: EventRecorder,
        leadership: Leadership,
        metrics: ScalerMetrics,
        scale_to_zero: ScaleToZeroStore,
        kinds: Kinds | None = None,
        dry_run: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        suspended: Callable[[], float] = suspended_seconds,
    ) -> None:
        self._state = state
        self._source = source
        self.status_store = StatusStore()
        self._notifier = Notifier(events, metrics, self.status_store, clock)
        self._leadership = leadership
        self._metrics = metrics
        self._scale_to_zero = scale_to_zero
        self._dry_run = dry_run
        self._clock = clock
        self._histories = ScalingHistories()
        self._loop_clock = LoopClock(self._histories, clock=clock, suspended=suspended)
        writer = ScaleWriter(
            client,
            kinds=kinds or Kinds(),
            scale_to_zero=scale_to_zero,
            leads=lambda: leadership.is_leader(clock()),
        )
        self._marks = PodMarks(client, leads=lambda: leadership.is_leader(clock()), clock=clock)
        self._idle_pods = IdlePods()
        self._applier = DecisionApplier(
            writer,
            marks=self._marks,
            scale_to_zero=scale_to_zero,
            histories=self._histories,
            metrics=metrics,
            clock=clock,
        )
        self._settler = Settler(
            self._applier, notifier=self._notifier, histories=self._histories, clock=clock
        )
        self._missing_gpus = MissingGpus()
        self._policies = Policies(self._parse)
        self._schedules = Schedules(wall_clock)
        self._growths: Mapping[str, tuple[int, int]] = {}
        self._let_go_first: AbstractSet[str] = frozenset()
        self.holding: str | None = None
        self.stopped: str | None = None
        self.last_tick_seconds: float | None = None
        self.last_loop_seconds: float | None = None
        self.leading_since_seconds: float | None = None

    async def run(self, *, interval_seconds: float, stop: asyncio.Event) -> None:
        """Loop every `interval_seconds` until `stop` is set; the loop under way is finished."""
        async with self._loop_clock.watched(interval_seconds):
            await self._loop(interval_seconds, stop)

    async def _loop(self, interval_seconds: float, stop: asyncio.Event) -> None:
        while not stop.is_set():
            started = self._clock()
            try:
                await self.cycle()
            except Exception:  # the loop must outlive whatever one round meets
                self._metrics.loop_failures.inc()
                self._histories.hold_all()
                log.exception("Loop failed; retrying after the interval")
            # Between 0 and the interval, whatever the clock does.
            took = max(0.0, self._clock() - started)
            pause = max(0.0, interval_seconds - took)
            try:
                await asyncio.wait_for(stop.wait(), timeout=pause)
            except TimeoutError:
                continue

    async def cycle(self) -> None:
        """Decide and act once for every opted-in Deployment, if this replica leads."""
        started = self.last_tick_seconds = self._loop_clock.now()
        self._notifier.log_omitted()
        leading = self._leadership.is_leader(started)
        self._metrics.leader.set(leading)
        if not leading:
            self.leading_since_seconds = None
            self._watch_stop()
            self._forget()
            return
        if self.leading_since_seconds is None:
            self.leading_since_seconds = started
        self._watch_contact(fresh=self._state.is_fresh(started))
        if self.holding is not None:
            self._histories.hold_all()
            return
        deployments = [one for one in self._state.deployments() if opted_in(one.annotations)]
        # Later the watch shows the marks that this loop writes, which their pods here do not have.
        marked = self._state.marked_pods()
        policies = await self._schedules.applied(
            await self._policies.of(deployments),
            {one.uid: one.ref.namespace for one in deployments},
        )
        plans = [Plan(deployment=one, policy=policies[one.uid]) for one in deployments]
        if any(plan.may_scale_to_zero() for plan in plans):
            await adopt_scale_to_zero(self._scale_to_zero, self._histories, plans)
        planned = self._stage("plan", started)
        answer, _ = await asyncio.gather(
            self._read(plans), reconcile_scale_to_zero(self._scale_to_zero, self._histories, plans)
        )
        readings = answer.readings
        read = self._stage("read", planned)

        def decide(plan: Plan, found: DeploymentState) -> Decision:
            return self._decide(readings, plan, found)

        decisions = [
            self._settler.decide_one(partial(decide, plan), plan.deployment) for plan in plans
        ]
        asked = growths(zip(deployments, decisions, strict=True))
        # A growth that cannot be written is asked for in every loop, and limits others in one.
        begin = {uid for uid, counts in asked.items() if self._growths.get(uid) != counts}
        self._growths = asked
        allocation = GpuAllocation(
            zip(deployments, decisions, strict=True),
            begin=begin,
            has_let_go_first=self._let_go_first,
        )
        allocated = partial(self._allocated, allocation)
        decisions = [
            self._settler.decide_one(partial(allocated, decision), deployment)
            for deployment, decision in zip(deployments, decisions, strict=True)
        ]
        decided = self._stage("decide", read)
        in_the_way = None
        if any(decision.outcome is Outcome.SCALED for decision in decisions):
            in_the_way = await self._leadership.confirm()
            self._loop_clock.after_wait()
        self._watch_stop()
        results = await self._settler.settle_all(
            plans,
            decisions,
            lambda plan, found: allocated(decide(plan, found), found),
            self._blocked(in_the_way),
        )
        self._let_go_first = allocation.let_go_first
        results = allocation.explained(results)
        if in_the_way is None and self.stopped is None and not self._dry_run:
            await self._marks.take_back(marked, deployments)
        self._stage("act", decided)
        self.status_store.record(results, self._observe_source(answer), deployments)
        self._missing_gpus.forget_others()
        self._keep_only({plan.deployment.uid for plan in plans})
        self.last_loop_seconds = self._clock()
        self._metrics.last_loop.set_to_current_time()
        self._metrics.loop_duration.observe(self.last_loop_seconds - started)

    async def _read(self, plans: Sequence[Plan]) -> SourceAnswer:
        requests = (plan.request(self._histories.of(plan.deployment)) for plan in plans)
        return await self._source.read(
            [request for request in requests if request is not None],
            self._state.exporter_endpoints(),
        )

    def _stage(self, name: str, begun_seconds: float) -> float:
        """Observe how long a stage of the loop took; return its end."""
        now = self._loop_clock.after_wait()
        self._metrics.stage_duration.labels(name).observe(now - begun_seconds)
        return now

    def _parse(self, deployment: DeploymentState, before: Policy | None) -> Policy:
        """Return the policy of annotations that have changed."""
        policy = parsed_policy(deployment, query_supported=self._source.answers_queries)
        if self._dry_run and isinstance(policy, ScalingPolicy):
            policy = replace(policy, dry_run=True)
        if before is not None and not same_idle_condition(before, policy):
            self._histories.restart_cooldown(deployment.uid)
        return policy

    def _watch_contact(self, *, fresh: bool) -> None:
        """Hold everything while the watches show neither replica counts nor pods."""
        self._metrics.holding.set(not fresh)
        if fresh == (self.holding is None):
            return
        if fresh:
            self.holding = None
            log.info("Watches have contact with the Kubernetes API again")
        else:
            self.holding = "the watches have lost contact with the Kubernetes API"
            log.warning("Holding all decisions", extra={"error": self.holding})

    def _watch_stop(self) -> None:
        """Log once when a person stops all scaling, and when it resumes."""
        stopped = self._leadership.stop_reason()
        if stopped == self.stopped:
            return
        self.stopped = stopped
        self._metrics.stopped.set(stopped is not None)
        if stopped is None:
            log.info("Scaling resumed")
        else:
            log.warning("Scaling is stopped", extra={"error": stopped})

    def _allocated(
        self, allocation: GpuAllocation, decision: Decision, deployment: DeploymentState
    ) -> Decision:
        return allocation.applied(deployment, decision, self._histories.of(deployment))

    def _blocked(self, in_the_way: str | None) -> tuple[Outcome, Reason, str] | None:
        """Why nothing may be written in this loop: an outcome, a reason and a sentence."""
        if in_the_way is None:
            return None
        if self.stopped is not None:
            return Outcome.PAUSED, Reason.SCALING_STOPPED, self.stopped
        return Outcome.HELD, Reason.LEASE_LOST, in_the_way

    def _decide(
        self,
        all_readings: Mapping[ObjectRef, Mapping[Metric, MetricReading]],
        plan: Plan,
        deployment: DeploymentState,
    ) -> Decision:
        now = self._loop_clock.now()
        found = all_readings.get(deployment.ref, {})
        readings = self._missing_gpus.without_partial(deployment, found)
        history, unknown = self._histories.of(deployment), self._scale_to_zero.problem
        if unknown is not None:
            held = plan.unknown_zero(deployment, history, unknown, now)
            if held is not None:
                return held
        if history is not None and isinstance(plan.policy, ScalingPolicy):
            history = standing(history, plan.policy.behavior, now)
        idle_since = self._idle_pods.look(deployment, plan.policy, readings, now)
        return decide(deployment, plan.policy, readings, history, now, idle_since)

    def _observe_source(self, answer: SourceAnswer) -> LoopReport:
        self._metrics.reads.labels("success").inc(answer.succeeded)
        self._metrics.reads.labels("error").inc(answer.failed)
        age = answer.max_age_seconds
        self._metrics.source_age.set(float("nan") if age is None else age)
        return LoopReport(
            ended_unix_seconds=time.time(),
            succeeded=answer.succeeded,
            failed=answer.failed,
            max_age_seconds=age,
        )

    def _keep_only(self, uids: set[str]) -> None:
        self._histories.keep_only(uids)
        self._notifier.keep_only(uids)
        self._applier.keep_only(uids)
        self._policies.keep_only(uids)
        self._schedules.keep_only(uids)
        self._idle_pods.keep_only(uids)

    def _forget(self) -> None:
        self._source.forget()
        self._histories.keep_only(set())
        self._scale_to_zero.forget()
        self._notifier.keep_only(set())
        self._applier.keep_only(set())
        self._idle_pods.keep_only(set())
        self._growths, self._let_go_first = {}, frozenset()
        self.status_store.clear()
