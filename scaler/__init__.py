# SPDX-License-Identifier: Apache-2.0
"""gpu-scaler: GPU readings in, replica counts out."""
