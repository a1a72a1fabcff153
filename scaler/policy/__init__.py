"""Pure: parses the annotations of a Deployment to a policy, or to errors."""
