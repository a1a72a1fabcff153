# SPDX-License-Identifier: Apache-2.0
"""The programs as a reader has them at hand, with simulated GPUs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EXPORTER = f'#!/bin/sh\nexec {sys.executable} -m simulator.exporter "$@"\n'


def programs(folder: Path) -> Mapping[str, str]:
    """Return an environment in which `gpu-exporter` sees simulated GPUs; `folder` is for it."""
    exporter = folder / "gpu-exporter"
    exporter.write_text(EXPORTER, encoding="utf-8")
    exporter.chmod(0o755)
    path = (str(folder), str(Path(sys.executable).parent), os.environ["PATH"])
    return {"PATH": os.pathsep.join(path)}
