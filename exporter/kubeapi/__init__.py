# SPDX-License-Identifier: Apache-2.0
"""The Kubernetes API, for what the kubelet does not report: off by default, used here only."""
