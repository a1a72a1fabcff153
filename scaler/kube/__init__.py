"""The client of the Kubernetes API; knows nothing of GPUs."""
