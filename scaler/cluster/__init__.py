# SPDX-License-Identifier: Apache-2.0
"""The watched cluster as values: workloads, pods, exporters, scale, events."""
