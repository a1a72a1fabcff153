# SPDX-License-Identifier: Apache-2.0
"""Which container uses which GPU: readings and allocations become labelled samples."""
