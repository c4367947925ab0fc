"""Invitations that this node gave, and those that it was given and has not redeemed yet: two tables in the ledger.

Laws:
- Of an invitation that was given only its mark is kept (`gossip.protocol.ticket.mark`), and when it ends.
- It counts once, for one key: whoever redeemed it may do so again and nothing changes; anybody else may not.
- Rounds are counted while the node runs: an invitation's time begins in the first round that sees it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from gossip.protocol.limits import Limits
from gossip.protocol.ticket import mark
from identity.keys import PeerId
from node.errors import ConfigError
from node.store.people import People

KEPT = 256  # that were used or have expired, for `--list`


@dataclass(frozen=True, slots=True)
class Invitation:
    """One that was given.

    Attributes:
        number: its own, for people.
        mark: what is kept of it.
        alias: what whoever redeems it will be called; "" for no name.
        until: the round that is its last; None before the first that has seen it.
        peer: who redeemed it.
    """

    number: int
    mark: bytes
    alias: str
    until: int | None
    peer: PeerId | None

    def open(self, round: int) -> bool:
        """Whether it may still be redeemed in this round."""
        return self.peer is None and (self.until is None or round <= self.until)

    def describe(self, round: int) -> str:
        """How it stands, for people."""
        if self.peer is not None:
            return "redeemed"
        if self.until is None:
            return "open; its time begins when the node runs"
        return f"open for {self.until - round} rounds more" if self.open(round) else "expired"


class Invitations:
    """The tables, in the same file as the people; writing both is one transaction."""

    def __init__(self, people: People, limits: Limits = Limits()) -> None:
        """Nothing is read yet."""
        self._people = people
        self._limits = limits

    def all(self) -> list[Invitation]:
        """Those that were given, oldest first."""
        rows = self._people.rows("SELECT number, mark, alias, until, peer FROM invitation ORDER BY number")
        return [
            Invitation(number, bytes(kept), alias, until, None if peer is None else PeerId(peer))
            for number, kept, alias, until, peer in rows
        ]

    def give(self, alias: str = "") -> bytes:
        """A new one: its 16 secret bytes, which are kept nowhere.

        Raises:
            ConfigError: the name is taken, or too many are open.
        """
        people, secret = self._people, os.urandom(self._limits.invitation)
        with people.writing():
            name = people.free(alias) if alias else ""
            waiting = [one for one in self.all() if one.open(people.round())]
            if name and any(one.alias == name for one in waiting):
                raise ConfigError(f"{name} is invited already: revoke that invitation first, or take another name")
            if len(waiting) >= self._limits.invitations:
                raise ConfigError(f"{len(waiting)} invitations are open, and there cannot be more: revoke one first")
            connection = people.connection
            connection.execute("INSERT INTO invitation (mark, alias) VALUES (?, ?)", (mark(secret), name))
            kept = KEPT - len(waiting)
            closed = [one.number for one in self.all() if not one.open(people.round())]
            for number in closed[: max(0, len(closed) - kept)]:
                connection.execute("DELETE FROM invitation WHERE number = ?", (number,))
        return secret

    def revoke(self, text: str) -> Invitation:
        """Take one back that nobody has redeemed.

        Args:
            text: its number or its name.

        Raises:
            ConfigError: there is none, or it was redeemed.
        """
        people = self._people
        with people.writing():
            fit = [one for one in self.all() if str(one.number) == text.strip() or one.alias == text.strip()]
            found = [one for one in fit if one.peer is None]
            if not found and fit:
                raise ConfigError(f"invitation {text} was redeemed: what is left is `hedgerow distrust DIR {text}`")
            if not found:
                raise ConfigError(f"there is no invitation {text}: `hedgerow invite DIR --list` shows them")
            people.connection.execute("DELETE FROM invitation WHERE number = ?", (found[-1].number,))
        return found[-1]

    def begin(self, round: int) -> None:
        """The node is in this round: the time of new ones begins."""
        if any(one.until is None and one.peer is None for one in self.all()):
            with self._people.writing():
                self._people.connection.execute(
                    "UPDATE invitation SET until = ? WHERE until IS NULL", (round + self._limits.invited,)
                )

    def redeem(self, kept: bytes, peer: PeerId, round: int) -> bool:
        """Take one, for this key; durable on return. False if it is not open to it."""
        people = self._people
        with people.writing():
            found = [one for one in self.all() if one.mark == kept]
            if not found or not (found[0].open(round) or found[0].peer == peer):
                return False
            if found[0].peer is None:
                if not people.redeemed(peer, found[0].alias):
                    return False
                people.connection.execute("UPDATE invitation SET peer = ? WHERE mark = ?", (peer, kept))
        return True

    def hold(self, inviter: PeerId, invitation: bytes) -> None:
        """Keep one that we were given, until its inviter has taken it."""
        with self._people.writing():
            self._people.connection.execute("INSERT OR REPLACE INTO ticket VALUES (?, ?)", (inviter, invitation))

    def held(self) -> dict[PeerId, bytes]:
        """Those that we were given: inviter -> what to prove."""
        rows = self._people.rows("SELECT peer, invitation FROM ticket")
        return {PeerId(peer): mark(bytes(invitation)) for peer, invitation in rows}

    def taken(self, inviter: PeerId) -> None:
        """Its inviter has taken it: both know each other."""
        with self._people.writing():
            if self._people.redeemed(inviter, ""):
                self._people.connection.execute("DELETE FROM ticket WHERE peer = ?", (inviter,))
