# SPDX-License-Identifier: Apache-2.0
"""Pure: whether a pod's containers ask for a GPU, from the names of their resources."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

NVIDIA = "nvidia.com/"
GPU = "gpu"
NO_GPU = (
    "its pods request no GPU: set one in a container's resources.limits, such as"
    ' nvidia.com/gpu: "1"'
)
_INSUFFICIENT: Final = re.compile(r"Insufficient ([\w./-]*\w)")


def names_gpu(resource: str) -> bool:
    """Whether a resource is a GPU, by its name."""
    lower = resource.lower()
    return GPU in lower or NVIDIA in lower


def insufficient(message: str) -> AbstractSet[str]:
    """The resources that a scheduler's message says no node has enough of.

    A message names GPUs elsewhere too, such as in the taint of a node that has some free.
    """
    return set(_INSUFFICIENT.findall(message))


def requests_gpu(resources: Iterable[tuple[str, object]], *, claims: bool) -> bool | None:
    """Whether one of the containers' resources, names with quantities, is a GPU.

    None where that is not known: a device plugin may call its resource whatever it likes, and
    what a resource claim (`claims`) is for stands elsewhere.
    """
    unknown = claims
    for name, quantity in resources:
        if str(quantity) == "0":
            continue
        if names_gpu(name):
            return True
        unknown |= "/" in name and "kubernetes.io/" not in name
    return None if unknown else False
