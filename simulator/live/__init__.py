"""Attacks on a live node."""
