# SPDX-License-Identifier: Apache-2.0
"""What tests may need beyond Python, whether this machine has it, and what would bring it."""

from __future__ import annotations

import os
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Final

from tests.cluster import tools
from tests.cluster.tools import golang
from tests.ownaddress import own_address

CNI_PLUGINS: Final = Path("/usr/lib/cni")
INSTALLED: Final = {
    "bash": "apt-get install bash",
    "buildah": "apt-get install buildah",
    "chromium": "apt-get install chromium",
    "cni-plugins": "apt-get install containernetworking-plugins",
    "containerd": "apt-get install containerd",
    "fish": "apt-get install fish",
    "mmdebstrap": "apt-get install mmdebstrap",
    "runc": "apt-get install runc",
    "zsh": "apt-get install zsh",
}
"""Programs that come from the system's packages, and the command for it."""
OF_THE_MACHINE: Final = {
    "root": "sudo make test",
    "linux": "run the tests on Linux",
    "network": "give this machine an address other than loopback, with a default route",
}
"""What no package brings, and what to do instead."""


@cache
def is_there(need: str) -> bool:
    """Whether this machine has a program, CNI's plugins, or one of OF_THE_MACHINE."""
    if need == "root":
        return os.geteuid() == 0
    if need == "linux":
        return sys.platform == "linux"
    if need == "network":
        return own_address() is not None
    if need == "cni-plugins":
        return (CNI_PLUGINS / "ptp").is_file()
    if need in tools.BY_NAME or need in tools.SERVERS:
        # The test bed runs pinned versions only.
        return tools.find(need) is not None
    return shutil.which(need) is not None


def remedy(need: str) -> str:
    """Return the command that brings what is missing."""
    if need in OF_THE_MACHINE:
        return OF_THE_MACHINE[need]
    if need in tools.SERVERS:
        return "make cluster-tools"
    if need in tools.BY_NAME:
        build = "make cluster-tools"
        if golang.problem(golang.installed()) is None:
            return build
        return f"install Go >= {golang.needed()}, then {build}"
    return INSTALLED[need]
