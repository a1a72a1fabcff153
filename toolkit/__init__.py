# SPDX-License-Identifier: Apache-2.0
"""What both programs need and neither is about; knows nothing of GPUs or Kubernetes."""
