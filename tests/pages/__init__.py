# SPDX-License-Identifier: Apache-2.0
"""The documentation as data: its pages, what they link to, and the commands and files in them."""
