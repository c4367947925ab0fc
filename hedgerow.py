"""hedgerow: a learning node without a server."""
