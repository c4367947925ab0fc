"""Who has a say, and why."""
