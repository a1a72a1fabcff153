# SPDX-License-Identifier: Apache-2.0
"""The import contract and the docstrings name the same modules as pure."""

from __future__ import annotations

import ast
import configparser
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("daemonset", "exporter", "scaler", "simulator", "toolkit")


def test_the_contract_lists_every_module_that_calls_itself_pure_and_no_other():
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter", encoding="utf-8")
    listed = contracts["importlinter:contract:pure"]["source_modules"].split()
    named = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").startswith("Pure:")
    ]
    assert sorted(listed) == sorted(named)
