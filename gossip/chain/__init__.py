"""Whose update follows which: own chain, admission, what must be remembered."""
