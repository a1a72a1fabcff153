# SPDX-License-Identifier: Apache-2.0
"""`gpu-scaler run`: creates, connects, runs and stops all parts."""

from scaler.app.composition import run
from scaler.app.parts import StartError

__all__ = ["StartError", "run"]
