# SPDX-License-Identifier: Apache-2.0
"""The loop's own care: what it does when the lease, the watches, the API or one Deployment fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from scaler.controller import policies
from scaler.decision.model import Outcome
from scaler.kube.errors import Forbidden, Unreachable
from tests.unit.controllerworld import World, deployment, ref

if TYPE_CHECKING:
    from scaler.readings.source import SourceAnswer


async def test_scales_and_announces():
    world = World(deployment())
    await world.controller.cycle()
    assert world.patched == [("web", 2)]
    assert world.events == [("web", "Normal", "SuccessfulRescale")]


async def test_without_the_lease_nothing_is_read_or_changed():
    world = World(deployment())
    world.leads = False
    await world.controller.cycle()
    assert (world.asked, world.patched, dict(world.controller.status_store.records)) == ([], [], {})


async def test_a_lease_lost_while_reading_stops_the_patch():
    world = World(deployment())
    read = world.read

    async def lose_lease(requests: Any, _: object) -> SourceAnswer:
        world.leads = False
        return await read(requests, _)

    world.read = lose_lease  # type: ignore[method-assign]
    await world.controller.cycle()
    assert world.patched == []
    assert world.outcome() == (Outcome.HELD, "LeaseLost")


async def test_out_of_contact_everything_holds():
    world = World(deployment())
    world.fresh = False
    await world.controller.cycle()
    assert (world.asked, world.patched) == ([], [])
    assert world.controller.holding == "the watches have lost contact with the Kubernetes API"
    world.fresh = True
    await world.controller.cycle()
    assert world.controller.holding is None
    assert world.patched == [("web", 2)]


async def test_a_count_that_somebody_else_wrote_is_decided_on_anew():
    world = World(deployment())
    world.replicas["web"] = 9
    await world.controller.cycle()
    decision = world.controller.status_store.records[ref("web")].decision
    assert decision.current_replicas == 9
    assert world.replicas["web"] == 9
    assert world.patched == []


async def test_a_conflict_is_decided_on_anew():
    world = World(deployment())
    world.before_patch = [1]
    await world.controller.cycle()
    assert world.patched == [("web", 2)]


@pytest.mark.parametrize(("shown", "found"), [(8, 7), (8, 4), (4, 8), (3, 40)])
async def test_what_an_outdated_watch_shows_never_scales_down(shown, found):
    at_once = '{"scaleDown": {"stabilizationWindowSeconds": 0}}'
    world = World(deployment(replicas=shown, behavior=at_once), duty_percent=1)
    world.replicas["web"] = found
    await world.controller.cycle()
    assert world.patched == []
    assert world.outcome() == (Outcome.HELD, "IncompleteMetrics")


async def test_somebody_who_keeps_writing_is_not_fought_for_ever():
    world = World(deployment())
    world.before_patch = [1] * 10
    await world.controller.cycle()
    assert world.patched == []
    assert world.outcome() == (Outcome.FAILED, "FailedUpdateScale")
    assert len(world.before_patch) == 7


async def test_an_api_that_does_not_answer_is_a_failure_and_not_a_change():
    world = World(deployment())
    world.failure = Unreachable(request="PATCH", status=None, reason="Timeout", message="slow")
    await world.controller.cycle()
    await world.controller.cycle()
    assert world.outcome() == (Outcome.FAILED, "FailedUpdateScale")
    assert world.events == [("web", "Warning", "FailedUpdateScale")]
    world.failure = None
    await world.controller.cycle()
    assert world.patched == [("web", 2)]


async def test_a_deployment_that_is_gone_is_remembered_as_long_as_the_watch_shows_it():
    world = World(deployment())
    world.uids["web"] = "another"
    await world.controller.cycle()
    known = world.controller._histories.of(world.states[0])
    assert known is not None
    assert known.recommendations
    assert known.scale_ups == ()


async def test_a_deployment_made_anew_under_the_same_name_is_not_scaled_for_the_old_one():
    world = World(deployment())
    world.uids["web"] = "another"
    await world.controller.cycle()
    assert world.patched == []
    assert world.outcome() == (Outcome.FAILED, "FailedUpdateScale")


async def test_nothing_is_scaled_while_all_scaling_is_stopped():
    world = World(deployment())
    world.stopped = "somebody says so"
    await world.controller.cycle()
    assert (world.patched, world.events) == ([], [])
    assert world.outcome() == (Outcome.PAUSED, "ScalingStopped")
    assert "wanted 2 replicas" in world.controller.status_store.records[ref("web")].decision.message
    world.stopped = None
    await world.controller.cycle()
    assert world.patched == [("web", 2)]


async def test_nothing_is_scaled_when_the_lease_cannot_be_read_before_acting():
    world = World(deployment())
    world.in_the_way = "no answer"
    await world.controller.cycle()
    assert world.patched == []
    assert world.outcome() == (Outcome.HELD, "LeaseLost")


async def test_a_lost_lease_forgets_which_writes_failed():
    """As everything else that the next takeover finds again."""
    world = World(deployment())
    world.failure = Unreachable(request="PATCH", status=None, reason="-", message="slow")
    await world.controller.cycle()
    assert world.controller._applier.retry_order.rank("uid-web") == world.now
    world.leads = False
    await world.controller.cycle()
    assert world.controller._applier.retry_order.rank("uid-web") == float("-inf")


async def test_one_deployments_failure_is_its_own():
    world = World(deployment("bad"), deployment("web"))
    world.broken_reading = "bad"
    await world.controller.cycle()
    assert world.outcome("bad") == (Outcome.FAILED, "InternalError")
    assert world.patched == [("web", 2)]


@pytest.mark.parametrize(
    ("state", "asked"),
    [
        pytest.param(deployment(), ["web"], id="active"),
        pytest.param(deployment(paused="true"), [], id="paused"),
        pytest.param(deployment(target_duty_cycle="95"), [], id="wrong annotation"),
        pytest.param(deployment(replicas=0), [], id="paused by a human"),
        pytest.param(deployment(enabled="false"), [], id="opted out"),
    ],
)
async def test_only_what_is_needed_is_read(state, asked):
    world = World(state)
    await world.controller.cycle()
    assert world.asked == asked


async def test_a_query_needs_a_source_that_answers_it():
    world = World(deployment(query="sum(rate(requests[1m]))", target_query="5"))
    await world.controller.cycle()
    assert (world.outcome()[1], world.queries) == ("InvalidAnnotation", [])
    world = World(deployment(query="sum(rate(requests[1m]))", target_query="5"))
    world.answers_queries = True
    await world.controller.cycle()
    assert world.queries == ["sum(rate(requests[1m]))"]


async def test_a_pod_of_which_a_gpu_is_not_shown_any_more_holds():
    world = World(deployment(replicas=2), duty_percent=40)
    world.device_count = 2
    await world.controller.cycle()
    world.device_count, world.duty_percent = 1, 5
    await world.controller.cycle()
    assert (world.patched, world.outcome()) == ([], (Outcome.HELD, "FailedGetPodsMetric"))


async def test_how_reading_went_is_counted():
    world = World(deployment())
    await world.controller.cycle()
    await world.controller.cycle()
    value = world.metrics.registry.get_sample_value
    assert value("gpu_scaler_source_reads_total", {"result": "success"}) == 6
    assert value("gpu_scaler_source_reads_total", {"result": "error"}) == 2
    assert value("gpu_scaler_source_max_age_seconds") == 4


async def test_the_same_news_is_told_once_and_again_after_it_was_over():
    world = World(deployment(target_duty_cycle="95"))
    for _ in range(3):
        await world.controller.cycle()
    assert world.events == [("web", "Warning", "InvalidAnnotation")]
    world.states = (deployment(target_duty_cycle="96"),)
    await world.controller.cycle()
    world.states = (deployment(target_duty_cycle="80"),)
    await world.controller.cycle()
    world.states = (deployment(target_duty_cycle="96"),)
    await world.controller.cycle()
    assert world.events == [("web", "Warning", "InvalidAnnotation")] * 3


async def test_a_takeover_begins_with_the_count_that_it_finds():
    world = World(deployment(replicas=5), duty_percent=0)
    await world.controller.cycle()
    world.leads = False
    await world.controller.cycle()
    world.leads = True
    await world.controller.cycle()
    assert world.patched == []
    assert world.outcome()[1] == "ScaleDownStabilized"


async def test_a_change_is_one_line_of_the_log_with_what_it_came_from(caplog):
    caplog.set_level("INFO", logger="scaler.reporting.notifier")
    world = World(deployment(replicas=2))
    await world.controller.cycle()
    world.duty_percent, world.states = 40, (deployment(replicas=4),)
    await world.controller.cycle()
    (line,) = caplog.records
    assert line.message == "Replica count changed"
    fields = {
        "deployment": "default/web",
        "outcome": "scaled",
        "reason": "SuccessfulRescale",
        "detail": "New size: 4; reason: duty_cycle above target",
        "current_replicas": 2,
        "desired_replicas": 4,
        "proposed_replicas": 4,
        "duty_cycle": 80.0,
        "target_duty_cycle": 40.0,
    }
    assert fields.items() <= vars(line).items()


async def test_metrics_of_each_deployment_come_and_go_with_it():
    world = World(deployment(), deployment("api", max_replicas="3", min_replicas="2"))
    world.metrics.show_decisions(
        lambda: [record.decision for record in world.controller.status_store.records.values()]
    )

    def values(name: str) -> dict[str, float | None]:
        labels = {"namespace": "default", "deployment": name, "kind": "deployments.apps"}
        metric = {**labels, "metric": "duty_cycle"}
        families = ("current_replicas", "desired_replicas", "min_replicas", "max_replicas")
        found = {one: _sample(world, one, labels) for one in families}
        return found | {
            one: _sample(world, one, metric) for one in ("metric_value", "metric_target")
        }

    await world.controller.cycle()
    assert list(values("web").values()) == [1, 2, 1, 10, 80, 40]
    assert list(values("api").values()) == [1, 2, 2, 3, None, None]
    assert _sample(world, "deployments", {"outcome": "scaled"}) == 2
    assert _sample(world, "decisions_total", {"outcome": "scaled"}) == 2
    world.states = (deployment(replicas=2),)
    world.duty_percent = 40
    await world.controller.cycle()
    assert set(values("api").values()) == {None}
    assert _sample(world, "deployments", {"outcome": "scaled"}) is None


async def test_holds_are_counted_by_reason_and_a_hold_of_everything_is_shown():
    world = World(deployment(max_replicas="1"))
    await world.controller.cycle()
    assert _sample(world, "held_total", {"reason": "TooManyReplicas"}) == 1
    world.states = (deployment(),)
    world.duty_percent = 40
    await world.controller.cycle()
    assert _sample(world, "held_total", {"reason": "DesiredWithinRange"}) is None
    assert _sample(world, "holding", {}) == 0
    world.fresh = False
    await world.controller.cycle()
    assert _sample(world, "holding", {}) == 1


async def test_a_reason_that_others_make_up_is_no_label():
    world = World(deployment())
    world.failure = Forbidden(request="PATCH", status=403, reason="BecauseISaySo-7", message="no")
    await world.controller.cycle()
    assert _sample(world, "patch_failures_total", {"reason": "Forbidden"}) == 1


def _sample(world: World, name: str, labels: dict[str, str]) -> float | None:
    return world.metrics.registry.get_sample_value(f"gpu_scaler_{name}", labels)


async def test_a_lack_of_memory_makes_no_annotation_wrong(monkeypatch):
    world = World(deployment())

    def no_memory(*_: object, **__: object) -> Any:
        raise MemoryError

    with monkeypatch.context() as patching:
        patching.setattr(policies, "parse_policy", no_memory)
        with pytest.raises(MemoryError):
            await world.controller.cycle()
    await world.controller.cycle()
    assert world.patched == [("web", 2)]
