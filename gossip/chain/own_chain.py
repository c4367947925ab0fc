"""The chain of our own updates: each signed once, durable before anybody sees it, found again after a crash.

Laws:
- One header a round, each naming the one before; a round that is already the newest is found, never signed again.
- The ledger has a header, durably, before it is returned.
- What we could not read ourselves is not signed.
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
from gossip.protocol.errors import LocalFault, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.messages import NO_DIGEST, Buffer, Schema, Update, UpdateHeader
from gossip.protocol.payload import decode_payload, encode_payload
from gossip.transport.executors import offload
from identity.envelope import digest_of, seal, split
from identity.keys import SigningKey


class OwnChain:
    """What one key has signed in one network. One call at a time: the caller sees to that."""

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
