"""What can happen to a node, and what it then wants done: the vocabulary of `node.core.machine`.

Laws:
- Events and effects are values: frozen, comparable, without behaviour.
- Models do not pass through here but as the gossip's own `Update` objects and by round number: the shell holds the
  params.
- Each effect is one await of the shell; what comes of it is the next event.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gossip.protocol.messages import Update
from identity.keys import PeerId
from node.trust.history import Known


class Phase(Enum):
    """Where in its life a node is."""

    NEW = "new"
    GATHERING = "gathering"  # waiting for first neighbours before the first round
    TRAINING = "training"
    PUBLISHING = "publishing"
    WAITING = "waiting"  # own update is out, the neighbours' are coming in
    INTEGRATING = "integrating"
    PACING = "pacing"  # the round is over sooner than the pace allows
    LINGERING = "lingering"  # all rounds done; neighbours may still fetch the last update
    STOPPED = "stopped"


class Timer(Enum):
    """What a node can be woken for."""

    GATHER = "gather"
    DEADLINE = "deadline"
    PACE = "pace"
    LINGER = "linger"


WOKEN_IN = {
    Timer.GATHER: Phase.GATHERING,
    Timer.DEADLINE: Phase.WAITING,
    Timer.PACE: Phase.PACING,
    Timer.LINGER: Phase.LINGERING,
}
"""The phase in which a timer means something."""

# Events


@dataclass(frozen=True, slots=True)
class Begin:
    """The shell is up. `round` is the first to play; `published`: its own update is in the ledger already."""

    round: int
    published: bool = False


@dataclass(frozen=True, slots=True)
class Joined:
    """A peer is connected, or one that was linked for what it says from afar is a neighbour from now on.

    Attributes:
        group: its public network, "" if it has none.
        afar: we dialled it for what it says from afar: it is no neighbour.
    """

    peer: PeerId
    group: str = ""
    afar: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """This peer answers at an address that the operator named: it is no stranger."""

    peer: PeerId
    address: str


@dataclass(frozen=True, slots=True)
class Acquainted:
    """What the operator says of peers has changed: whom he knows, and who shall have no say at all."""

    known: frozenset[PeerId]
    distrusted: frozenset[PeerId]


@dataclass(frozen=True, slots=True)
class Vouched:
    """What standing by vouches comes to has changed (`node.trust.vouches`).

    Attributes:
        near: peers that are known wherever they are neighbours.
        pool: peers that may be heard from afar.
        mutual: statements over which those are found, each once.
    """

    near: frozenset[PeerId]
    pool: frozenset[PeerId]
    mutual: frozenset[tuple[PeerId, PeerId]] = frozenset()


@dataclass(frozen=True, slots=True)
class Left:
    """A neighbour's connection is gone."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Ahead:
    """A neighbour's own header was too early to be admitted: the neighbour is in this round, at least."""

    peer: PeerId
    round: int


@dataclass(frozen=True, slots=True)
class Announced:
    """A verified, admitted header came in from `via`; answered by `Want` when its payload is worth fetching.

    A header whose author is `via` is the neighbour's own update; any other is a relay.
    """

    author: PeerId
    round: int
    via: PeerId


@dataclass(frozen=True, slots=True)
class Arrived:
    """An update is here whole: signature, digest, schema and finiteness are checked.

    Attributes:
        distance: 1 for the sender's own update; for a relay what the sender claims, plus one.
    """

    update: Update
    via: PeerId
    distance: int


@dataclass(frozen=True, slots=True)
class Heard:
    """An update that arrived before came once more, from another neighbour; named by the digest of its header."""

    author: PeerId
    digest: bytes
    via: PeerId
    distance: int


@dataclass(frozen=True, slots=True)
class Convicted:
    """There is proof that an author signed two contradicting headers: nothing of it counts any more."""

    author: PeerId


@dataclass(frozen=True, slots=True)
class Trained:
    """Local training of this round is over."""

    round: int


