"""How many files this process may have open: all that the system allows, and some of them kept for the disk.

Laws: the soft limit is raised to the hard one once, at start. What strangers open (sockets) never takes the last files:
descriptors are numbered from the lowest free one, so a number near the limit says that few are left.
"""

from __future__ import annotations

import contextlib
import resource


def allowed_files() -> int:
    """Files that this process may have open now; a very large number where there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 2**31 if soft == resource.RLIM_INFINITY else soft


def raise_limit() -> int:
    """Raise the soft limit to the hard one, as far as the system lets us; returns what is allowed then."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS names a hard limit that it does not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return allowed_files()


def scarce(descriptor: int, spare: int) -> bool:
    """Whether a socket with this number leaves fewer than `spare` files for everything else."""
    return descriptor >= allowed_files() - spare
