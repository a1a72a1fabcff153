# SPDX-License-Identifier: Apache-2.0
"""`python -m daemonset.admission [FOLDER]`: write the policy's rules for the chart.

FOLDER is `daemonset` by default.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import yaml

from daemonset.admission.policy import policy

DAEMONSET: Final = Path(__file__).resolve().parents[1]


def main(folder: Path) -> None:
    """Write the rules into `folder`."""
    files = folder / "chart" / "files"
    files.mkdir(parents=True, exist_ok=True)
    source = "# Made from scaler/policy by `make generate`.\n"
    text = yaml.safe_dump(policy(), sort_keys=False, width=100, allow_unicode=True)
    (files / "annotation-policy.yaml").write_text(source + text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DAEMONSET)
