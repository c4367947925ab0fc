"""Every byte, count, length, rate and wait that a peer can make us spend: one named field each.

Laws: checked before anything is allocated or verified; a field says its unit and where its number comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """What peers may use. The defaults suit models up to 16 M parameters and tens of neighbours."""

    # bytes
    # a control frame; also the most that untyped decoding ever sees (1 MB of empty maps = 73 MB)
    frame: int = 4 * KIB
    header: int = 512  # an update header without its envelope
    address: int = 128  # characters of a listen address: a full DNS name is at most 253, ours are short
    class_mask: int = 256  # bytes: 2048 classes
    ticket: int = 1 * KIB  # inside a ticket's line; 100 to 200 bytes are usual
    words: int = 128  # characters of a network's, a task's or a model's name in a ticket
    encoding: int = 16  # characters
    invitation: int = 16  # bytes, exactly: nobody guesses 128 bits
    payload: int = 64 * MIB  # one update's payload
    chunk: int = 1 * MIB  # a write to the socket: a view, not a copy; smaller ones cost a turn of the loop each
    # counts
    peers_in_frame: int = 8  # signed address records in one Peers frame
    vouches_in_frame: int = 16  # signed statements in one Vouches frame: with the sums they fill it
    vouches: int = 16384  # statements held, 4 MB on disk and 12 in memory; to rank them takes some 25 ms of a core
    vouches_each: int = 64  # of these, by one issuer: more people than anybody knows well
    vouches_waiting: int = (
        256  # of issuers to whom no statement leads (yet): a newcomer's own may come before its host's
    )
    headers_in_request: int = 16  # headers that one HeaderRequest may ask for
    queue: int = 64  # frames waiting for one peer; the oldest goes first
    degree: int = 8  # neighbours we dial up to (memberlist and gossipsub both hold 6 to 12)
    connections: int = 128  # in all
    inbound: int = 64  # of these, dialled by others: the rest is reserved for those we dial
    inbound_known: int = 16  # of these, for known peers only: twice the degree
    handshakes: int = 64  # connections that others opened and that have not said who they are, as many as `inbound`
    dial: int = 4  # neighbours that we dial ourselves, whoever dials us: half the degree is nobody else's choice
    distant: int = 32  # links beside `degree` for what is said from afar: twice the most peers heard so in a round
    group: int = 8  # strangers' inbound connections from one public network: a /24 of IPv4, a /48 of IPv6
    sockets: int = 256  # that others have open at our port: 64 links, 64 handshakes, two blobs for each link
    sockets_known: int = 64  # of these, only for addresses of known peers: two for each of 32
    origin_sockets: int = 16  # of these, from one public network: a link and a blob for each of `group`
    idle_streams: int = 64  # connections kept for the next blob: one for each inbound link
    idle_streams_each: int = 2  # of these, to one location
    page_sockets: int = 32  # that others have open at the status page: people and a scraper
    files: int = 64  # never given to a socket: ledger, checkpoints, journal, and what a library opens
    streams: int = 4  # blobs that one peer may be sent at a time
    fetches: int = 16  # blobs that we fetch at a time: twice the degree
    fetches_known: int = 12  # of these, for known peers only: strangers have a turn a round, and four places for it
    promises: int = 2  # payloads announced and not given after which a stranger is not fetched from: once is bad luck
    authors: int = 4096  # authors whose chains we remember in memory
    chain: int = 16  # newest headers remembered per author: the gap buffer and the window of late arrivals
    records: int = 256  # address records of others
    introduced: int = 32  # of these, told by one peer: eight must agree to fill the book
    neighbourhood: int = 16  # of these, with an address in one public network, like `group`
    early: int = 64  # headers from beyond the round window, one an author
    vias: int = 128  # peers that are remembered to have shown one header: as many as `connections`, and 65 bytes each
    ticket_peers: int = 4  # nodes that one ticket names
    invitations: int = 64  # open at once: as many digests as one redeem frame is compared with, less than a signature
    uninvited: int = 8  # links that an allow-list does not name, heard out to their redeem frame: one network's worth
    heard: int = 16384  # digests remembered for duplicates
    guilt: int = 3  # things that no honest node sends after which a peer is refused: a flipped bit is not its end
    rate_guilt: int = 400  # the same for frames beyond its rate: a burst, once more
    # rounds
    window: int = 16  # rounds that an update may lag behind (W): the most that a relayed record can be of use
    ahead: int = 2  # rounds that an update may lead
    distrust: int = 16  # that a stranger is not fetched from after it broke its promises: `window`, when all are stale
    term: int = 65_536  # that a statement holds: who is gone is forgotten in a day, at the default pace of one a second
    terms: int = 4  # terms that one may lie ahead: two nodes' rounds differ, and another version may choose longer ones
    invited: int = 604_800  # that an invitation stays open: a week at the default pace of a round a second
    # bytes in store
    blobs: int = 512 * MIB  # payloads kept to serve to others; a daemon takes an eighth of its memory if that is less
    # rates: tokens per second and the burst
    # frames, or records in a peers frame, from one peer: 15.6 k verifications/s fit in one core, so 1.3 % of it
    peer_rate: float = 200.0
    peer_burst: float = 400.0
    strangers_rate: float = (
        1000.0  # the same from all strangers together: a fifth of a core, with what comes beside them
    )
    strangers_burst: float = 2000.0
    peers_rate: float = 0.1  # peers frames from one peer beside those at a join: where they are whom people vouch for
    # statements from one peer: 16 384 are renewed by one in two rounds; over one link they come in a quarter of an hour
    vouches_rate: float = 32.0
    vouches_burst: float = 256.0  # at a join: a network of thirty nodes that know eight each
    control_rate: float = 4.0  # pings and pongs over one connection: one in 10 s is usual
    control_burst: float = 32.0
    # bytes over a socket that others opened: `peer_rate` headers; fragments without content are seen nowhere else
    socket_rate: float = 128.0 * KIB
    socket_burst: float = 1.0 * MIB
    author_rate: float = 20.0  # new headers by one author: a round is rarely shorter than 50 ms
    author_burst: float = 64.0
    origin_rate: float = 20.0  # new sockets from one public network: `group` peers that reconnect, twice a second
    outward_rate: float = 1.0  # connections to one public network that others make us open
    redeem_rate: float = 0.1  # redeem frames over one connection: honest nodes send one, or one answer
    redeem_burst: float = 2.0
    # seconds
    redeem: float = 5.0  # that a link which an allow-list does not name has for its redeem frame, like `hello`
    connect: float = 5.0
    hello: float = 5.0
    blob: float = 5.0  # plus the payload's size / blob_rate
    blob_rate: float = 64.0 * KIB  # bytes/s below which a holder counts as not having it
    heartbeat: float = 20.0
    idle: float = 30.0  # that a connection is kept for the next blob: a round is rarely longer
    refusal: float = 600.0  # that a guilty peer is refused, and an address of a guilty stranger: a try in ten minutes
    goodbye: float = 2.0  # to drain queues when closing
    settle: float = 1.0  # that the first publish of an empty ledger waits for what joined peers know of our key
    recall: float = 40.0  # that the first signature after a start waits for peers that knew us: their redial, and more
    rival: float = 10.0  # that it waits on, if our ledger was behind, for another process that signs with our key
    retry_first: float = 0.2  # full jitter: uniform in (0, min(retry_cap, first * 2**attempt))
    retry_cap: float = 30.0
    retries: int = 3  # per holder of a blob

    def blob_seconds(self, length: int) -> float:
        """The deadline for a blob of this many bytes."""
        return self.blob + length / self.blob_rate
