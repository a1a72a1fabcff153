# SPDX-License-Identifier: Apache-2.0
"""docs/cli.md has every command in its table; `make docs` writes the help of each."""

from __future__ import annotations

from tests.pages.markdown import ROOT
from tests.pages.reference import helps


def test_every_command_is_in_the_table():
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name in helps().keys() - {"gpu-scaler", "gpu-scaler completion"}:
        assert f"\n| `{name}" in page.partition("\n## ")[0]
