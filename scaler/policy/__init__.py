"""The annotations of a Deployment become a policy, or errors; all pure."""
