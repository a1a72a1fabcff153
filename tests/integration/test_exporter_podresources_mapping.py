# SPDX-License-Identifier: Apache-2.0
"""Which pod holds which device, through errors, restarts and odd listings of the kubelet."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import grpc
import pytest

from exporter.podresources.client import (
    KEEP_SECONDS,
    PodResources,
    PodResourcesClient,
)
from simulator.driver import SimulatedDriver
from simulator.kubelet import SimulatedKubelet
from tests.podresourceslisting import listing
from tests.waiting import until

if TYPE_CHECKING:
    from exporter.model import Allocation


@pytest.fixture
async def kubelet(socket_path):
    with SimulatedDriver(["T4", "T4"]) as driver:
        async with SimulatedKubelet(driver, socket_path) as serving:
            yield serving


UNDECODABLE = [
    pytest.param(listing(device_id="##").replace(b"##", b"\xff\xfe"), id="device ID"),
    pytest.param(listing(pod="##").replace(b"##", b"\xff\xfe"), id="pod's name"),
    pytest.param(listing().replace(b"nvidia", b"\xed\xa0\x80dia"), id="half a surrogate pair"),
    pytest.param(listing()[:-1], id="truncated"),
    pytest.param(listing() + b"\x0a", id="a field without a value"),
    pytest.param(b"\x0a\xff\xff\xff\xff\x7f", id="a length beyond the end"),
    pytest.param(b"\xff" * 64, id="no varint ends"),
    pytest.param(b"<html>not found</html>", id="another protocol"),
    pytest.param(b"\x0b" * 10_000, id="groups within groups"),
]


class Clock:
    """The client's clock, which a test sets ahead."""

    time = staticmethod(time.time)

    def __init__(self):
        self.ahead_seconds = 0.0

    def monotonic(self):
        return time.monotonic() + self.ahead_seconds


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr("exporter.podresources.client.time", made)
    return made


class Recorder:
    """A PodResources object and all that it said."""

    def __init__(self, socket_path, publish=None, **options):
        self.published: list[frozenset[Allocation]] = []
        self.errors: list[str] = []
        self.expired = 0
        self.at_error = lambda: None
        self.pod_resources = PodResources(
            PodResourcesClient(socket_path, (), node_name="node-1"),
            interval_seconds=2.0,
            publish=publish or self.published.append,
            on_expiry=self._expire,
            on_error=self._note_error,
            **options,
        )

    def _note_error(self, code):
        self.errors.append(code)
        self.at_error()

    def _expire(self):
        self.expired += 1

    async def refresh_until_too_old(self, clock):
        """Fail once more, as the mapping becomes too old."""

        def pass_time():
            clock.ahead_seconds += KEEP_SECONDS

        self.at_error = pass_time
        await self.pod_resources.refresh()
        self.at_error = lambda: None
        assert self.expired == 1


async def test_the_mapping_outlives_errors_for_a_while_and_is_then_dropped(
    kubelet, socket_path, caplog, clock
):
    recorder = Recorder(socket_path)
    pod_resources = recorder.pod_resources
    kubelet.allocate("ns", "pod", "main", "nvidia.com/gpu", 1)
    await pod_resources.refresh()
    assert pod_resources.problem is None
    kubelet.fail(grpc.StatusCode.RESOURCE_EXHAUSTED, "rejected by rate limit")
    await pod_resources.refresh()
    assert (recorder.expired, recorder.errors) == (0, ["RESOURCE_EXHAUSTED"])
    assert pod_resources.problem == "RESOURCE_EXHAUSTED: rejected by rate limit"

    await recorder.refresh_until_too_old(clock)
    await pod_resources.refresh()
    assert recorder.expired == 1
    assert len(recorder.published) == 1
    kubelet.recover()
    await pod_resources.refresh()
    assert len(recorder.published) == 2
    assert pod_resources.problem is None
    records = [one for one in caplog.records if "Cannot list pod resources" in one.getMessage()]
    assert len(records) == 1, "one cause is one line"


async def test_a_hanging_kubelet_does_not_keep_the_mapping_alive(kubelet, socket_path):
    recorder = Recorder(socket_path, keep_seconds=0.2)
    await recorder.pod_resources.refresh()
    kubelet.hang()
    await recorder.pod_resources.refresh()
    assert recorder.expired == 1
    assert recorder.errors == ["DEADLINE_EXCEEDED"]


