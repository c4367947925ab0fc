"""How bytes get there: connections, frames, payloads."""
