# SPDX-License-Identifier: Apache-2.0
"""Reporting: explanations, events, metrics and the history of the last hour."""
