"""What a node learns, and how it trains."""
