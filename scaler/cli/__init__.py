# SPDX-License-Identifier: Apache-2.0
"""The command line of `gpu-scaler` and its environment variables."""
