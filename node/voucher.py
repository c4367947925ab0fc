"""Whom a running node vouches for, and what it makes of what others say: statements in memory, on disk, signed.

Laws:
- It vouches for whom a person said it knows: by `trust`, by an invitation redeemed here or taken there. Not for whom
  node.toml names, who answers at an address, or who has served: nobody's word stands behind these.
- What it signs is durable before it is passed on, and never has a lower sequence than one that is known for the pair:
  one of its own that comes back newer than the ledger's is adopted, and answered by a newer one if it is not meant.
- `[network] vouch = false`: nothing is signed but that what was signed before is taken back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from gossip.protocol.codec import VOUCH, encode_vouch
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Vouch
from gossip.vouching import Pair, Statement
from identity.envelope import digest_of, seal
from identity.keys import PeerId, SigningKey
from node.alarms import Alarms
from node.errors import NodeError
from node.store.people import Person, State
from node.store.vouches import VouchTable
from node.trust.statements import Statements


class Voucher:
    """Implements `gossip.vouching.Vouching` over the table.

    Args:
        key: signs.
        network: 32-byte id.
        table: what is kept; read once.
        alarms: told when it cannot be written.
        open: `[network] vouch`: whether names are shown at all.
        limits: what issuers may use.

    Raises:
        StoreError: the table cannot be read.
    """

    def __init__(
        self,
        key: SigningKey,
        network: bytes,
        table: VouchTable,
        alarms: Alarms,
        open: bool = True,
        limits: Limits = Limits(),
    ) -> None:
        self._key = key
        self._network = network
        self._table = table
        self._alarms = alarms
        self._open = open
        self._statements = Statements(key.peer, limits, table.all(limits))
        self._round = 0
        self._wanted: Sequence[PeerId] = ()
        self._distrusted: frozenset[PeerId] = frozenset()
        self._named: Collection[PeerId] = ()

    @property
    def standing(self) -> Mapping[PeerId, float]:
        """P by peer, the distrusted left out; the same object as long as nothing has changed."""
        return self._statements.standing

    @property
    def mutual(self) -> frozenset[Pair]:
        """Statements that both ends have made, each once; the same object as long as nothing has changed."""
        return self._statements.mutual

    def acquainted(self, people: Sequence[Person], by_name: Collection[PeerId] = ()) -> None:
        """What the operator says of people now; `by_name` are known by node.toml or an address too."""
        self._wanted = [each.peer for each in people if vouched(each)] if self._open else ()
        self._distrusted = frozenset(each.peer for each in people if each.state is State.DISTRUSTED)
        self._named = frozenset(each.peer for each in people if each.state is State.KNOWN).union(by_name)

    # what `gossip.vouching` asks

    def knows(self, digest: bytes) -> bool:
        """See `gossip.vouching.Vouching.knows`."""
        return self._statements.knows(digest)

    def admit(self, statement: Statement) -> None:
        """See `gossip.vouching.Vouching.admit`."""
        self._statements.admit(statement, self._round)

    def fresh(self) -> Sequence[bytes]:
        """See `gossip.vouching.Vouching.fresh`; nothing while the disk refuses, and all of it afterwards."""
        changed = self._statements.changed
        if not changed:
            return ()
        try:
            self._table.keep(changed, self._key.peer)
        except NodeError as error:
            self._alarms.ring("vouches", f"{error}; what others say of each other is not passed on until then")
            return ()
        self._alarms.clear("vouches", "statements of who knows whom are kept again")
        come = [statement.envelope for statement in changed.values() if statement is not None]
        changed.clear()
        return come

    def sums(self) -> tuple[bytes, ...]:
        """See `gossip.vouching.Vouching.sums`."""
        return self._statements.sums()

    def held(self, number: int) -> Sequence[bytes]:
        """See `gossip.vouching.Vouching.held`."""
        changed = self._statements.changed
        return [each.envelope for each in self._statements.held(number) if each.pair not in changed]

    def advance(self, round: int) -> None:
        """See `gossip.vouching.Vouching.advance`: say what is due, and find out who stands how."""
        self._round = round
        for subject, sequence, until in self._statements.due(self._wanted, round):
            vouch = Vouch(self._network, self._key.peer, subject, sequence, until)
            body = encode_vouch(vouch)
            self.admit(Statement.of(vouch, digest_of(VOUCH, body), seal(self._key, VOUCH, body)))
        self._statements.settle(round, self._named, self._distrusted)


def vouched(person: Person) -> bool:
    """Whether a node vouches for a row of its table: a person said so, not an address."""
    return person.state is State.KNOWN and not person.via
