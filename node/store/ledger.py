"""The ledger on disk: own headers (durable before they are sent), others' heads, proofs of guilt. SQLite.

Laws:
- `append` and `adopt` return only after an fsync (write-ahead log, synchronous=FULL).
- `remember` survives a crash of the process at once and a crash of the machine from the next own append on
  (synchronous=NORMAL):
  the worst that a lost entry allows is one old update taken in once more.
- Own headers are kept for ever, of own payloads the newest two, of each other author the newest `keep` headers.
- One thread, one process (`node.store.folder` holds the lock).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from gossip.chain.ledger import Entry, Proof
from gossip.protocol.errors import LocalFault
from gossip.protocol.messages import Buffer
from identity.keys import PeerId
from node.errors import StoreError

FORMAT = 1
PAYLOADS = 2
WAL_PAGES = 4096  # 16 MiB of log between two copies into the file: payloads overwrite each other there first

_TABLES = """
CREATE TABLE IF NOT EXISTS own (sequence INTEGER PRIMARY KEY, author BLOB, round INTEGER UNIQUE, digest BLOB, previous
BLOB,
    envelope BLOB) STRICT;
CREATE TABLE IF NOT EXISTS payload (sequence INTEGER PRIMARY KEY, bytes BLOB) STRICT;
CREATE TABLE IF NOT EXISTS other (author BLOB, sequence INTEGER, round INTEGER, digest BLOB, previous BLOB, envelope
BLOB,
    PRIMARY KEY (author, sequence)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS proof (author BLOB PRIMARY KEY, first BLOB, second BLOB) STRICT, WITHOUT ROWID;
"""
_FIELDS = "author, sequence, round, digest, previous, envelope"

Row = tuple[bytes, int, int, bytes, bytes, bytes]


class SqliteLedger:
    """Implements `gossip.chain.ledger.Ledger` in one file.

    Args:
        path: the database; made if it is not there.
        keep: newest headers kept of each other author.

    Raises:
        StoreError: the file cannot be opened, is damaged, or was written by a later version.
    """

    def __init__(self, path: Path, keep: int = 16) -> None:
        self._keep = keep
        try:
            self._durable = _connect(path, "FULL")
            self._quick = _connect(path, "NORMAL")
        except sqlite3.Error as error:
            raise StoreError(
                f"cannot use the ledger {path}: {error}; without it the node could contradict itself"
            ) from error
        (version,) = self._durable.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            self.close()
            raise StoreError(f"the ledger {path} has format {version}, this version reads {FORMAT}")

    def append(self, entry: Entry, payload: Buffer) -> None:
        """Add an own entry with its payload, durable on return.

        Raises:
            LocalFault: the disk refuses, or the sequence or round is taken.
        """
        self._own_entry(entry, payload)

    def adopt(self, entry: Entry) -> None:
        """Add an own entry that came back from a peer, durable on return; as `append`."""
        self._own_entry(entry, None)

    def head(self) -> Entry | None:
        """The own entry with the highest sequence."""
        rows = self._read(f"SELECT {_FIELDS} FROM own ORDER BY sequence DESC LIMIT 1")
        return rows[0] if rows else None

    def own(self, first: int, last: int) -> Sequence[Entry]:
        """Own entries with first <= sequence <= last, ascending."""
        return self._read(f"SELECT {_FIELDS} FROM own WHERE sequence BETWEEN ? AND ? ORDER BY sequence", first, last)

    def payload(self, sequence: int) -> bytes | None:
        """The payload of an own entry, if it is still kept."""
        row = self._durable.execute("SELECT bytes FROM payload WHERE sequence = ?", (sequence,)).fetchone()
        return None if row is None else bytes(row[0])

    def remember(self, entry: Entry) -> None:
        """Note that another author's header was admitted."""
        with _faults("remember a header"), self._quick:
            self._quick.execute("BEGIN IMMEDIATE")
            self._quick.execute(f"INSERT OR REPLACE INTO other ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?)", _row(entry))
            self._quick.execute(
                "DELETE FROM other WHERE author = ?1 AND sequence <= "
                "(SELECT sequence FROM other WHERE author = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2)",
                (entry.author, self._keep),
            )

    def recent(self, author: PeerId) -> Sequence[Entry]:
        """What is remembered of an author's newest entries, ascending by sequence."""
        return self._read(f"SELECT {_FIELDS} FROM other WHERE author = ? ORDER BY sequence", author)

    def convict(self, proof: Proof) -> None:
        """Keep a proof of guilt; the first against an author stays."""
        with _faults("keep a proof"), self._durable:
            self._durable.execute(
                "INSERT OR IGNORE INTO proof VALUES (?, ?, ?)", (proof.author, proof.first, proof.second)
            )

    def proof(self, author: PeerId) -> Proof | None:
        """The proof against an author, if there is one."""
        row = self._durable.execute("SELECT author, first, second FROM proof WHERE author = ?", (author,)).fetchone()
        return None if row is None else Proof(PeerId(row[0]), row[1], row[2])

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._quick.close()
        self._durable.close()

    def _own_entry(self, entry: Entry, payload: Buffer | None) -> None:
        with _faults(f"write the header of round {entry.round}"), self._durable:
            self._durable.execute("BEGIN IMMEDIATE")
            self._durable.execute(f"INSERT INTO own ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?)", _row(entry))
            if payload is not None:
                self._durable.execute("INSERT INTO payload VALUES (?, ?)", (entry.sequence, payload))
                self._durable.execute("DELETE FROM payload WHERE sequence <= ?", (entry.sequence - PAYLOADS,))

    def _read(self, query: str, *values: object) -> list[Entry]:
        rows: list[Row] = self._durable.execute(query, values).fetchall()
        return [Entry(PeerId(row[0]), *row[1:]) for row in rows]


class _faults:
    """Turns what SQLite raises into one LocalFault."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise LocalFault(f"the ledger cannot {self._what}: {error}") from error


def _connect(path: Path, synchronous: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    if connection.execute("PRAGMA user_version").fetchone() == (0,):
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")
    return connection


def _row(entry: Entry) -> Row:
    return entry.author, entry.sequence, entry.round, entry.digest, entry.previous, entry.envelope
