# SPDX-License-Identifier: Apache-2.0
"""What two packages need stands once, in `toolkit/`."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("exporter", "scaler", "toolkit")
LONGEST_SHARED = 5
# Says nothing by itself: blank lines, comments, imports, lone punctuation.
THIN = re.compile(r"\W*|#.*|(?:from|import) .*")


def runs(package):
    """Return where each run of lines begins that is too long to stand in two packages."""
    found: dict[tuple[str, ...], str] = {}
    for file in sorted((ROOT / package).rglob("*.py")):
        if file.name.endswith("_pb2.py"):
            continue
        written = [
            (number, line.strip())
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
            if not THIN.fullmatch(line.strip())
        ]
        for at in range(len(written) - LONGEST_SHARED):
            run = written[at : at + LONGEST_SHARED + 1]
            lines = tuple(line for _, line in run)
            found.setdefault(lines, f"{file.relative_to(ROOT)}:{run[0][0]}")
    return found


@pytest.mark.parametrize(("one", "other"), list(combinations(PACKAGES, 2)))
def test_no_run_of_lines_stands_in_two_packages(one, other):
    of_one, of_other = runs(one), runs(other)
    assert min(len(of_one), len(of_other)) > 100
    shared = of_one.keys() & of_other.keys()
    assert sorted((of_one[run], of_other[run]) for run in shared) == []
