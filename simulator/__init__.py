"""Many peers, some of them bad."""
