"""What an adversary does, one file an attack."""
