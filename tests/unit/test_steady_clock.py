# SPDX-License-Identifier: Apache-2.0
"""Which jumps of the API server's clock count for schedules."""

from __future__ import annotations

import pytest

from scaler.controller.steady_clock import JUMP_SECONDS, LASTS_SECONDS, SteadyClock

BEGUN = 1_800_000_000.0
HOURS = 8 * 3600.0


class Clocks:
    """A monotonic clock, and an API server's that is `ahead` of the right time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.ahead = 0.0
        self.steady = SteadyClock(lambda: BEGUN + self.now + self.ahead, clock=lambda: self.now)

    def read(self) -> float:
        """Return how far ahead of the right time the clock is two seconds later."""
        self.now += 2
        return self.steady.seconds() - BEGUN - self.now


@pytest.fixture
def clocks() -> Clocks:
    found = Clocks()
    assert found.read() == 0
    return found


def test_whoever_begins_goes_by_the_clock_that_there_is() -> None:
    found = Clocks()
    found.ahead = -HOURS
    assert found.read() == -HOURS


def test_drift_is_followed(clocks: Clocks) -> None:
    for _ in range(100):
        clocks.ahead += 0.9 * JUMP_SECONDS
        assert clocks.read() == pytest.approx(clocks.ahead)


@pytest.mark.parametrize("jump", [HOURS, -HOURS, -BEGUN])
def test_a_jump_counts_once_it_has_lasted(clocks: Clocks, jump: float) -> None:
    clocks.ahead = jump
    begun = clocks.now + 2
    while (found := clocks.read()) == 0:
        assert clocks.now - begun < LASTS_SECONDS
    assert found == jump
    assert clocks.now - begun == LASTS_SECONDS


def test_an_api_server_that_is_wrong_until_its_clock_is_set_changes_nothing(
    clocks: Clocks,
) -> None:
    clocks.ahead = HOURS
    for _ in range(30):
        assert clocks.read() == 0
    clocks.ahead = 0
    for _ in range(100):
        assert clocks.read() == 0


def test_one_of_several_that_is_always_wrong_changes_nothing(
    clocks: Clocks, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1000):
        clocks.ahead = HOURS if number % 3 else 0
        assert clocks.read() == 0
    assert len(caplog.messages) == pytest.approx(2000 / LASTS_SECONDS, abs=2)


def test_a_clock_that_jumps_on_and_on_is_never_right(clocks: Clocks) -> None:
    for number in range(1000):
        clocks.ahead = number * HOURS
        assert clocks.read() == 0
