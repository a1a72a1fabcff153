"""Flags with environment variables, help, and shell completion."""
