# SPDX-License-Identifier: Apache-2.0
"""How long the NVML thread waits between two attempts, and what the log tells meanwhile."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.model import Readings
from exporter.nvml import NvmlError
from exporter.nvml.sampler import FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS, Sampler, retry_seconds
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BACK_SECONDS = 5.0
NOT_LOADED = NvmlError("nvmlInit", "DRIVER_NOT_LOADED", "Driver Not Loaded")
UNINITIALIZED = NvmlError("nvmlDeviceGetCount", "UNINITIALIZED", "Uninitialized")
UNKNOWN = NvmlError("nvmlInit", "UNKNOWN", "Unknown Error")


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [
        pytest.param(1, FIRST_RETRY_SECONDS, id="first"),
        pytest.param(2, 2 * FIRST_RETRY_SECONDS, id="second"),
        pytest.param(4, 8 * FIRST_RETRY_SECONDS, id="fourth"),
        pytest.param(100_000, LAST_RETRY_SECONDS, id="for days"),
    ],
)
def test_the_wait_doubles_up_to_a_limit(failures, seconds):
    assert retry_seconds(failures) == seconds


@given(st.integers(min_value=1))
def test_however_long_the_driver_was_away_gpus_are_back_in_time(failures):
    assert retry_seconds(failures) <= BACK_SECONDS - 1, "a second is left to read the GPUs"


class _Nvml:
    """An NVML that does what `script` yields: an error of `open`, or None for one good cycle."""

    running_call = None
    driver_version = "580.65.06"

    def __init__(self, script: Iterator[Exception | None]) -> None:
        self._script = script
        self._good_cycles = 0

    def open(self) -> None:
        error = next(self._script)
        if error is not None:
            raise error
        self._good_cycles = 1

    def run(self, work: Callable[[], None]) -> None:
        work()

    def read(self) -> Readings:
        if not self._good_cycles:
            raise UNINITIALIZED
        self._good_cycles -= 1
        return Readings(taken_at_seconds=0.0, device_count=1, unreadable_count=0, devices=())

    def close(self) -> bool:
        return True


async def run(*script: Exception | None) -> list[float]:
    """Run a sampler over the script; returns for how long it waited after each failed session."""
    waits: list[float] = []
    sampler: Any = Sampler(
        cast("Any", _Nvml(iter(script))),
        interval_seconds=0.0,
        publish=lambda _: None,
        on_failure=lambda _: None,
        on_restart_needed=lambda _: None,
        observe_cycle=lambda _: None,
    )

    def sleep(seconds: float) -> None:
        if not sampler.state.nvml_up:
            waits.append(seconds)
        if len(waits) == len(script):
            sampler.request_stop()

    sampler._sleep = sleep
    sampler.start()
    await until(lambda: not sampler.is_alive(), what="the script is played")
    return waits


def logged(caplog, message: str) -> list[str]:
    return [one.getMessage() for one in caplog.records if message in one.getMessage()]


async def test_no_wait_is_longer_than_what_gpus_may_be_away():
    waits = await run(*[NOT_LOADED] * 200)
    assert len(waits) == 200
    assert max(waits) <= BACK_SECONDS - 1
    assert min(waits[5:]) > 2, "and the retries are few"


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param([NOT_LOADED], id="one reason"),
        pytest.param([NOT_LOADED, UNKNOWN], id="two reasons by turns"),
        pytest.param([ValueError("made up")], id="a reason that nobody thought of"),
    ],
)
async def test_an_outage_is_told_once_for_each_reason(caplog, errors):
    await run(*errors * 100)
    assert len(logged(caplog, "NVML cannot be used")) == len(errors)
    assert len(caplog.records) <= 2 * len(errors)


async def test_ever_new_reasons_do_not_fill_the_log(caplog):
    await run(*(NvmlError("nvmlInit", str(number), "") for number in range(200)))
    assert len(caplog.records) == 10


async def test_the_log_shows_where_an_unexpected_reason_came_from(caplog):
    await run(ValueError("made up"))
    (record,) = [one for one in caplog.records if one.exc_info]
    assert record.getMessage() == "The NVML thread failed unexpectedly; trying again"
    assert "made up" in caplog.text


async def test_a_driver_that_comes_and_goes_does_not_fill_the_log_and_is_left_longer(caplog):
    caplog.set_level("INFO")
    waits = await run(*[None] * 100)
    assert len(logged(caplog, "NVML answers")) == 2, "at the start and after the outage told"
    assert len(logged(caplog, "NVML cannot be used")) == 1
    assert min(waits[5:]) > 2


async def test_it_is_told_again_when_it_lasts(caplog, monkeypatch):
    clock = count(step=7.0)
    monkeypatch.setattr("toolkit.log_once.monotonic", lambda: next(clock))
    await run(NOT_LOADED, None, *[NOT_LOADED] * 20)
    reasons = [vars(record).get("error") for record in caplog.records]
    assert reasons == [str(NOT_LOADED), str(UNINITIALIZED), str(NOT_LOADED)]
