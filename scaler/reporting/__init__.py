"""What people are told: texts, events, counts, and what is remembered of the last hour."""
