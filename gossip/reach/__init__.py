"""Whom to dial: addresses and links."""
