"""Dashboards and rules on a real Prometheus."""
