# SPDX-License-Identifier: Apache-2.0
"""Whose a process is, from what the node itself knows: no API token, no runtime's socket."""
