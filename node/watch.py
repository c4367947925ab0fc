"""What whoever runs a node is told of its rounds: the last line at work, and training alone; each once a spell.

Laws:
- A spell begins with one sentence in the log, and ends with one; between them the page has the newest.
- A round alone is no spell: somebody may be late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from aggregation.evidence import Verdict
from identity.keys import PeerId, short
from node.alarms import Alarms
from node.store.record import NodeRecord
from node.trust.judgement import Judged

CALM = 16  # rounds without, after which a spell of brakes is over
ALONE = 3  # rounds in which nobody known was heard, from which on it is said
NAMED = 4  # peers that a sentence names

Name = Callable[[PeerId], str]


class Watch:
    """Turns records into alarms.

    Attributes:
        counts: rounds so far that the last line took part in, by what it did.

    Args:
        alarms: rung and cleared.
        whom: what the operator wrote of whom this node knows or joins, for people.
        home: the node's folder, as it is typed.
        name: what people call a peer.
    """

    def __init__(
        self, alarms: Alarms, whom: Sequence[str] = (), home: str = "DIR", name: Callable[[PeerId], str] = short
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._alarms = alarms
        self._whom = whom
        self._home = home
        self.name = name
        self._since: int | None = None  # first round alone
        self._alone = 0
        self._braked: int | None = None  # latest round that was decided twice

    @property
    def alone(self) -> str | None:
        """What there is to say of a node that trains alone though it knows somebody; None: it does not."""
        return self._alarms.sentence("alone")

    def note(self, record: NodeRecord) -> None:
        """A round is over."""
        if record.line:
            self.counts[record.line] += 1
        if record.line in ("braked", "kept"):
            self._braked = record.round
            self._alarms.ring("line", record.said)
        elif self._braked is not None and record.round - self._braked >= CALM:
            self._braked = None
            self._alarms.clear("line", f"no round was decided twice for {CALM} rounds")
        self._note_alone(record)

    def _note_alone(self, record: NodeRecord) -> None:
        if not record.alone:
            self._since, self._alone = None, 0
            self._alarms.clear("alone", f"round {record.round}: a peer that this node knows was heard again")
            return
        self._since = record.round if self._since is None else self._since
        self._alone += 1
        if self._alone >= ALONE:
            whom = ", ".join(self._whom[:NAMED]) + (" and others" if len(self._whom) > NAMED else "")
            self._alarms.ring(
                "alone",
                f"training alone since round {self._since}: nobody whom this node knows is heard"
                + (f" ({whom})" if whom else "")
                + "; see that they run and can be reached, or join another one: "
                f"hedgerow run {self._home} --join PEER@HOST:PORT",
            )


def what_happened(round: int, peers: Sequence[PeerId], judged: Judged, name: Name = short) -> tuple[str, str]:
    """What the last line did in a round, as a word and as a sentence; both "" for nothing.

    Args:
        round: its number.
        peers: the neighbours, in the order of the decision's verdicts.
        judged: the round.
        name: what a peer is called.
    """
    guilty = listed(
        [
            peer
            for peer, verdict in zip(peers, judged.decision.verdicts.tolist(), strict=True)
            if verdict == Verdict.BRAKED
        ],
        name,
    )
    fewer = f"with them {100 * judged.lost:.0f} % fewer of the own samples were right"
    if judged.kept:
        return "kept", f"round {round}: kept the model as it was trained, without {guilty}: {fewer}"
    if judged.braked:
        return "braked", f"round {round}: decided once more without {guilty}: {fewer}"
    if not judged.backed:
        return "unbacked", f"round {round}: nobody whom this node knows was heard, and strangers alone move nobody"
    return "", ""


def listed(peers: Sequence[PeerId], name: Name = short) -> str:
    """Some peers for people: the first few by name, how many more."""
    more = len(peers) - NAMED
    return (", ".join(name(peer) for peer in peers[:NAMED]) or "anybody") + (f" and {more} more" if more > 0 else "")
