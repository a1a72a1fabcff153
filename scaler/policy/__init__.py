"""Pure: the annotations of a Deployment become a policy, or errors that say why."""
