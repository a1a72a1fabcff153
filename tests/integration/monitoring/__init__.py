# SPDX-License-Identifier: Apache-2.0
"""Dashboards and rules on a real Prometheus."""
