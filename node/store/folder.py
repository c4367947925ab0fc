"""All that a node keeps on disk between runs: one folder, one lock, one ledger, the newest checkpoints.

Laws:
- Whoever holds a `Store` is the only process on this machine that signs with this node's key: the key file itself is
  locked, whatever folder the rest is kept in. (A copied key is another file: `gossip.chain.own_chain` notices.)
- Nobody else on this machine reads or locks what is in it: mode 0700.
- What is in it belongs together: a model without the ledger of its node, or a model of another task, is refused.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from node.errors import Busy, StoreError
from node.store.checkpoint import Checkpoint, CheckpointFolder
from node.store.ledger import SqliteLedger

LOCK = "lock"
LEDGER = "ledger.sqlite"
CHECKPOINTS = "checkpoints"
GOOD = "good"


class Store:
    """The folder, opened and locked.

    Attributes:
        ledger: own headers and others' heads.
        checkpoints: the model between rounds.
        good: the last good model, one file (`node.fallback` says which that is).

    Args:
        folder: made if it is not there.
        dimension: d of the models; None: any.
        form: what a model in it is of, see `CheckpointFolder`.
        key: the key file, to be locked; None: nothing but the folder is.

    Raises:
        Busy: another process has it open, or signs with this key.
        StoreError: it cannot be written to, or the ledger is damaged.
    """

    def __init__(self, folder: Path, dimension: int | None, form: str = "", key: Path | None = None) -> None:
        self._folder = folder
        self._lock = FileLock(folder / LOCK, timeout=0)
        self._key: int | None = None
        try:
            (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
            (folder / GOOD).mkdir(exist_ok=True)
            with suppress(PermissionError):  # somebody else's folder that we may write to
                folder.chmod(0o700)
            self._lock.acquire()
        except Timeout as error:
            raise Busy(f"another process runs the node in {folder}: stop it first, or use another folder") from error
        except OSError as error:
            raise StoreError(
                f"cannot write to {folder}: {error.strerror}; make room, make it writable, or use another folder"
            ) from error
        try:
            self._key = None if key is None else _lock_key(key)
            self.ledger = SqliteLedger(folder / LEDGER)
        except BaseException:
            self._let_go()
            raise
        self.checkpoints = CheckpointFolder(folder / CHECKPOINTS, dimension, form)
        self.good = CheckpointFolder(folder / GOOD, dimension, form, keep=1)

    def resume(self) -> Checkpoint | None:
        """The model to go on from, if there is one.

        Raises:
            StoreError: there is a model, but the ledger of the node that made it is gone; or it is of another model.
        """
        self._check_whole()
        return self.checkpoints.load()

    def forget_training(self) -> None:
        """Forget the model and what training carried over; key, chain and what is known of others stay.

        Raises:
            StoreError: the ledger of the node that made the model is gone, or the disk refuses.
        """
        self._check_whole()
        self.ledger.forget_payloads()
        self.checkpoints.clear()
        self.good.clear()

    def go_back(self) -> tuple[Checkpoint, int] | None:
        """Go on from the last good model at the next start: it, and in which round; None if there is none.

        The newest own update stays signed, and is not sent again: it was trained from the model that is left.

        Raises:
            StoreError: the disk refuses, or the ledger of the node that made the model is gone.
        """
        self._check_whole()
        kept = self.good.load()
        if kept is None:
            return None
        head = self.ledger.head()
        round = max(kept.round, self.checkpoints.newest() or 0, -1 if head is None else head.round + 1)
        self.checkpoints.copy(self.good, round)
        return kept, round

    def _check_whole(self) -> None:
        newest = self.checkpoints.newest()
        if newest is not None and self.ledger.head() is None:
            raise StoreError(
                f"{self._folder} has the model of round {newest}, but its ledger is empty: the node would sign anew "
                "what it has signed before; restore the ledger, or begin in a new folder with a new key"
            )

    def close(self) -> None:
        """Close the ledger and let go of the locks. Safe to call twice."""
        self.ledger.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._key is not None:
            os.close(self._key)
            self._key = None
        self._lock.release()

    def __enter__(self) -> Store:
        """The store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def _lock_key(path: Path) -> int:
    """Lock a key file until the descriptor is closed.

    Raises:
        Busy: another process holds it.
        StoreError: it cannot be opened.
    """
    try:
        import fcntl
    except ImportError:  # Windows: the folder's lock is all there is
        fcntl = None  # type: ignore[assignment]
    handle: int | None = None
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return handle
    except OSError as error:
        if handle is not None:
            os.close(handle)
        if isinstance(error, BlockingIOError):
            raise Busy(f"another process signs with {path}: stop it first, or make another node") from error
        raise StoreError(f"cannot lock the key file {path}: {error.strerror}") from error
