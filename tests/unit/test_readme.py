"""The README says what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.catalogue import FAMILIES, LABELS
from scaler.policy.annotations import ANNOTATIONS

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("annotation", ANNOTATIONS, ids=lambda annotation: annotation.name)
def test_every_annotation_has_its_row(annotation):
    default = "" if annotation.default is None else f"`{annotation.default}`"
    row = f"| `{annotation.name}` | {default} | {annotation.meaning}: {annotation.allowed} |"
    assert row in README.splitlines()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_every_base_family_is_listed(family):
    assert f"`{family.name}`" in README


def test_the_labels_are_listed_in_their_order():
    named = ", ".join(f"`{label}`" for label in LABELS)
    assert named in " ".join(README.split())
