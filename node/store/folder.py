"""All that a node keeps on disk between runs: one folder, one lock, one ledger, the newest checkpoints.

Law: whoever holds a `Store` is the only process that signs with this node's key.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from node.errors import Busy, StoreError
from node.store.checkpoint import CheckpointFolder
from node.store.ledger import SqliteLedger

LOCK = "lock"
LEDGER = "ledger.sqlite"
CHECKPOINTS = "checkpoints"


class Store:
    """The folder, opened and locked.

    Attributes:
        ledger: own headers and others' heads.
        checkpoints: the model between rounds.

    Args:
        folder: made if it is not there.
        dimension: d of the models.

    Raises:
        Busy: another process has it open.
        StoreError: it cannot be written to, or the ledger is damaged.
    """

    def __init__(self, folder: Path, dimension: int) -> None:
        self._lock = FileLock(folder / LOCK, timeout=0)
        try:
            (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise Busy(f"another process runs the node in {folder}: stop it first, or use another folder") from error
        except OSError as error:
            raise StoreError(
                f"cannot write to {folder}: {error.strerror}; make it writable, or use another folder"
            ) from error
        try:
            self.ledger = SqliteLedger(folder / LEDGER)
        except BaseException:
            self._lock.release()
            raise
        self.checkpoints = CheckpointFolder(folder / CHECKPOINTS, dimension)

    def close(self) -> None:
        """Close the ledger and let go of the lock. Safe to call twice."""
        self.ledger.close()
        self._lock.release()

    def __enter__(self) -> Store:
        """The store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()
