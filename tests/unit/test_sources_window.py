"""Averages over `gpu-scaler/window`."""

from __future__ import annotations

from scaler.model import PodValue
from scaler.sources.window import PodWindow


def value(milli: int, at: float) -> PodValue:
    return PodValue(value_milli=milli, sampled_seconds=at)


def window_of(*values: PodValue, seconds: float = 60) -> PodWindow:
    window = PodWindow(samples=())
    for one in values:
        window = window.add(one, window_seconds=seconds)
    return window


def test_mean_over_the_window_at_the_newest_sample():
    window = window_of(value(10_000, 0), value(20_000, 30), value(60_000, 60))
    assert window.mean() == value(30_000, 60)
    assert window.span_seconds() == 60


def test_samples_older_than_the_window_leave():
    window = window_of(value(90_000, 0), value(10_000, 61), value(20_000, 90))
    assert window.mean() == value(15_000, 90)


def test_the_same_snapshot_read_twice_counts_once():
    window = window_of(value(10_000, 5), value(10_000, 5), value(20_000, 6))
    assert window.mean() == value(15_000, 6)
