"""Which models there are, what a user added, and how they are deleted."""
