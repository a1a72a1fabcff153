# SPDX-License-Identifier: Apache-2.0
"""The annotations of a Deployment become a policy, or errors; all pure."""
