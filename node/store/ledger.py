"""The ledger on disk: own headers (durable before they are sent), others' heads, proofs of guilt, who we met. SQLite.

Laws:
- `append` and `adopt` return only after an fsync (write-ahead log, synchronous=FULL).
- `remember` survives a crash of the process at once and a crash of the machine from the next own append on
  (synchronous=NORMAL):
  the worst that a lost entry allows is one old update taken in once more.
- Own headers are kept for ever, of own payloads the newest two, of each other author the newest `keep` headers, of the
  peers that we were linked with the newest `LINKED`: after a restart they are heard out before anything new is signed.
- Headers and proofs of at most `authors` others: whoever was seen longest ago is forgotten first, known peers last.
- A disk that is full or read-only is a `DiskFault`, after which everything is as before; other errors are LocalFaults.
- One thread, one process (`node.store.folder` holds the lock); but for `wish`, by which commands ask a running node.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gossip.chain.ledger import Entry, Proof
from gossip.protocol.errors import DiskFault, LocalFault
from gossip.protocol.messages import Buffer
from identity.keys import PeerId
from node.errors import StoreError

FORMAT = 3
PAYLOADS = 2
LINKED = 16
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
CREATE TABLE IF NOT EXISTS linked (number INTEGER PRIMARY KEY AUTOINCREMENT, peer BLOB UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS served (peer BLOB PRIMARY KEY, rounds INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS wish (name TEXT PRIMARY KEY, answer TEXT) STRICT, WITHOUT ROWID;
"""
_PASSING = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN})
_FIELDS = "author, sequence, round, digest, previous, envelope"

Row = tuple[bytes, int, int, bytes, bytes, bytes]


class SqliteLedger:
    """Implements `gossip.chain.ledger.Ledger` in one file.

    Args:
        path: the database; made if it is not there.
        keep: newest headers kept of each other author.
        authors: other authors of whom headers are kept, and as many of whom proofs are.

    Attributes:
        known: who is not forgotten; whoever knows sets it.

    Raises:
        StoreError: the file cannot be opened, is damaged, or was written by a later version.
    """

    def __init__(self, path: Path, keep: int = 16, authors: int = 4096) -> None:
        self.known: Callable[[PeerId], bool] = lambda peer: False
        self._keep = keep
        self._authors = authors
        self._served: Mapping[PeerId, int] | None = None
        opened: list[sqlite3.Connection] = []
        try:
            for synchronous in ("FULL", "NORMAL"):
                opened.append(_open(path))
                _prepare(opened[-1], synchronous)
            self._durable, self._quick = opened
            (version,) = self._durable.execute("PRAGMA user_version").fetchone()
            (health,) = self._durable.execute("PRAGMA quick_check(1)").fetchone()
            if version > FORMAT:
                raise StoreError(f"the ledger {path} has format {version}, this version reads {FORMAT}")
            if health != "ok":
                raise sqlite3.DatabaseError("its pages are damaged")
        except (sqlite3.Error, StoreError) as error:
            for connection in opened:
                connection.close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"cannot use the ledger {path}: {error}; {_remedy(error)}") from error
        self._seen = {table: OrderedDict.fromkeys(self._ranked(table)) for table in ("other", "proof")}

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
        rows = self._rows("SELECT bytes FROM payload WHERE sequence = ?", sequence)
        return bytes(rows[0][0]) if rows else None

    def forget_payloads(self) -> None:
        """Forget own payloads, not the headers: what was signed stays signed, and is not sent again."""
        with _faults("forget payloads"), self._durable:
            self._durable.execute("DELETE FROM payload")

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
        self._saw("other", entry.author)

    def recent(self, author: PeerId) -> Sequence[Entry]:
        """What is remembered of an author's newest entries, ascending by sequence."""
        return self._read(f"SELECT {_FIELDS} FROM other WHERE author = ? ORDER BY sequence", author)

    def convict(self, proof: Proof) -> None:
        """Keep a proof of guilt; the first against an author stays."""
        with _faults("keep a proof"), self._durable:
            self._durable.execute(
                "INSERT OR IGNORE INTO proof VALUES (?, ?, ?)", (proof.author, proof.first, proof.second)
            )
        self._saw("proof", proof.author)

    def proof(self, author: PeerId) -> Proof | None:
        """The proof against an author, if there is one."""
        rows = self._rows("SELECT author, first, second FROM proof WHERE author = ?", author)
        return Proof(PeerId(rows[0][0]), rows[0][1], rows[0][2]) if rows else None

    def link(self, peer: PeerId) -> None:
        """Note that a peer is linked with us: it will know what we sign."""
        with _faults("remember a peer"), self._quick:
            self._quick.execute("BEGIN IMMEDIATE")
            self._quick.execute("INSERT OR REPLACE INTO linked (peer) VALUES (?)", (peer,))
            self._quick.execute(
                "DELETE FROM linked WHERE number <= (SELECT number FROM linked ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (LINKED,),
            )

    def unlink(self, peers: Sequence[PeerId]) -> None:
        """These peers were waited for in vain."""
        with _faults("forget peers"), self._quick:
            self._quick.executemany("DELETE FROM linked WHERE peer = ?", [(peer,) for peer in peers])

    def linked(self) -> frozenset[PeerId]:
        """The newest peers that were linked with us, and were not waited for in vain since."""
        return frozenset(PeerId(peer) for (peer,) in self._rows("SELECT peer FROM linked"))

    def served(self) -> dict[PeerId, int]:
        """Rounds that strangers served, as `serve` was told last."""
        self._served = {PeerId(peer): rounds for peer, rounds in self._rows("SELECT peer, rounds FROM served")}
        return dict(self._served)

    def serve(self, served: Mapping[PeerId, int]) -> None:
        """Keep how many rounds strangers served: a restart makes nobody a stranger again, a crash costs a round."""
        if served == self._served:
            return
        with _faults("remember who served"), self._quick:
            self._quick.execute("BEGIN IMMEDIATE")
            self._quick.execute("DELETE FROM served")
            self._quick.executemany("INSERT INTO served VALUES (?, ?)", sorted(served.items()))
        self._served = dict(served)

    def wished(self, name: str) -> bool:
        """Whether somebody asks this of the running node, and it has not answered yet."""
        return bool(self._rows("SELECT name FROM wish WHERE name = ? AND answer IS NULL", name))

    def answer(self, name: str, words: str) -> None:
        """What was asked is done; durable on return."""
        with _faults("answer"), self._durable:
            self._durable.execute("UPDATE wish SET answer = ? WHERE name = ?", (words, name))

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self._quick.close()
        self._durable.close()

    def _ranked(self, table: str) -> list[PeerId]:
        """Authors in a table, as far as it tells by when they were seen."""
        newest = "GROUP BY author ORDER BY max(round)" if table == "other" else ""
        return [PeerId(row[0]) for row in self._rows(f"SELECT author FROM {table} {newest}")]

    def _saw(self, table: str, author: PeerId) -> None:
        """An author was seen; another one may have to be forgotten for it."""
        seen = self._seen[table]
        seen[author] = None
        seen.move_to_end(author)
        while len(seen) > self._authors:
            gone = next((one for one in seen if one != author and not self.known(one)), next(iter(seen)))
            del seen[gone]
            with _faults("forget an author"), self._quick:
                self._quick.execute(f"DELETE FROM {table} WHERE author = ?", (gone,))

    def _own_entry(self, entry: Entry, payload: Buffer | None) -> None:
        with _faults(f"write the header of round {entry.round}"), self._durable:
            self._durable.execute("BEGIN IMMEDIATE")
            self._durable.execute(f"INSERT INTO own ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?)", _row(entry))
            if payload is not None:
                self._durable.execute("INSERT INTO payload VALUES (?, ?)", (entry.sequence, payload))
                self._durable.execute("DELETE FROM payload WHERE sequence <= ?", (entry.sequence - PAYLOADS,))

    def _read(self, query: str, *values: object) -> list[Entry]:
        return [Entry(PeerId(row[0]), *row[1:]) for row in self._rows(query, *values)]

    def _rows(self, query: str, *values: object) -> list[Any]:
        with _faults("be read"):
            return self._durable.execute(query, values).fetchall()


