# SPDX-License-Identifier: Apache-2.0
"""gpu-exporter: NVIDIA GPU metrics, each labelled with the pod that holds the GPU."""

# Written out, since importlib.metadata would take 0.9 MB on every node; a test compares the two.
__version__ = "0.1.0"
