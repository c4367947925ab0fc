"""What can go wrong with keys and signatures, by the side that is guilty.

IdentityError
├── BadPeerId (also ValueError)   a text or bytes that is no peer id
├── ForgedEnvelope                a peer's bytes: malformed or not signed by the key they name
└── KeyFileError                  our own key file: missing, loose mode, symlink, foreign owner, wrong size
"""

from __future__ import annotations


class IdentityError(Exception):
    """Root of everything that `identity` raises on purpose."""


class BadPeerId(IdentityError, ValueError):
    """A text or bytes that cannot be the id of any peer."""


class ForgedEnvelope(IdentityError):
    """Foreign bytes that are no envelope, or whose signature does not hold."""


class KeyFileError(IdentityError):
    """The key file on our own disk cannot be used; the message says what to do."""
