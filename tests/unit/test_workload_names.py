# SPDX-License-Identifier: Apache-2.0
"""The ways to name a workload on the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaler.cli.workload import parse_workload
from scaler.model import ObjectRef

WEB = ObjectRef("prod", "web")
DATABASE = ObjectRef("prod", "db", "statefulsets.apps")


@pytest.mark.parametrize(
    ("text", "namespace", "ref"),
    [
        ("prod/web", None, WEB),
        ("web", "prod", WEB),
        ("deploy/web", "prod", WEB),
        ("deployment/web", "prod", WEB),
        ("deployments.apps/web", "prod", WEB),
        ("Deployment/web", "prod", WEB),
        ("sts/db", "prod", DATABASE),
        ("statefulset.apps/db", "prod", DATABASE),
        ("prod/statefulsets.apps:db", None, DATABASE),
        ("statefulsets.apps:db", "prod", DATABASE),
        ("rollouts.argoproj.io/web", "prod", ObjectRef("prod", "web", "rollouts.argoproj.io")),
    ],
)
def test_every_form_names_the_workload(text, namespace, ref):
    named = parse_workload(text, namespace_given=namespace is not None)
    assert named.ref(namespace or "default") == ref


def test_a_kind_without_a_namespace_is_in_the_default_one():
    assert parse_workload("deploy/web").ref("default") == ObjectRef("default", "web")
    assert parse_workload("rollouts.argoproj.io/web").ref("default").namespace == "default"


def test_a_namespace_may_be_called_like_a_kind():
    assert parse_workload("web", namespace_given=True).ref("deploy") == ObjectRef("deploy", "web")


@pytest.mark.parametrize("text", ["", "/", "a/", "/b", "a/b/c", "a b", "a/b c"])
def test_what_names_nothing_is_refused(text):
    with pytest.raises(ValueError, match="NAMESPACE/NAME"):
        parse_workload(text)


@given(st.text(max_size=30), st.booleans())
def test_no_text_raises_anything_else(text, namespace_given):
    try:
        named = parse_workload(text, namespace_given=namespace_given)
    except ValueError:
        return
    assert named.ref("default").namespace
