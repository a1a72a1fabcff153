# SPDX-License-Identifier: Apache-2.0
"""Readings from Prometheus and what speaks its HTTP API."""
