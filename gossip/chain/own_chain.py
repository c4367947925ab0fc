"""The chain of our own updates: each signed once, durable before anybody sees it, found again after a crash.

Laws:
- One header a round, each naming the one before; a round that is already the newest is found, never signed again.
- The ledger has a header, durably, before it is returned.
- What we could not read ourselves is not signed.
- A header of our own key that is new to us is adopted, never contradicted. Before this process has signed anything it
  comes from a backup that was restored, and the process is `late`; if the same peer then shows a newer one, or if it
  comes later, another process signs with our key. Of the two the late one stops; once they have contradicted each
  other, the one whose header has the smaller digest: both see the same two.
"""

from __future__ import annotations

from concurrent.futures import Executor
from functools import partial

from gossip.chain.admission import entry_of
from gossip.chain.ledger import Entry, Ledger
from gossip.protocol.codec import (
    UPDATE,
    decode_header,
    digest_payload,
    encode_header,
    payload_bytes,
    schema_digest,
)
from gossip.protocol.errors import Drop, LocalFault, RemoteFault
from gossip.protocol.events import Equivocated, GossipEvent, HeadAhead, KeyElsewhere
from gossip.protocol.limits import Limits
from gossip.protocol.messages import NO_DIGEST, Buffer, Schema, Update, UpdateHeader
from gossip.protocol.payload import decode_payload, encode_payload
from gossip.transport.executors import offload
from identity.envelope import digest_of, seal, split
from identity.keys import PeerId, SigningKey


class OwnChain:
    """What one key has signed in one network. One call of `update` at a time: the caller sees to that.

    Attributes:
        late: the ledger was behind what others know of us when this process began.
        listens: and nobody has listened yet whether somebody else goes on with our chain.
    """

    def __init__(
        self, key: SigningKey, network: bytes, schema: Schema, ledger: Ledger, executor: Executor, limits: Limits
    ) -> None:
        """The chain that the ledger has; `executor` encodes and hashes large payloads."""
        self._key = key
        self._network = network
        self._schema = schema
        self._schema_digest = schema_digest(schema)
        self._ledger = ledger
        self._executor = executor
        self._limits = limits
        self.late = False
        self.listens = False
        self._signed = False  # by this process
        self._clashed = False
        self._shown: dict[PeerId, int] = {}  # before that: newest sequence that each peer showed

    def recognise(self, entry: Entry, via: PeerId) -> list[GossipEvent]:
        """Take a header signed with our own key that a peer shows; what there is to tell of it.

        Raises:
            RemoteFault: REPLAY, of one that we know.
            LocalFault: the disk refuses.
        """
        head = self._ledger.head()
        if head is None or (entry.sequence > head.sequence and entry.round > head.round):
            self._ledger.adopt(entry)
            rival = self._signed or self._shown.get(via, entry.sequence) < entry.sequence
            if not self._signed:
                self.late = self.listens = True
                self._shown[via] = entry.sequence
            told: list[GossipEvent] = [HeadAhead(entry.sequence, entry.round, via)]
            if rival:
                told.append(KeyElsewhere(entry.sequence, False, self.late and not self._clashed))
            return told
        mine = self._ledger.own(entry.sequence, entry.sequence)
        if entry.sequence <= head.sequence and (not mine or mine[0].digest == entry.digest):
            self._shown.setdefault(via, entry.sequence)
            raise RemoteFault(Drop.REPLAY)
        self._clashed = True
        against = mine[0] if mine else head
        return [
            Equivocated(entry.author, against.envelope, entry.envelope),
            KeyElsewhere(entry.sequence, True, against.digest < entry.digest),
        ]

    async def update(self, round: int, vector: Buffer, base: bytes, classes: bytes) -> Update:
        """The update of a round: found if it is the newest, else signed. Arguments as in `GossipService.publish`.

        Raises:
            LocalFault: see `GossipService.publish`.
        """
        head = self._ledger.head()
        if head is not None and round <= head.round:
            return self._stored(head, round)
        return await self._sign(head, round, vector, base, classes)

    async def _sign(self, head: Entry | None, round: int, vector: Buffer, base: bytes, classes: bytes) -> Update:
        encode = partial(encode_payload, self._schema, self._schema_digest, vector)
        payload = await offload(self._executor, payload_bytes(self._schema), encode)
        digest = await offload(self._executor, len(payload), partial(digest_payload, payload))
        header = UpdateHeader(
            network=self._network,
            author=self._key.peer,
            sequence=head.sequence + 1 if head else 1,
            round=round,
            previous=head.digest if head else NO_DIGEST,
            payload_length=len(payload),
            payload_digest=digest,
            schema=self._schema_digest,
            base=base,
            classes=classes,
        )
        body = encode_header(header)
        try:
            decode_header(body, self._limits)  # what we could not read ourselves never leaves
        except RemoteFault as fault:
            raise LocalFault(f"this header cannot be sent: {fault.detail}") from None
        if self._ledger.head() != head:  # a peer showed a newer head of ours while we hashed
            raise LocalFault("the own chain grew while publishing: publish again")
        envelope = seal(self._key, UPDATE, body)
        entry = entry_of(header, digest_of(UPDATE, body), envelope)
        self._ledger.append(entry, payload)
        self._signed = True
        return self._update(header, entry, payload)

    def _stored(self, head: Entry, round: int) -> Update:
        payload = self._ledger.payload(head.sequence)
        if round < head.round or payload is None:
            raise LocalFault(f"round {round} cannot be signed again: the own chain is at round {head.round}")
        header = decode_header(split(head.envelope).body, self._limits)
        return self._update(header, head, payload)

    def _update(self, header: UpdateHeader, entry: Entry, payload: bytes) -> Update:
        vector = decode_payload(self._schema, self._schema_digest, payload)
        return Update(header, entry.envelope, entry.digest, memoryview(payload), vector)
