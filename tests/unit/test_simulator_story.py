# SPDX-License-Identifier: Apache-2.0
"""The demo's story: what ends each chapter, and how its lines read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.demo_script import CHAPTERS, Sight, row, same_line

IDLE = Sight(
    at_seconds=3.4,
    load=0,
    value=0,
    ready_replicas=1,
    wanted_replicas=1,
    desired_replicas=1,
    reason="DesiredWithinRange",
    message="nothing to do",
)
STARTS, ADDS, GROWS = 1, 2, 3


def seen(duty: float | None, ready: int, wanted: int) -> Sight:
    return replace(
        IDLE,
        value=duty,
        ready_replicas=ready,
        wanted_replicas=wanted,
        desired_replicas=wanted,
    )


@pytest.mark.parametrize(
    ("chapter", "sight", "reached"),
    [
        pytest.param(0, IDLE, True, id="idle"),
        pytest.param(0, seen(None, 1, 1), False, id="no value is not idle"),
        pytest.param(0, replace(IDLE, desired_replicas=None), False, id="no decision is not idle"),
        pytest.param(0, seen(0, 0, 1), False, id="not ready is not idle"),
        pytest.param(STARTS, seen(63, 1, 1), True, id="63 of 40"),
        pytest.param(STARTS, seen(44, 1, 1), False, id="44 is within tolerance"),
        pytest.param(ADDS, seen(31, 2, 2), True, id="scaled out"),
        pytest.param(ADDS, seen(31, 1, 2), False, id="a new pod is not ready yet"),
        pytest.param(ADDS, seen(31, 1, 1), False, id="nothing was added"),
        pytest.param(ADDS, seen(0, 2, 2), False, id="no load at all"),
        pytest.param(GROWS, seen(39, 8, 8), True, id="eight pods"),
        pytest.param(GROWS, seen(39, 5, 5), False, id="too few pods"),
        pytest.param(GROWS, seen(60, 8, 8), False, id="still above the target"),
        pytest.param(4, IDLE, True, id="back again"),
        pytest.param(4, seen(0, 2, 2), False, id="not yet back at one"),
    ],
)
def test_what_ends_a_chapter(chapter, sight, reached):
    assert CHAPTERS[chapter].reached(sight) is reached


def test_rows():
    line = row(seen(63.2, 1, 3), width=None, blocks=True)
    assert "63/40" in line
    assert "1/3    ■□□" in line
    assert line.endswith("DesiredWithinRange: nothing to do")


def test_a_row_is_cut_to_the_terminal():
    assert len(row(IDLE, width=40, blocks=False)) == 40


def test_only_news_make_a_line():
    assert same_line(IDLE, replace(IDLE, at_seconds=9, message="other"))
    assert not same_line(IDLE, replace(IDLE, reason="TooManyReplicas"))
    assert not same_line(None, IDLE)