@pytest.mark.parametrize("answer", UNDECODABLE)
async def test_an_answer_that_does_not_decode_is_an_error_like_any_other(
    kubelet, socket_path, caplog, clock, answer
):
    recorder = Recorder(socket_path)
    pod_resources = recorder.pod_resources
    kubelet.answer_bytes = listing()
    await pod_resources.refresh()
    kubelet.answer_bytes = answer
    await pod_resources.refresh()
    assert recorder.errors == ["INTERNAL"]
    assert recorder.expired == 0, "the mapping is kept a while"
    assert "INTERNAL: the answer cannot be used: " in (pod_resources.problem or "")

    await recorder.refresh_until_too_old(clock)
    assert len(recorder.published) == 1
    kubelet.answer_bytes = None
    await pod_resources.refresh()
    assert pod_resources.problem is None
    assert len(recorder.published) == 2
    records = [
        vars(one)["code"]
        for one in caplog.records
        if "Cannot list pod resources" in one.getMessage()
    ]
    assert records == ["INTERNAL"], "one cause is one line"


async def test_a_kubelet_that_fails_by_turns_does_not_fill_the_log(kubelet, socket_path, caplog):
    """By its rate limit, for one; each code has its line, and the end has one."""
    caplog.set_level("INFO")
    recorder = Recorder(socket_path)
    for number in range(30):
        kubelet.recover()
        if number % 3:
            codes = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
            kubelet.fail(codes[number % 3 - 1], "rejected")
        await recorder.pod_resources.refresh()
    assert len(recorder.errors) == 20
    levels = [one.levelname for one in caplog.records if one.name.startswith("exporter.")]
    assert levels == ["INFO", "WARNING", "WARNING", "INFO"]


def fails(_argument):
    msg = "nobody thought of this"
    raise KeyError(msg)


@pytest.mark.parametrize("part", ["publish", "finished"])
async def test_nothing_unexpected_ends_the_loop(kubelet, socket_path, caplog, part):
    """A failure in what uses the answer is counted, logged once, and the next answer is used."""
    broken = {"publish": fails, "finished": FailingFinished()}
    recorder = Recorder(socket_path, **{part: broken[part]})
    kubelet.allocate("ns", "pod", "main", "nvidia.com/gpu", 1)
    recorder.pod_resources._interval_seconds = 0.01
    loop = asyncio.create_task(recorder.pod_resources.run())
    await until(lambda: len(recorder.errors) >= 3)
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop
    assert set(recorder.errors) == {"INTERNAL"}
    assert [one.exc_info[0] for one in caplog.records if one.exc_info] == [KeyError]


@pytest.fixture
def recorder(socket_path):
    return Recorder(socket_path)


async def refreshed(recorder, times=1):
    """List so often; return what is published now: device ID -> pod."""
    for _ in range(times):
        await recorder.pod_resources.refresh()
    return {one.device_id: one.container.pod_name for one in recorder.published[-1]}


@pytest.mark.parametrize(
    "static_pods",
    [
        pytest.param(set(), id="none"),
        pytest.param({("kube-system", "proxy-node-1")}, id="static pods"),
    ],
)
async def test_a_kubelet_that_does_not_know_its_pods_yet_frees_nothing(
    kubelet, recorder, static_pods, caplog
):
    kubelet.static_pods = static_pods
    (device,) = kubelet.allocate("ns", "pod", "main", "nvidia.com/gpu", 1)
    assert await refreshed(recorder) == {device: "pod"}
    kubelet.unknowing_answers = 3
    assert await refreshed(recorder, times=3) == {device: "pod"}
    assert recorder.errors == ["NO_PODS"] * 3
    assert recorder.pod_resources.problem.startswith("NO_PODS: ")
    records = [
        vars(one)["code"]
        for one in caplog.records
        if "Cannot list pod resources" in one.getMessage()
    ]
    assert records == ["NO_PODS"], "one cause is one line"

    kubelet.release("ns", "pod")
    assert await refreshed(recorder) == {}, "pods without devices are listed: the pod has ended"
    assert recorder.pod_resources.problem is None


async def test_a_node_without_any_pod_any_more_is_free_after_a_while(kubelet, socket_path, clock):
    recorder = Recorder(socket_path)
    pod_resources = recorder.pod_resources
    kubelet.allocate("ns", "pod", "main", "nvidia.com/gpu", 1)
    await pod_resources.refresh()
    kubelet.unknowing_answers = 1_000_000

    await recorder.refresh_until_too_old(clock)
    await pod_resources.refresh()
    assert pod_resources.problem is None, "nothing is kept, so the answer may be true"
    assert (recorder.expired, len(recorder.published)) == (1, 1)


async def test_a_node_where_no_pod_was_listed_is_no_error(kubelet, recorder):
    kubelet.unknowing_answers = 2
    for _ in range(2):
        await recorder.pod_resources.refresh()
    assert recorder.errors == []
    assert recorder.pod_resources.problem is None
    assert await refreshed(recorder) == {}
    kubelet.unknowing_answers = 1
    assert await refreshed(recorder) == {}
    assert recorder.errors == [], "no device was held"


