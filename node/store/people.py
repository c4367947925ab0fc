"""Whom the operator knows, whom he distrusts, and who asks to be known: a table in the ledger that commands write too.

Laws:
- Durable on return (synchronous=FULL), but for what others can tell again (`writing(quick=True)`). A running node and a
  command may write at the same time: the log is SQLite's, and every write is one short transaction.
- Only a person changes what a person said: nobody who answers, asks or redeems an invitation becomes known who is
  distrusted, and nobody distrusted comes back but by `trust` or `forget`.
- Bounded whoever comes: `PEOPLE` that were named, of those who ask the newest `ASKS`, and one for each address that the
  operator joined by.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from identity.errors import BadPeerId
from identity.keys import TEXT_LETTERS, PeerId, format_peer, parse_peer, short
from node.errors import ConfigError, StoreError

PEOPLE = 1024  # known and distrusted: more than a person tells apart
ASKS = 64  # as many as there are places for those who dial
ALIAS = 32  # characters
PREFIX = 8  # letters of a peer id that may stand for it, where only one has them

_TABLES = """
CREATE TABLE IF NOT EXISTS person (number INTEGER PRIMARY KEY AUTOINCREMENT, peer BLOB UNIQUE, alias TEXT, state TEXT,
    since INTEGER, via TEXT) STRICT;
CREATE TABLE IF NOT EXISTS invitation (number INTEGER PRIMARY KEY AUTOINCREMENT, mark BLOB UNIQUE, alias TEXT,
    until INTEGER, peer BLOB) STRICT;
CREATE TABLE IF NOT EXISTS ticket (peer BLOB PRIMARY KEY, invitation BLOB) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS vouch (issuer BLOB, subject BLOB, envelope BLOB, PRIMARY KEY (issuer, subject)) STRICT,
    WITHOUT ROWID;
