"""Listeners that take connections within limits; aiohttp parses the HTTP."""
