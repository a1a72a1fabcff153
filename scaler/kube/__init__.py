# SPDX-License-Identifier: Apache-2.0
"""The client of the Kubernetes API; knows nothing of GPUs."""
