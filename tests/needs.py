"""What tests may need beyond Python, whether this machine has it, and what would bring it."""

from __future__ import annotations

import os
import shutil
from functools import cache
from pathlib import Path
from typing import Final

from tests.cluster import tools

CNI_PLUGINS: Final = Path("/usr/lib/cni")
INSTALLED: Final = {
    "cni-plugins": "apt-get install containernetworking-plugins",
    "containerd": "apt-get install containerd",
    "runc": "apt-get install runc",
    "prometheus": "apt-get install prometheus",
    "promtool": "apt-get install prometheus",
}
"""Programs that come from the system's packages, and the command for it."""


@cache
def is_there(need: str) -> bool:
    """Whether this machine has a program, CNI's plugins, or the rights of `root`."""
    if need == "root":
        return os.geteuid() == 0
    if need == "cni-plugins":
        return (CNI_PLUGINS / "ptp").is_file()
    if need in tools.BY_NAME and tools.find(need) is not None:
        return True
    # The test bed runs pinned versions only; where any kubectl will do, the system's does.
    return (need not in tools.BY_NAME or need == "kubectl") and shutil.which(need) is not None


def remedy(need: str) -> str:
    """Return the command that brings what is missing."""
    if need == "root":
        return "sudo make test"
    if need in tools.BY_NAME:
        return (
            "make cluster-tools"
            if shutil.which("go")
            else "install Go >= 1.24, then make cluster-tools"
        )
    return INSTALLED[need]
