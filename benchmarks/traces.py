# SPDX-License-Identifier: Apache-2.0
"""Load over time for comparing scaling policies: requests per second, second by second.

One pod serves `POD_REQUESTS_PER_SECOND`, so a load of 60 is work for 6 busy pods.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

POD_REQUESTS_PER_SECOND: Final = 10.0
MINUTE: Final = 60
HOUR: Final = 3600
SEED: Final = 20_261_124
NOISE_SECONDS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A named load; `requests_per_second[n]` is that of second n."""

    name: str
    requests_per_second: tuple[float, ...]


def all_traces() -> tuple[Trace, ...]:
    """Return every trace; the same each time."""
    return (step(), ramp(), spike(), day(), overload())


def step() -> Trace:
    """From work for 1 pod to work for 8 within a second, half an hour, and back."""
    return _trace("step", HOUR, lambda t: 76 if 5 * MINUTE <= t < 35 * MINUTE else 8)


def ramp() -> Trace:
    """From next to nothing to 14 busy pods in 20 minutes, and back in as many."""
    return _trace("ramp", HOUR, lambda t: 5 + 135 * max(0.0, 1 - abs(t / MINUTE - 25) / 20))


def spike() -> Trace:
    """Work for 2 pods, and every quarter of an hour for 12 that lasts two minutes."""
    return _trace("spike", 2 * HOUR, lambda t: 115 if 300 <= t % 900 < 420 else 18)


def day() -> Trace:
    """A day between 1 and 12 busy pods, with noise of 15 % that changes every half minute."""
    chance = random.Random(SEED)
    noise = [chance.gauss(1, 0.15) for _ in range(24 * HOUR // NOISE_SECONDS)]

    def load(t: int) -> float:
        calm = 65 - 55 * math.cos(2 * math.pi * t / (24 * HOUR))
        return max(0.0, calm * noise[t // NOISE_SECONDS])

    return _trace("day", 24 * HOUR, load)


def overload() -> Trace:
    """Work for 30 pods where at most 20 are allowed, half an hour long."""
    return _trace("overload", HOUR, lambda t: 300 if 5 * MINUTE <= t < 35 * MINUTE else 8)


def _trace(name: str, seconds: int, load: Callable[[int], float]) -> Trace:
    return Trace(name=name, requests_per_second=tuple(float(load(t)) for t in range(seconds)))
