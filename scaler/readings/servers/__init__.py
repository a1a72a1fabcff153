# SPDX-License-Identifier: Apache-2.0
"""Reads the requests in hand of model servers in pods."""
