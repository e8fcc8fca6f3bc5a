"""Training runs as records and processes: events, store, lifecycle, scheduler, summaries."""
