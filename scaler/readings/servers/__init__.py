"""Reads the requests in hand of model servers in pods."""
