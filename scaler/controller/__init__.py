"""The loop, what it remembers between loops, and the writes it makes."""
