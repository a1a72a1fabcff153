"""The only place that speaks to the Kubernetes API."""
