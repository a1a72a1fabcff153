# SPDX-License-Identifier: Apache-2.0
"""The admission policy knows every annotation of the scaler."""

from __future__ import annotations

import yaml

from daemonset.admission.__main__ import DAEMONSET
from daemonset.admission.forms import FORMS
from daemonset.admission.policy import policy
from scaler.policy.annotations import ANNOTATIONS


def test_every_annotation_has_a_form():
    assert FORMS.keys() == {row.name for row in ANNOTATIONS}


def test_the_chart_has_the_policy_as_it_is_made():
    file = DAEMONSET / "chart" / "files" / "annotation-policy.yaml"
    assert yaml.safe_load(file.read_text(encoding="utf-8")) == policy(), "run make generate"


def test_every_annotation_is_refused_in_the_tables_words():
    messages = [one["message"] for one in policy()["validations"]]
    for row in ANNOTATIONS:
        assert f"{row.name} is wrong; allowed is {row.allowed}" in messages
