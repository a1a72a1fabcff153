"""What the scaler shows of itself over HTTP."""
