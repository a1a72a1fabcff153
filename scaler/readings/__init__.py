"""Where metric values come from; each source answers the same `ReadingRequest`s."""
