"""Metric families and the text formats that Prometheus reads."""