class Wish:
    """Something that is asked of the node that has a ledger open, from another process.

    Args:
        path: the ledger.
        name: what is asked.

    Raises:
        LocalFault: the ledger cannot be written; also by each method.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        with _faults("be opened"):
            self._base = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=5.0)

    def make(self) -> None:
        """Ask; durable on return."""
        with _faults("take a wish"), self._base:
            self._base.execute("INSERT OR REPLACE INTO wish VALUES (?, NULL)", (self._name,))

    def answered(self) -> str | None:
        """What the node answered, or None as yet."""
        with _faults("be read"):
            row = self._base.execute("SELECT answer FROM wish WHERE name = ?", (self._name,)).fetchone()
        return None if row is None or row[0] is None else str(row[0])

    def close(self) -> None:
        """Close the file."""
        self._base.close()


class _faults:
    """Turns what SQLite raises into one LocalFault."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, sqlite3.Error):
            return
        if _code(error) in _PASSING:
            raise DiskFault(f"the ledger cannot {self._what}: {error}") from error
        raise LocalFault(f"the ledger cannot {self._what}: {error}; {_remedy(error)}") from error


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code; 0 for errors of the module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _remedy(error: sqlite3.Error) -> str:
    if _code(error) in _PASSING:
        return "make room, or make its folder writable"
    return "restore it from a backup, or begin in a new folder: without it the node could contradict itself"


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=5.0, isolation_level=None)


def _prepare(connection: sqlite3.Connection, synchronous: str) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < FORMAT:
        connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {FORMAT}; COMMIT;")


def _row(entry: Entry) -> Row:
    return entry.author, entry.sequence, entry.round, entry.digest, entry.previous, entry.envelope
