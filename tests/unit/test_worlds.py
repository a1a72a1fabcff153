# SPDX-License-Identifier: Apache-2.0
"""Which tests stay together on one worker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.worlds import PLACES, WITH_THE_IMAGE, world_of

ROOT = Path(__file__).parents[2]
SHARED = re.compile(r"""fixture\([^)]*scope=["'](package|session)["']""")


@pytest.mark.parametrize(
    ("test", "world"),
    [
        ("tests/unit/test_a.py::test_b[c::d]", "tests/unit/test_a.py"),
        ("tests/cluster/chain/test_hpa.py::test_b", "tests/cluster/chain/"),
        ("tests/cluster/test_permissions.py::test_b", "tests/cluster/test_permissions.py"),
        (f"{WITH_THE_IMAGE}::test_b", "tests/image/"),
        ("tests/image/test_image.py::test_b", "tests/image/"),
    ],
)
def test_the_world_of_a_test(test, world):
    assert world_of(test) == world


def test_every_package_with_a_world_of_its_own_stays_together():
    sharing = {
        f"{file.parent.relative_to(ROOT).as_posix()}/"
        for file in (ROOT / "tests").rglob("conftest.py")
        if any(kind == "package" for kind in SHARED.findall(file.read_text()))
    }
    assert sharing
    assert sharing <= {*PLACES}
