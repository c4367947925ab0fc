"""How long peers have served, on disk: a restart makes nobody a stranger again.

Laws: written whole or not at all; a file that cannot be read is refused, never taken for an empty one; what is lost in
a crash is a round of service.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from identity.errors import BadPeerId
from identity.keys import PeerId, format_peer, parse_peer
from node.errors import StoreError


class Acquaintances:
    """One small file of JSON: peer -> rounds served."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: Mapping[PeerId, int] = {}

    def load(self) -> dict[PeerId, int]:
        """What was saved last; empty when nothing was.

        Raises:
            StoreError: the file is damaged.
        """
        try:
            raw = json.loads(self._path.read_bytes())
            found = {parse_peer(text): int(count) for text, count in raw.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError, BadPeerId) as error:
            raise StoreError(f"cannot read {self._path}: {error}; remove it to begin with strangers only") from None
        self._written = found
        return dict(found)

    def save(self, served: Mapping[PeerId, int]) -> None:
        """Keep what is new.

        Raises:
            StoreError: the disk refuses.
        """
        if served == self._written:
            return
        fresh = self._path.with_suffix(".new")
        try:
            fresh.write_text(json.dumps({format_peer(peer): count for peer, count in sorted(served.items())}))
            os.replace(fresh, self._path)
        except OSError as error:
            raise StoreError(f"cannot write {self._path}: {error.strerror}") from error
        self._written = dict(served)
