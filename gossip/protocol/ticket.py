"""One line that joins a network: a ticket as text, and what proves that one was given.

    hedgerow1 | base32 (lower case, no padding) of msgpack [version, network, task, model, encoding, secret, invitation,
                [[peer, address], ...]] and the first four bytes of its SHA-256

Laws:
- A ticket is read by the canonical decoder, and only bytes that re-encode to themselves are one.
- Whoever gives an invitation keeps its mark only (a hash); it proves itself on one link and on no other: the session of
  the link is in the proof, and the session is named by two fresh nonces.
- The answer has a domain of its own, so that a proof that is sent back is no answer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from gossip.protocol.codec import decode_ticket, encode_ticket
from gossip.protocol.errors import BadTicket, Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Ticket
from identity.envelope import domain

PREFIX = "hedgerow1"
CHECK = 4  # bytes of a digest behind the ticket: of 4 billion typos one passes, and then it is not canonical

_ANOTHER = "ask for a new one (`hedgerow invite`), and copy it whole"


def format_ticket(ticket: Ticket) -> str:
    """The line of a ticket.

    Raises:
        BadTicket: it does not fit into one, or what is in it is no text.
    """
    try:
        body = encode_ticket(ticket)
        decode_ticket(body, Limits())
    except (RemoteFault, UnicodeEncodeError) as fault:
        raise BadTicket(f"this network does not fit into a ticket ({fault}): give it shorter, plainer names") from None
    return PREFIX + base64.b32encode(body + _check(body)).decode().rstrip("=").lower()


def parse_ticket(line: str, limits: Limits = Limits()) -> Ticket:
    """Read a ticket's line; blanks around it and upper case are forgiven.

    Raises:
        BadTicket: it is none, it was damaged, or a later version wrote it; one sentence.
    """
    word = line.strip().lower()
    if not word.startswith(PREFIX):
        raise BadTicket(f"this is no ticket: a ticket begins with {PREFIX}; {_ANOTHER}")
    letters = word.removeprefix(PREFIX)
    if len(letters) > (limits.ticket + CHECK) * 8 // 5 + 8:
        raise BadTicket(f"this ticket has {len(letters)} letters, more than any has; {_ANOTHER}")
    raw = _letters(letters)
    body, check = raw[:-CHECK], raw[-CHECK:]
    if len(raw) <= CHECK or check != _check(body):
        raise BadTicket(f"this ticket is damaged: a letter is wrong or missing; {_ANOTHER}")
    try:
        ticket = decode_ticket(body, limits)
    except RemoteFault as fault:
        if fault.reason is Drop.WRONG_VERSION:
            raise BadTicket("this ticket was written by another version of hedgerow: use the same one") from None
        raise BadTicket(f"this ticket holds nothing that makes sense ({fault.detail}); {_ANOTHER}") from None
    if ticket.encoding != "f4" or ticket.secret:
        raise BadTicket("this ticket asks for what a later version of hedgerow can: install that one") from None
    return ticket


def mark(invitation: bytes) -> bytes:
    """What is kept of an invitation: 32 bytes that do not lead back to it."""
    return hashlib.sha256(domain("invitation") + invitation).digest()


def redemption(mark: bytes, session: bytes) -> bytes:
    """What whoever was invited proves on a link: 32 bytes, right for this invitation and this link only."""
    return hashlib.sha256(domain("redeem") + mark + session).digest()


def acceptance(mark: bytes, session: bytes) -> bytes:
    """What the inviter answers once it has taken the invitation, durably."""
    return hashlib.sha256(domain("redeemed") + mark + session).digest()


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:CHECK]


def _letters(letters: str) -> bytes:
    """Base32 without padding; only what is written back as it was read."""
    try:
        raw = base64.b32decode(letters.upper() + "=" * (-len(letters) % 8))
    except (binascii.Error, ValueError):
        raise BadTicket(f"this ticket is damaged: it is written with a-z and 2-7 only; {_ANOTHER}") from None
    if base64.b32encode(raw).decode().rstrip("=").lower() != letters:
        raise BadTicket(f"this ticket is damaged: its last letter is wrong; {_ANOTHER}")
    return raw