@dataclass(frozen=True, slots=True)
class Published:
    """The own update of this round is durable and on its way."""

    round: int


@dataclass(frozen=True, slots=True)
class Integrated:
    """The rule has decided this round; `kept`: neighbours whose vote counted for something."""

    round: int
    kept: frozenset[PeerId] = frozenset()


@dataclass(frozen=True, slots=True)
class Overtaken:
    """Peers show a header of ours newer than any we remember (an old backup was restored): go on after its round."""

    round: int


@dataclass(frozen=True, slots=True)
class Woken:
    """A timer that was asked for has fired."""

    timer: Timer
    round: int


@dataclass(frozen=True, slots=True)
class StopAsked:
    """Somebody wants the node to stop."""


Event = (
    Begin
    | Joined
    | Named
    | Acquainted
    | Vouched
    | Left
    | Ahead
    | Announced
    | Arrived
    | Heard
    | Convicted
    | Trained
    | Published
    | Integrated
    | Overtaken
    | Woken
    | StopAsked
)


# Effects


@dataclass(frozen=True, slots=True)
class Want:
    """Fetch the payload of the header just announced."""


@dataclass(frozen=True, slots=True)
class Train:
    """Train the model on own data; then `Trained`."""

    round: int


@dataclass(frozen=True, slots=True)
class Publish:
    """Sign, make durable and send the trained model as this round's update; then `Published`."""

    round: int


@dataclass(frozen=True, slots=True)
class Wake:
    """Send `Woken(timer, round)` at time `at` (clock of `now`). A later `Wake` of the same timer replaces it."""

    timer: Timer
    round: int
    at: float


@dataclass(frozen=True, slots=True)
class Integrate:
    """Let the rule decide; then `Integrated`.

    Attributes:
        neighbours: direct neighbours in order of peer id, then the far peers of this round in order of peer id.
        updates: their updates of this round, None where absent; of a far peer that was reached through a neighbour also
            that of the round before.
        relayed: records of other authors, in order of peer id, newest round of each.
        strangers: neighbours beyond the limit on strangers: they have no say, and no update here.
        named: neighbours that the node knows by name.
        knows: the node knows somebody by name, connected or not.
        far: of `neighbours` those that were drawn from afar.
        known: of `neighbours` those that a person stands for: named, near by vouches, or far; None: the core was told
            of no vouches.
    """

    round: int
    neighbours: tuple[PeerId, ...]
    updates: tuple[Update | None, ...]
    relayed: tuple[Known, ...]
    strangers: frozenset[PeerId] = frozenset()
    named: frozenset[PeerId] = frozenset()
    knows: bool = False
    far: frozenset[PeerId] = frozenset()
    known: frozenset[PeerId] | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """Have these peers linked for what they say from afar, as far as they can be dialled, and no others for that."""

    peers: frozenset[PeerId]


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask a neighbour for the newest header of a far peer that is not linked."""

    author: PeerId
    to: PeerId


@dataclass(frozen=True, slots=True)
class Relay:
    """Forward a record to a neighbour, with the own distance to its author."""

    to: PeerId
    known: Known


@dataclass(frozen=True, slots=True)
class Report:
    """A round is over: what the core knows of it. Times are durations in seconds.

    Attributes:
        waited: from the own update being out to the close of the round.
        deadline: how long it would have waited at most.
        heard: neighbours whose update was here in time.
        missing: neighbours without one.
        closed_by: "all", "deadline", "alone", "behind" (the neighbourhood is ahead) or "stop".
        next_round: the round after this one; more than one later after a catch-up.
    """

    round: int
    duration: float
    waited: float
    deadline: float
    heard: tuple[PeerId, ...]
    missing: tuple[PeerId, ...]
    closed_by: str
    next_round: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing more will come from the core: close down."""


Effect = Want | Train | Publish | Wake | Integrate | Reach | Ask | Relay | Report | Finish
