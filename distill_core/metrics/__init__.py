"""Numbers over plain arrays: task metrics and the agreement of two attribution maps."""
