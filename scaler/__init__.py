"""gpu-scaler: GPU readings in, replica counts out."""
