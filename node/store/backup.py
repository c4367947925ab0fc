"""A copy of a node, of one that runs too: key, settings, ledger, newest checkpoint, last good model.

Laws:
- The ledger first, by SQLite's own online backup, so it is of one moment; then the newest checkpoint, checked. A newer
  model than the ledger's last header does no harm: rounds only grow.
- Whole or not at all: written beside OUT, flushed, and renamed. What exists is never written over.
- A key is in it: folders are 0700, files 0600.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from node.errors import StoreError
from node.store.checkpoint import CheckpointFolder
from node.store.folder import CHECKPOINTS, GOOD, LEDGER

TAR = ".tar"


@dataclass(frozen=True, slots=True)
class Backup:
    """What was copied.

    Attributes:
        out: where it is.
        round: of the newest checkpoint, or None if there was none yet.
        headers: own headers in the ledger; 0 without one.
    """

    out: Path
    round: int | None
    headers: int


def back_up(files: tuple[Path, ...], state: Path, inside: Path, out: Path) -> Backup:
    """Copy a node into a folder, or into an uncompressed archive if `out` ends in .tar.

    Args:
        files: key and settings.
        state: the folder with ledger and checkpoints.
        inside: where that stands in the copy.
        out: must not exist.

    Raises:
        StoreError: it exists, something cannot be read or written; one sentence.
    """
    if out.exists() or out.is_symlink():
        raise StoreError(f"{out} exists already: a backup never writes over anything, choose another name")
    try:
        whole = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))  # mode 0700
    except OSError as error:
        raise StoreError(f"cannot write to {out.parent}: {error.strerror}") from error
    try:
        copy = whole / (out.name.removesuffix(TAR) or "node")
        copy.mkdir(mode=0o700)
        kept = copy / inside
        for name in (CHECKPOINTS, GOOD):
            (kept / name).mkdir(mode=0o700, parents=True)
        headers = _copy_ledger(state / LEDGER, kept / LEDGER)
        rounds = [CheckpointFolder(state / name, None).hand_over(kept / name) for name in (CHECKPOINTS, GOOD)]
        for path in files:
            shutil.copyfile(path, copy / path.name)
        _seal(copy)
        made = copy
        if out.suffix == TAR:
            made = whole / out.name
            _pack(copy, made)
        if out.exists():
            raise StoreError(f"{out} exists now: a backup never writes over anything, choose another name")
        made.rename(out)
        _flush(out.parent)
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"cannot back up {state.parent} to {out}: {error}; nothing is left there") from error
    finally:
        shutil.rmtree(whole, ignore_errors=True)
    return Backup(out, rounds[0], headers)


def _copy_ledger(source: Path, target: Path) -> int:
    """The ledger as it is in one moment, though a node writes to it; returns how many own headers it has."""
    if not source.exists():
        return 0
    there = sqlite3.connect(f"{source.absolute().as_uri()}?mode=rw", uri=True, timeout=5.0)
    here = sqlite3.connect(target)
    try:
        there.backup(here)
        (health,) = here.execute("PRAGMA quick_check(1)").fetchone()
        if health != "ok":
            raise sqlite3.DatabaseError(f"the pages of {source} are damaged")
        (headers,) = here.execute("SELECT COUNT(*) FROM own").fetchone()
        return int(headers)
    finally:
        here.close()
        there.close()


def _seal(copy: Path) -> None:
    """Nobody else's business, and on the disk."""
    for path in copy.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
        _flush(path)
    _flush(copy)


def _pack(copy: Path, archive: Path) -> None:
    with os.fdopen(os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            tar.add(copy, arcname=copy.name)
        file.flush()
        os.fsync(file.fileno())


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
