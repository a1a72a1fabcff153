# SPDX-License-Identifier: Apache-2.0
"""A recorded load becomes what each policy would have done with it; all pure."""
