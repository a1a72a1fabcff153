"""Reporting: explanations, events, metrics and the history of the last hour."""
