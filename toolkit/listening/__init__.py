# SPDX-License-Identifier: Apache-2.0
"""Listeners that take connections within limits; aiohttp parses the HTTP."""
