# SPDX-License-Identifier: Apache-2.0
"""Pure: the Kubernetes version that the embedded API and the simulated nodes name."""

from __future__ import annotations

from typing import Final

MAJOR: Final = 1
MINOR: Final = 34
# Distributions tell themselves apart in the same way: v1.34.1+k3s1.
KUBERNETES_VERSION: Final = f"v{MAJOR}.{MINOR}.0+simulated"
