# SPDX-License-Identifier: Apache-2.0
"""The kubelet's pod-resources API: the only place of the exporter that speaks gRPC."""
