"""The behaviour of a node without I/O."""
