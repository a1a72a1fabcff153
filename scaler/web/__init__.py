"""The scaler's HTTP server: status page, decisions API, metrics and probes."""
