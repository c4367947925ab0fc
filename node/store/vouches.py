"""Statements "I know X" on disk, as they came: a table in the ledger, one row for each issuer and subject.

Law: what this node signed itself is durable on return (synchronous=FULL): what it has said once it does not unsay by a
crash. What others signed survives a crash of the process; what a crash of the machine costs, neighbours tell again.
"""

from __future__ import annotations

from collections.abc import Mapping

from gossip.protocol.codec import VOUCH, decode_vouch
from gossip.protocol.errors import RemoteFault
from gossip.protocol.limits import Limits
from gossip.vouching import Pair, Statement
from identity.envelope import digest_of, split
from identity.errors import ForgedEnvelope
from identity.keys import PeerId
from node.store.people import People


class VouchTable:
    """The table, in the same file as the people.

    Args:
        people: the table of people; it holds the file.
        network: 32-byte id; statements of another network (the node had another one before) are passed over.
    """

    def __init__(self, people: People, network: bytes) -> None:
        self._people = people
        self._network = network

    def all(self, limits: Limits = Limits()) -> list[Statement]:
        """What was held, in order of issuer and subject. Their signatures held when they came.

        Raises:
            StoreError: it cannot be read.
        """
        found = []
        for (envelope,) in self._people.rows("SELECT envelope FROM vouch ORDER BY issuer, subject"):
            try:
                body = split(bytes(envelope)).body
                vouch = decode_vouch(body, limits)
            except (RemoteFault, ForgedEnvelope):  # another version's
                continue
            if vouch.network == self._network:
                found.append(Statement.of(vouch, digest_of(VOUCH, body), bytes(envelope)))
        return found

    def keep(self, changed: Mapping[Pair, Statement | None], own: PeerId) -> None:
        """Write what came, changed or went (None).

        Args:
            changed: by issuer and subject.
            own: whose statements have to be durable.

        Raises:
            StoreError: the disk refuses; nothing of it is written.
        """
        here = [(*pair, statement.envelope) for pair, statement in changed.items() if statement is not None]
        gone = [pair for pair, statement in changed.items() if statement is None]
        with self._people.writing(quick=not any(issuer == own for issuer, _ in changed)):
            self._people.connection.executemany("INSERT OR REPLACE INTO vouch VALUES (?, ?, ?)", here)
            self._people.connection.executemany("DELETE FROM vouch WHERE issuer = ? AND subject = ?", gone)
