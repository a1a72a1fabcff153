# SPDX-License-Identifier: Apache-2.0
"""Values, pods and a policy become a replica count, with every reason for it; all pure."""