async def test_static_pods_alone_may_hold_devices(kubelet, recorder):
    kubelet.static_pods = {("ns", "camera-node-1")}
    (device,) = kubelet.allocate("ns", "camera-node-1", "main", "nvidia.com/gpu", 1)
    kubelet.unknowing_answers = 1_000_000
    assert await refreshed(recorder, times=3) == {device: "camera-node-1"}
    assert recorder.errors == []


def listed(kubelet, *, times):
    return kubelet.list_calls == times


@pytest.fixture
def lists_only_when_asked(monkeypatch):
    for name in ("UNREAD_INTERVAL_SECONDS", "LONG_UNREAD_INTERVAL_SECONDS"):
        monkeypatch.setattr(f"exporter.podresources.client.{name}", 3600.0)


@pytest.mark.usefixtures("lists_only_when_asked")
async def test_it_lists_when_somebody_has_read_the_last_mapping_and_after_failures(
    kubelet, recorder
):
    recorder.pod_resources._interval_seconds = 0.0
    loop = asyncio.create_task(recorder.pod_resources.run())
    for scrapes in range(20):
        await until(partial(listed, kubelet, times=scrapes + 1))
        recorder.pod_resources.on_scrape()
    await kubelet.stop()
    recorder.pod_resources.on_scrape()
    await until(lambda: len(recorder.errors) >= 3)
    loop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loop


@pytest.mark.parametrize(
    ("seconds_since_read", "never"),
    [
        (None, "UNREAD_INTERVAL_SECONDS"),
        (61.0, "UNREAD_INTERVAL_SECONDS"),
        (0.0, "LONG_UNREAD_INTERVAL_SECONDS"),
    ],
)
async def test_it_lists_more_seldom_when_nobody_has_read_for_a_minute(
    kubelet, recorder, monkeypatch, seconds_since_read, never
):
    for name in ("UNREAD_INTERVAL_SECONDS", "LONG_UNREAD_INTERVAL_SECONDS"):
        seconds = 3600.0 if name == never else 0.0
        monkeypatch.setattr(f"exporter.podresources.client.{name}", seconds)
    recorder.pod_resources._interval_seconds = 0.0
    if seconds_since_read is not None:
        recorder.pod_resources._read_seconds = time.monotonic() - seconds_since_read
    loop = asyncio.create_task(recorder.pod_resources.run())
    await until(lambda: kubelet.list_calls >= 3, what="lists though nobody reads")
    loop.cancel()
    await asyncio.wait([loop])


async def test_a_scrape_brings_no_two_lists_within_the_interval(kubelet, recorder):
    recorder.pod_resources._interval_seconds = 3600.0
    loop = asyncio.create_task(recorder.pod_resources.run())
    await until(partial(listed, kubelet, times=1))
    await until(lambda: recorder.pod_resources.last_success_unix_seconds is not None)
    recorder.pod_resources.on_scrape()
    for _ in range(100):
        await asyncio.sleep(0)
    assert kubelet.list_calls == 1
    loop.cancel()
    await asyncio.wait([loop])


async def test_the_loop_ends_when_cancelled_in_a_call(kubelet, socket_path):
    kubelet.hang()
    task = asyncio.create_task(Recorder(socket_path).pod_resources.run())
    await until(lambda: kubelet.list_calls)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Finished:
    """Pods that have finished, each seen only at the look of this number."""

    awaits_second_look = False

    def __init__(self, *pods, look=1):
        self.pods = set(pods)
        self.looks_left = look

    def among(self, pods):
        self.looks_left -= 1
        self.awaits_second_look = self.looks_left > 0
        return set() if self.awaits_second_look else self.pods & set(pods)


class FailingFinished(Finished):
    def among(self, pods):
        fails(pods)


@pytest.mark.usefixtures("lists_only_when_asked")
async def test_a_pod_that_seems_to_have_finished_is_looked_at_again_soon(kubelet, socket_path):
    recorder = Recorder(socket_path, finished=Finished(("ns", "job"), look=2))
    recorder.pod_resources._interval_seconds = 0.0
    kubelet.allocate("ns", "job", "main", "nvidia.com/gpu", 1)
    loop = asyncio.create_task(recorder.pod_resources.run())
    await until(lambda: recorder.pod_resources.finished_count, what="seen though nobody scrapes")
    loop.cancel()
    await asyncio.wait([loop])


async def test_finished_pods_that_an_old_kubelet_lists_hold_nothing(kubelet, socket_path):
    finished = Finished(("ns", "job"))
    recorder = Recorder(socket_path, finished=finished)
    kubelet.allocate("ns", "job", "main", "nvidia.com/gpu", 1)
    kubelet.allocate("ns", "serving", "main", "nvidia.com/gpu", 1)
    shown = await refreshed(recorder)
    assert [pod for pod in shown.values() if pod] == ["serving"]
    assert recorder.pod_resources.finished_count == 1
    finished.pods.clear()
    shown = await refreshed(recorder)
    assert sorted(shown.values()) == ["job", "serving"]
