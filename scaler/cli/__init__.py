"""The command line and its environment: how the scaler is asked to run."""
