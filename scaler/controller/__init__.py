# SPDX-License-Identifier: Apache-2.0
"""The loop, what it remembers between loops, and the writes it makes."""
