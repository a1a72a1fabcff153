"""Readings from gpu-exporters."""
