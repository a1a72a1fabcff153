# SPDX-License-Identifier: Apache-2.0
"""An outcome and a reason: a name on the status page, an event, a row on a page."""

from __future__ import annotations

from functools import cache

from scaler.decision.model import Outcome, Reason
from scaler.reporting.event_deduplication import event_type
from scaler.web.wording import state_of
from tests.pages.markdown import page
from tests.statuspage import decision
from tests.unit.places import places


@cache
def code_on(*names):
    """Return every piece of code within the sentences and tables of pages."""
    return frozenset(code for name in names for _, code in page(name).code)


def outcome_has_a_name(outcome):
    assert state_of(decision(outcome=outcome)).label


def reason_has_a_name(reason):
    assert state_of(decision(outcome=Outcome.UNCHANGED, reason=reason)).label


def reason_is_explained(reason):
    assert reason.value in code_on("docs/troubleshooting.md", "docs/scaler.md")


OUTCOME_PLACES = {
    "scaler/web/wording.py (state_of)": outcome_has_a_name,
    "scaler/reporting/event_deduplication.py (event_type)": event_type,
    "docs/scaler.md (Outcomes)": lambda one: [
        row[0] for row in page("docs/scaler.md").table("Outcomes")
    ].index(one.value),
}
REASON_PLACES = {
    "scaler/web/wording.py (state_of)": reason_has_a_name,
    "docs/troubleshooting.md or docs/scaler.md": reason_is_explained,
}


@places(OUTCOME_PLACES, Outcome)
def test_an_outcome_is_known(member, check):
    check(member)


@places(REASON_PLACES, Reason)
def test_a_reason_is_known(member, check):
    check(member)
