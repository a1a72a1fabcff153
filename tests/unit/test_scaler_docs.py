# SPDX-License-Identifier: Apache-2.0
"""The worked examples of docs/scaler.md come out as the sentences around them say."""

from __future__ import annotations

import pytest

from scaler.decision.model import Outcome
from tests.pages.examples import EXAMPLES

EXPECTED = {
    "load-step": (Outcome.SCALED, 5),
    "saturation": (Outcome.SCALED, 8),
    "load-gone": (Outcome.UNCHANGED, 6),
    "missing-value": (Outcome.HELD, 6),
    "waking": (Outcome.SCALED, 4),
    "priority": (Outcome.UNCHANGED, 2),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_comes_out_as_the_text_says(name):
    decision = EXAMPLES[name]()
    assert (decision.outcome, decision.desired_replicas) == EXPECTED[name]
