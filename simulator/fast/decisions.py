"""Lets a rule decide for all nodes: evidence of groups of nodes of one degree, decided by threads.

Laws:
- A group's nodes have equally many neighbours, so no node's arithmetic sees padding that others brought (relayed
  histories are padded to the most that any node holds; they are only ever compared).
- A model that is not finite never reached anybody: on the wire it is refused. Its rows count as absent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aggregation.evidence import Decision, Evidence, Need, Probe, Rule, Table, Verdict
from aggregation.kernels import rows as kernels
from aggregation.parts.integration import InPlace
from node.draws import Purpose, uniforms
from node.learning.learner import Buffers, Learner
from node.learning.probe import LocalProbe
from node.trust.last_line import Memory, hold, unbacked
from simulator.fast.pairs import Kept, PairGeometry, Surveyed
from simulator.fast.profile import Profile
from simulator.fast.rows import Rows
from simulator.fast.survey import survey
from simulator.fast.workers import Workers
from simulator.study.hearing import Links
from simulator.study.records import Edges
from simulator.study.setup import Setup
from simulator.study.standing import Standing

_FLOATS = 1 << 22  # floats of neighbours' models a group may gather (16 MB)
_PAIRS = 1 << 18  # pairs a group may hold: 2 MB of float64
_MOST = 512  # nodes a group: what many nodes name is read from cache
_FEWEST = 16  # nodes for which a thread is asked
_PROBING = frozenset({Need.SCORES, Need.OUTPUTS, Need.ACTIVITY})

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    """Nodes that hear equally many others: their numbers (n,), how many these are, and where their links start (n,)."""

    nodes: Ints
    width: int
    links: Ints


class Decisions:
    """One rule at all honest nodes."""

    def __init__(
        self,
        setup: Setup,
        links: Links,
        rule: Rule,
        learner: Learner,
        workers: Workers,
        compiled: bool,
        profile: Profile,
    ) -> None:
        self._setup, self._rule, self._device = setup, rule, learner.device
        self._workers, self._compiled, self._profile = workers, compiled, profile
        honest, classes = setup.honest, setup.learner.classes
        self._groups = []
        for width in np.unique(links.widths):
            nodes = np.flatnonzero(links.widths == width)
            self._groups.append(_Group(nodes, int(width), links.starts[nodes]))
        self._tells = setup.scenario.tells_apart
        self._standing = Standing(setup, links, setup.scenario.limit())
        trained = torch.zeros(honest + setup.sybils, classes, dtype=torch.bool)
        for node in range(honest):
            trained[node, torch.unique(setup.data.labels[setup.shards[node].train])] = True
        if setup.sybils:
            trained[honest:, torch.unique(setup.data.labels[setup.shards[honest].train])] = True
        self._classes = trained.to(self._device)
        line = setup.scenario.line()
        self._memory = None if line is None else Memory(honest, line)
        self._knows = np.array([bool(each) for each in setup.named], dtype=bool)
        self._probing = bool(rule.needs & _PROBING)
        self._probes: list[LocalProbe] | None = [] if (self._probing or line is not None) and honest else None
        self._kept = Kept(honest, self._device) if Need.RELAYS in rule.needs else None
        self._gathers = not isinstance(rule.integration, InPlace) or self._probing

    def decide(
        self,
        round: int,
        rows: Rows,
        links: Links,
        taken: Ints,
        heard: Ints,
        relayed: Ints | None,
        starts: Ints | None,
        common: int,
        out: Tensor,
        buffers: Sequence[Buffers] | None = None,
    ) -> Edges:
        """Let every node decide.

        Args:
            round: number of the round.
            rows: the table.
            links: of this round.
            taken: (H + S,) rows of this round's models.
            heard: (H + S,) the same, -1 where the model is not finite.
            relayed: (H, r) rows of relayed histories, -1 absent, or None.
            starts: (H,) rows of models before training, or None.
            common: row of the network's common initial model.
            out: (H, d) integrated models are written here.
            buffers: each node's own after training, with which it judges; None: a fresh module's.
        """
        weights = np.zeros(len(links.senders), dtype=np.float32)
        verdicts = np.zeros(len(links.senders), dtype=np.int8)
        finite = rows.finite
        voices = self._standing.voices(round)
        width = 0 if relayed is None else relayed.shape[1]
        if self._kept is not None:
            self._kept.widen(width)
        surveyed = None
        if self._kept is not None and relayed is not None:
            compared = np.concatenate([heard[: len(relayed), None], _padded(links, heard), relayed], axis=1)
            surveyed = self._look(rows, compared, relayed, self._kept)
        for group in self._groups:
            degree = group.width

            def work(lo: int, hi: int, group: _Group = group) -> None:
                nodes = group.nodes[lo:hi]
                place = group.links[lo:hi, None] + np.arange(group.width)
                beside = links.senders[place].astype(np.int64)
                here = heard[beside]
                said_to = here if voices is None else np.where(voices[place], here, -1)
                probe = self._borrow()

                def consider(some: Ints, said_to: Ints, room: Tensor | None) -> Decision:
                    """The rule's decision at some of these nodes, who hear these rows."""
                    held = np.full((len(some), 0), -1, dtype=np.int64) if relayed is None else relayed[nodes[some]]
                    where, known, own = self._there(nodes[some]), self._there(held), self._there(taken[nodes[some]])
                    geometry = PairGeometry(rows, finite, where, known, self._kept, self._profile, surveyed)
                    evidence = Evidence(
                        table=Table(rows.values, geometry),
                        own=own,
                        neighbours=self._there(said_to),
                        relayed=known,
                        start=None if starts is None else self._there(starts[nodes[some]]),
                        initial=torch.tensor(common, device=self._device),
                        round=round,
                        rounds=self._setup.scenario.rounds,
                        head=self._setup.learner.head,
                        own_classes=self._classes[where],
                        peer_classes=self._classes[self._there(beside[some])],
                        honest=self._there(beside[some] < self._setup.honest),
                        trusted=self._there(links.known[place[some]]) if self._tells else None,
                        priority=self._priority(nodes[some], beside[some], round),
                        probe=self._under(probe, where, own, rows, buffers),
                        room=room,
                    )
                    with self._profile.within("weights"):
                        said = self._rule.weighting(evidence)
                    with self._profile.within("mix"):
                        return self._rule.integration(evidence, said)

                every = np.arange(len(nodes))
                with torch.no_grad(), kernels.compiled(self._compiled):
                    if self._memory is None:
                        room = _room(out, nodes)
                        decision = consider(every, said_to, room)
                    else:
                        room = None
                        assert probe is not None
                        strange = ~links.known[place]
                        decision = self._held(nodes, strange, said_to, out, rows, taken, probe, buffers, consider)
                    if room is None:
                        out[self._there(nodes)] = decision.params
                    elif decision.params is not room:
                        room.copy_(decision.params)
                weights[place] = decision.weights.float().cpu().numpy()
                verdicts[place] = decision.verdicts.cpu().numpy()
                if voices is not None:
                    verdicts[place[~voices[place]]] = int(Verdict.STRANGER)
                if probe is not None and self._probes is not None:
                    self._probes.append(probe)

            fair = max(_FEWEST, -(-len(group.nodes) // self._workers.threads))
            most = min(_MOST, fair, _PAIRS // (degree + 1 + width) ** 2)
            if self._gathers:
                most = min(most, _FLOATS // ((degree + 1) * rows.values.shape[1]))
            most = max(1, most)
            self._workers.over(len(group.nodes), work, most=most)
        if voices is not None:
            self._standing.note(voices & (heard[links.senders] >= 0), weights > 0)
        return Edges(links.receivers, links.senders, weights, verdicts, links.far if links.far.any() else None)

    def _held(
        self,
        nodes: Ints,
        strange: NDArray[np.bool_],
        said_to: Ints,
        out: Tensor,
        rows: Rows,
        taken: Ints,
        probe: LocalProbe,
        buffers: Sequence[Buffers] | None,
        consider: Callable[[Ints, Ints, Tensor | None], Decision],
    ) -> Decision:
        """A round of these nodes behind the last line, as node.trust.judgement decides it for one."""
        memory = self._memory
        assert memory is not None
        backed = ~self._knows[nodes] | ((said_to >= 0) & ~strange).any(axis=1)
        alone = ~backed[:, None] & strange
        strangers = torch.from_numpy(alone & (said_to >= 0))
        said_to = np.where(alone, -1, said_to)

        def decide(some: Tensor, known_alone: bool) -> Decision:
            chosen: Ints = some.numpy()
            heard = np.where(strange[chosen], -1, said_to[chosen]) if known_alone else said_to[chosen]
            return consider(chosen, heard, None)

        def score(some: Tensor, params: Tensor) -> Tensor:
            which = torch.from_numpy(nodes)[some]
            mine = None if buffers is None else [buffers[node] for node in which.tolist()]
            return probe.select(which).under(None, mine).right(params.unsqueeze(1)).squeeze(1)

        where, knows = self._there(nodes), torch.from_numpy(self._knows[nodes])
        own = rows.values[self._there(taken[nodes])]
        held = hold(memory, torch.from_numpy(nodes), out[where], own, torch.from_numpy(strange), knows, decide, score)
        return Decision(held.params, held.weights, unbacked(held.verdicts, strangers))

    def _look(self, rows: Rows, index: Ints, relayed: Ints, kept: Kept) -> Surveyed | None:
        """All pairs at once, where the nodes together need a large share of them; for rules that compare histories."""

        def known() -> Tensor:
            held = self._there(relayed)
            return kept.known(torch.where(held >= 0, rows.serial[held.clamp(min=0)], 0))

        with self._profile.phase("gram"), kernels.compiled(self._compiled):
            found = survey(rows, self._there(index), known, self._workers, self._compiled)
            return None if found is None else Surveyed(found, rows, rows.finite, self._profile)

    def _priority(self, nodes: Ints, beside: Ints, round: int) -> Tensor | None:
        """As node.trust.judgement draws it."""
        if Need.SCORES not in self._rule.needs:
            return None
        own, others = self._setup.addresses[nodes], self._setup.addresses[beside]
        return self._there(uniforms(self._setup.seed, Purpose.PRIORITY, own[:, None], round, others))

    def _there(self, numbers: NDArray[np.generic]) -> Tensor:
        """On the device; on the processor the same memory."""
        return torch.from_numpy(numbers).to(self._device)

    def _borrow(self) -> LocalProbe | None:
        if self._probes is None:
            return None
        if self._probes:
            return self._probes.pop()
        setup = self._setup
        learner = Learner(setup.task, self._device)  # one serves one thread at a time
        return LocalProbe(learner, setup.data, setup.shards[: setup.honest])

    def _under(
        self, probe: LocalProbe | None, nodes: Tensor, own: Tensor, rows: Rows, buffers: Sequence[Buffers] | None
    ) -> Probe | None:
        if probe is None or not self._probing:
            return None
        some = probe.select(nodes.cpu())
        mine = None if buffers is None else [buffers[node] for node in nodes.tolist()]
        return some.under(rows.values[own] if Need.ACTIVITY in self._rule.needs else None, mine)


def _padded(links: Links, heard: Ints) -> Ints:
    """Rows that each node hears (H, n), -1 past the end."""
    found = np.full((len(links.widths), int(links.widths.max(initial=0))), -1, dtype=np.int64)
    place = np.arange(len(links.senders)) - np.repeat(links.starts, links.widths)
    found[links.receivers, place] = heard[links.senders]
    return found


def _room(out: Tensor, nodes: Ints) -> Tensor | None:
    # out[nodes] where that is one piece of memory: written in place, or copied three times as fast as row by row
    first, count = int(nodes[0]), len(nodes)
    return out[first : first + count] if int(nodes[-1]) - first == count - 1 else None
