"""What both programs need and neither is about; knows nothing of GPUs or Kubernetes."""
