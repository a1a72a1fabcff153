# SPDX-License-Identifier: Apache-2.0
"""Readings from gpu-exporters."""
