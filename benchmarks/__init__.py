# SPDX-License-Identifier: Apache-2.0
"""Figures for the bars of the design; each module is one `make bench-NAME`."""
