# SPDX-License-Identifier: Apache-2.0
"""Flags with environment variables, help, and shell completion."""
