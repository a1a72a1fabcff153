"""The Kubernetes API, for what the kubelet does not tell: off by default, and asked here alone."""
