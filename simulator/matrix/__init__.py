"""Rules x attacks x places on one page."""
