# SPDX-License-Identifier: Apache-2.0
"""The scaler's HTTP server: status page, decisions API, metrics and probes."""