"""
_MET = {"person": "peer", "linked": "peer", "other": "author"}  # tables that name peers, and the column


class State(StrEnum):
    """What is said of a person."""

    KNOWN = "known"
    DISTRUSTED = "distrusted"
    ASKS = "asks"


@dataclass(frozen=True, slots=True)
class Person:
    """A row.

    Attributes:
        peer: who.
        alias: what the operator calls it; "" if it has no name.
        state: what is said of it.
        since: the node's round when that was said.
        via: address of `join` at which it answered, "" if a person said so.
    """

    peer: PeerId
    alias: str
    state: State
    since: int
    via: str = ""


class People:
    """The table.

    Args:
        path: the ledger's file; made if it is not there.
        wait: seconds to wait for another process that writes.

    Raises:
        StoreError: it cannot be opened.
    """

    def __init__(self, path: Path, wait: float = 5.0) -> None:
        self._path = path
        with self._sentence():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.connection = sqlite3.connect(path, timeout=wait, isolation_level=None)
        try:
            with self._sentence():
                self.connection.execute("PRAGMA journal_mode = WAL")
                self.connection.execute("PRAGMA synchronous = FULL")
                if not self._has("vouch"):  # a disk that is full for now is no reason not to start
                    self.connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
        except StoreError:
            self.connection.close()
            raise

    def all(self) -> list[Person]:
        """Everybody, in the order in which they came."""
        rows = self.rows("SELECT peer, alias, state, since, via FROM person ORDER BY number")
        return [Person(PeerId(peer), alias, State(state), since, via) for peer, alias, state, since, via in rows]

    def find(self, text: str) -> PeerId:
        """Whom a person means: by alias, by a whole peer id, or by its first letters.

        Raises:
            ConfigError: nobody, or more than one.
        """
        word = text.strip()
        named = [person.peer for person in self.all() if person.alias and person.alias == word]
        if named:
            return named[0]
        try:
            return parse_peer(word)
        except BadPeerId as error:
            if len(word) == TEXT_LETTERS:
                raise ConfigError(f"'{word}' is no peer: {error}") from None
            letters = word.lower()
        met = self._met() if len(letters) >= PREFIX else set()
        alike = sorted(format_peer(peer) for peer in met if format_peer(peer).startswith(letters))
        if len(alike) == 1:
            return parse_peer(alike[0])
        if alike:
            raise ConfigError(f"'{text}' begins {len(alike)} peer ids, among them {alike[0]}: type more letters")
        raise ConfigError(
            f"'{text}' is nobody here: type a name that you gave, a peer id, or at least its first {PREFIX} letters; "
            "`hedgerow people DIR` lists whom the node has met"
        )

    def say(self, peer: PeerId, state: State, alias: str | None = None) -> None:
        """A person says what this peer is, and perhaps what it is called.

        Raises:
            ConfigError: the name does not fit or is somebody else's, or too many are named already.
        """
        with self.writing():
            self._set(peer, state, None if alias is None else self.free(alias, peer))

    def forget(self, peer: PeerId) -> None:
        """As if nothing had ever been said of it."""
        with self.writing():
            self.connection.execute("DELETE FROM person WHERE peer = ?", (peer,))

    def answered(self, peer: PeerId, address: str) -> None:
        """It answers at an address that the operator joined by, in the place of whoever answered there before."""
        if self.rows("SELECT 1 FROM person WHERE peer = ? AND (state <> 'asks')", peer):
            return
        with self.writing():
            self.connection.execute("DELETE FROM person WHERE via = ? AND state = 'known' AND alias = ''", (address,))
            self._set(peer, State.KNOWN, None, address)

    def ask(self, peers: Collection[PeerId], round: int) -> None:
        """These dialled us and stayed; whoever is in the table already does not ask again."""
        rows = self.rows("SELECT peer FROM person")
        fresh = sorted(frozenset(peers) - {PeerId(peer) for (peer,) in rows})
        if not fresh:
            return
        with self.writing():
            for peer in fresh:
                self.connection.execute(
                    "INSERT OR IGNORE INTO person (peer, alias, state, since, via) VALUES (?, '', 'asks', ?, '')",
                    (peer, round),
                )
            self.connection.execute(
                "DELETE FROM person WHERE state = 'asks' AND number <= (SELECT number FROM person WHERE "
                "state = 'asks' ORDER BY number DESC LIMIT 1 OFFSET ?)",
                (ASKS,),
            )

    def fade(self, peers: Collection[PeerId]) -> None:
        """These do not ask any more; whoever became something else meanwhile stays that."""
        with self.writing():
            for peer in peers:
                self.connection.execute("DELETE FROM person WHERE peer = ? AND state = 'asks'", (peer,))

    def redeemed(self, peer: PeerId, alias: str) -> bool:
        """It was invited under this name; call while `writing`. False if it is distrusted."""
        if self.rows("SELECT 1 FROM person WHERE peer = ? AND state = 'distrusted'", peer):
            return False
        taken = self.rows("SELECT 1 FROM person WHERE alias = ? AND peer <> ?", alias, peer)
        self._set(peer, State.KNOWN, None if taken or not alias else alias)
        return True

    def free(self, alias: str, peer: PeerId | None = None) -> str:
        """A name that nobody else has.

        Raises:
            ConfigError: it is somebody's, or no name.
        """
        name = checked_alias(alias)
        for person in self.all():
            if person.alias == name and person.peer != peer:
                raise ConfigError(f"{name} is {format_peer(person.peer)} already: take another name")
        return name

    def round(self) -> int:
        """The newest round that this node has signed; 0 before the first."""
        if not self._has("own"):
            return 0
        return int(self.rows("SELECT coalesce(max(round), 0) FROM own")[0][0])

    def rows(self, query: str, *values: object) -> list[Any]:
        """What the file says.

        Raises:
            StoreError: it cannot be read.
        """
        with self._sentence():
            return self.connection.execute(query, values).fetchall()

    @contextmanager
    def writing(self, quick: bool = False) -> Iterator[None]:
        """One transaction, durable at its end; nothing of it if anything in it fails.

        Args:
            quick: it need not survive a crash of the machine, only one of the process.

        Raises:
            StoreError: the disk refuses, or another process writes for too long.
        """
        with self._sentence():
            self.connection.execute(f"PRAGMA synchronous = {'NORMAL' if quick else 'FULL'}")
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file. Safe to call twice."""
        self.connection.close()

    def __enter__(self) -> People:
        """The table itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def _set(self, peer: PeerId, state: State, alias: str | None, via: str = "") -> None:
        (count,) = self.rows("SELECT count(*) FROM person WHERE state <> 'asks' AND peer <> ?", peer)[0]
        if count >= PEOPLE:
            raise ConfigError(f"{PEOPLE} peers are named here already: forget one with `hedgerow people DIR --forget`")
        since = self.round()
        self.connection.execute(
            "INSERT INTO person (peer, alias, state, since, via) VALUES (?1, coalesce(?2, ''), ?3, ?4, ?5) "
            "ON CONFLICT (peer) DO UPDATE SET alias = coalesce(?2, alias), via = ?5, "
            "since = CASE state WHEN ?3 THEN since ELSE ?4 END, state = ?3",
            (peer, alias, state.value, since, via),
        )

    def _met(self) -> set[PeerId]:
        found: set[PeerId] = set()
        for table, column in _MET.items():
            if self._has(table):
                found.update(PeerId(peer) for (peer,) in self.rows(f"SELECT DISTINCT {column} FROM {table}"))
        return found

    def _has(self, table: str) -> bool:
        return bool(self.rows("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", table))

    @contextmanager
    def _sentence(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"cannot use {self._path}: {error}; make room, or make it writable") from error
        except OSError as error:
            raise StoreError(f"cannot use {self._path}: {error.strerror}; make it writable") from error


def checked_alias(text: str) -> str:
    """A name for a peer.

    Raises:
        ConfigError: it is empty, too long, not printable, or a peer id.
    """
    name = text.strip()
    if not name or len(name) > ALIAS or not name.isprintable():
        raise ConfigError(f"a name has 1 to {ALIAS} printable characters")
    try:
        parse_peer(name)
    except BadPeerId:
        return name
    raise ConfigError("a name is for people: this one is a peer id")


def called(peer: PeerId, alias: str) -> str:
    """A peer for people: "bob (k5g6abcd...)", or the beginning of its id alone."""
    return f"{alias} ({short(peer)}...)" if alias else short(peer)
