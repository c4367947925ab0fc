"""What stops a node, in one sentence that says what to do.

NodeError
├── ConfigError (also ValueError)   what the user wrote does not hold together
└── StoreError                      our own disk: not writable, damaged, in use by another process
    └── Busy                        another process runs this node
"""

from __future__ import annotations


class NodeError(Exception):
    """Root of everything that starting and running a node raises on purpose."""


class ConfigError(NodeError, ValueError):
    """What the user wrote does not hold together; the message names the file, the key and what would be right."""


class StoreError(NodeError):
    """Our own disk cannot be used."""


class Busy(StoreError):
    """Another process runs this node."""
