# SPDX-License-Identifier: Apache-2.0
"""The aggregated API custom.metrics.k8s.io: the GPUs' values for stock HorizontalPodAutoscalers."""
