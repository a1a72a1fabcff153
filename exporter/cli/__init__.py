"""The exporter's flags and configuration."""
