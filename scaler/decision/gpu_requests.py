# SPDX-License-Identifier: Apache-2.0
"""Pure: whether a pod's containers ask for a GPU, from the names of their resources."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NVIDIA = "nvidia.com/"
GPU = "gpu"
NO_GPU = (
    "its pods request no GPU: set one in a container's resources.limits, such as"
    ' nvidia.com/gpu: "1"'
)


def names_gpu(text: str) -> bool:
    """Whether a text is about GPUs: the name of a resource, or what a scheduler says."""
    lower = text.lower()
    return GPU in lower or NVIDIA in lower


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
