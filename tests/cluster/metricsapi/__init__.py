# SPDX-License-Identifier: Apache-2.0
"""Our own custom.metrics.k8s.io behind the API server: exporters, scalers, HPAs, nothing else."""
