"""What an operator does about other people's nodes, whether his own runs or not: invite, trust, distrust, look.

Law: all of it is in the node's ledger, which a running node reads each round; nothing here talks to a node.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gossip.protocol.address import Address
from gossip.protocol.errors import BadAddress, BadTicket
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Ticket
from gossip.protocol.ticket import format_ticket, parse_ticket
from gossip.reach.dialer import split_address
from gossip.reach.vantage import outward
from identity.errors import IdentityError
from identity.keys import PeerId, SigningKey, format_peer
from node.config import FILE, NodeConfig, load_config
from node.errors import ConfigError, NodeError
from node.show.status import fetch_status
from node.store.folder import LEDGER
from node.store.invitations import Invitations
from node.store.people import People, State, called
from node.store.vouches import VouchTable
from node.trust.statements import Statements
from node.trust.vouches import NEAR

KEY_FILE = "key"  # in a node's folder


@dataclass(frozen=True, slots=True)
class Line:
    """A ticket that was just made.

    Attributes:
        ticket: the line.
        address: the first that it leads to.
        local: that address means something on this machine only.
    """

    ticket: str
    address: str
    local: bool


def people_of(folder: str | Path) -> People:
    """The table of the node in a folder; close it.

    Raises:
        ConfigError: there is no node.
        StoreError: the table cannot be used.
    """
    folder = Path(folder).expanduser()
    return People(folder / load_config(folder / FILE).store.folder / LEDGER)


def invite(folder: str | Path, name: str = "", everybody: bool = False) -> Line:
    """Make a ticket.

    Args:
        folder: of the node that invites.
        name: what whoever redeems it will be called; "" for no name.
        everybody: anybody may join with it, and is a stranger here.

    Raises:
        NodeError: one sentence: no node, no address that others could dial, a name that is taken, too many open.
    """
    folder = Path(folder).expanduser()
    config = load_config(folder / FILE)
    own = _own(folder)
    if everybody and config.network.allow:
        raise ConfigError("[network] allow lets in nobody that it does not name: invite without --open")
    if everybody and name:
        raise ConfigError("a name is for one, and --open for anybody: leave one of them out")
    address = _address(folder, config)
    # whoever joins knows those whom it dials: an invitation makes the inviter known to it, and nobody else
    peers = [(own, str(address)), *(_others(config) if everybody else ())][: Limits().ticket_peers]
    section = config.task
    ticket = Ticket(config.network.name, section.name, section.model or "", b"", tuple(peers))
    try:
        line = format_ticket(ticket)
        if not everybody:
            with people_of(folder) as people:
                secret = Invitations(people).give(name)
            line = format_ticket(Ticket(ticket.network, ticket.task, ticket.model, secret, ticket.peers))
    except BadTicket as error:
        raise ConfigError(str(error)) from None
    return Line(line, str(address), address.host in ("localhost", "::1") or address.host.startswith("127."))


def accept(line: str, own_task: str | None = None) -> tuple[dict[str, dict[str, Any]], Ticket]:
    """What a ticket says, as sections of node.toml.

    Args:
        line: the ticket.
        own_task: the task that the new node's operator named himself, if he did.

    Raises:
        ConfigError: it is no ticket, leads nowhere, or names code that its reader did not name himself.
    """
    try:
        ticket = parse_ticket(line)
        joins = [f"{format_peer(peer)}@{Address.parse(address)}" for peer, address in ticket.peers]
    except (BadTicket, BadAddress) as error:
        raise ConfigError(str(error)) from None
    if not joins:
        raise ConfigError("this ticket names no node to join by: ask for another one")
    if ":" in ticket.task and own_task is None:
        raise ConfigError(
            f"this ticket's task is code on your machine, which a ticket does not choose: if you have it, and trust "
            f"it, say so yourself with --task {ticket.task}"
        )
    network: dict[str, Any] = {"name": ticket.network, "join": joins}
    if ticket.invitation:
        network["known"] = [format_peer(ticket.peers[0][0])]
    task = {"name": ticket.task, **({"model": ticket.model} if ticket.model else {})}
    return {"network": network, "task": task}, ticket


def hold(folder: Path, config: NodeConfig, ticket: Ticket, inviter: str | None = None) -> None:
    """Keep an invitation until its inviter has taken it, and what the inviter is called.

    Raises:
        StoreError: the disk refuses.
    """
    if not ticket.invitation and inviter is None:
        return
    peer = ticket.peers[0][0]
    with People(folder / config.store.folder / LEDGER) as people:
        if ticket.invitation:
            Invitations(people).hold(peer, ticket.invitation)
        if inviter is not None:
            people.say(peer, State.KNOWN, inviter)


def say(folder: str | Path, text: str, state: State, name: str | None = None) -> str:
    """Say what a peer is; returns what it is called.

    Args:
        folder: of the node.
        text: a whole peer id, at least eight letters of one that the node has met, or a name.
        state: known or distrusted.
        name: what to call it; None: as before.

    Raises:
        NodeError: nobody, or more than one, is meant; the name is taken; there is no node.
    """
    with people_of(folder) as people:
        peer = people.find(text)
        if peer == _own(Path(folder).expanduser()):
            raise ConfigError(f"{format_peer(peer)} is this node itself: say something of another one")
        people.say(peer, state, name)
        alias = next(person.alias for person in people.all() if person.peer == peer)
    return called(peer, alias)


def listed(folder: str | Path) -> list[dict[str, Any]]:
    """Everybody of whom something is said, as plain values: what the table says goes before node.toml, and that before
    what peers say of each other. `standing` is P by their statements as the node held them last, None where none lead.

    Raises:
        NodeError: there is no node, or the table cannot be used.
    """
    folder = Path(folder).expanduser()
    config = load_config(folder / FILE)
    network = config.network
    with people_of(folder) as people:
        table, held = people.all(), Invitations(people).held()
        statements = Statements(_own(folder), held=VouchTable(people, config.network_id()).all())
        round = people.round()
    distrusted = frozenset(person.peer for person in table if person.state is State.DISTRUSTED)
    statements.settle(round, distrusted=distrusted)
    standing = {format_peer(peer): share for peer, share in statements.standing.items()}
    rows: list[dict[str, Any]] = [
        {"peer": format_peer(person.peer), "state": person.state.value, "name": person.alias, "since": person.since}
        for person in table
    ]
    there = {row["peer"] for row in rows if row["state"] != State.ASKS}
    toml = sorted(format_peer(peer) for peer in network.named())
    rows += [
        {"peer": peer, "state": f"known by {FILE}", "name": "", "since": None} for peer in toml if peer not in there
    ]
    waiting = sorted(format_peer(peer) for peer in held)
    rows += [{"peer": peer, "state": "has not taken our invitation yet", "name": "", "since": None} for peer in waiting]
    named = {row["peer"] for row in rows if row["state"] != State.ASKS}
    near = sorted((peer for peer, share in standing.items() if share >= NEAR), key=lambda peer: -standing[peer])
    rows += [
        {"peer": peer, "state": "near by vouches", "name": "", "since": None} for peer in near if peer not in named
    ]
    return [{**row, "standing": standing.get(row["peer"])} for row in rows]


def told(folder: str | Path, knows: bool = True) -> str:
    """Who will see that a node knows a peer, or does so no more: half a sentence for people.

    Raises:
        NodeError: there is no node.
    """
    if not load_config(Path(folder).expanduser() / FILE).network.vouch:
        return f"{FILE} says [network] vouch = false: nobody else is told"
    if knows:
        return (
            "everybody in this network will be able to see that this node knows it; [network] vouch = false keeps "
            "names private"
        )
    return "if this node has vouched for it, everybody in this network will be told that it does so no more"


def _own(folder: Path) -> PeerId:
    try:
        return SigningKey.load(folder / KEY_FILE).peer
    except IdentityError as error:
        raise NodeError(str(error)) from None


def _address(folder: Path, config: NodeConfig) -> Address:
    address = Address.parse(config.network.advertise or config.network.listen)
    if not address.port:
        try:
            address = Address.parse(str(fetch_status(folder)["address"]))
        except (NodeError, BadAddress):
            raise ConfigError(
                f"the node listens on a port that is not known yet: run it, or set [network] listen in {folder / FILE}"
            ) from None
    return address.at(outward()) if address.everywhere else address


def _others(config: NodeConfig) -> list[tuple[PeerId, str]]:
    """Nodes that it joins by itself, and whose ids it knows."""
    split = [split_address(text) for text in config.network.join]
    return [(peer, address) for peer, address in split if peer is not None]
