"""The Helm chart on a real API server."""
