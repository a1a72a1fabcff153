# SPDX-License-Identifier: Apache-2.0
"""A simulated NVML library: the C functions of nvml.h over a `SimulatedDriver`."""
