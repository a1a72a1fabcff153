# SPDX-License-Identifier: Apache-2.0
"""The Helm chart on a real API server."""
