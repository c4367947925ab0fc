"""One peer."""
