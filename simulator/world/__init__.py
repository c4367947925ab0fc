"""The world engine: real node services over an in-memory network, in virtual time."""
