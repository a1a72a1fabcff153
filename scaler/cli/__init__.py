"""The command line of `gpu-scaler` and its environment variables."""
