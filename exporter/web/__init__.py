# SPDX-License-Identifier: Apache-2.0
"""The exporter's HTTP server."""
