"""Moving signed messages."""
