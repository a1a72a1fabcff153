# SPDX-License-Identifier: Apache-2.0
"""The chain that users have today, on our exporter: Prometheus, Prometheus Adapter, a stock HPA."""
