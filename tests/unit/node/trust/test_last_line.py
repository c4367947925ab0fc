"""The last line: how far a round may move a model, when it is decided once more, and that neither is a weapon."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from aggregation.evidence import Decision, Verdict
from node.trust.last_line import Held, LastLine, Memory, hold, unbacked, within

ONE = torch.zeros(1, dtype=torch.int64)
LINE = LastLine(stretch=1.0, wary=0.5, fall=0.2, spread=3.0, memory=4)
KNOWS = torch.tensor([True])


def tensor(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def lower_median(numbers: list[float]) -> float:
    return sorted(numbers)[(len(numbers) - 1) // 2]


@given(st.lists(st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)), min_size=1, max_size=12))
@settings(max_examples=60)
def test_the_bound_is_the_lower_median_of_remembered_steps_and_moves(rounds: list[tuple[float, float]]) -> None:
    memory = Memory(1, LINE)
    kept: list[tuple[float, float]] = []
    for step, move in rounds:
        bound = float(memory.bound(ONE, tensor(step), KNOWS))
        steps = [each for each, _ in kept[-(LINE.memory - 1) :]] + [step]
        moves = [each for _, each in kept[-(LINE.memory - 1) :]]
        assert bound == pytest.approx(lower_median(steps + moves))
        memory.note(ONE, tensor(move), tensor(0.5))
        kept.append((step, move))


@given(st.lists(st.floats(0.5, 2.0), min_size=30, max_size=60))
@settings(max_examples=40)
def test_whoever_moves_it_as_far_as_it_may_each_round_never_moves_it_farther_than_its_longest_step(
    steps: list[float],
) -> None:
    memory, line = Memory(1, LINE), LINE
    for number, step in enumerate(steps):
        bound = float(memory.bound(ONE, tensor(step), KNOWS))
        recent = steps[max(0, number - line.memory + 1) : number + 1]
        assert bound <= line.stretch * max(recent) + 1e-12
        memory.note(ONE, tensor(bound), tensor(0.5))


def test_a_step_that_is_not_finite_is_not_remembered_and_nothing_remembered_is_no_bound() -> None:
    memory = Memory(2, LINE)
    both = torch.tensor([0, 1])
    assert memory.bound(both, tensor(float("nan"), 0.0), KNOWS.expand(2)).tolist() == [torch.inf, torch.inf]
    memory.note(both, tensor(0.0, 0.0), tensor(0.5, 0.5))
    # node 0 remembers a move of 0 and now a step of 2, node 1 two zeros and a step of 3: lower medians of 0
    assert memory.bound(both, tensor(2.0, 3.0), KNOWS.expand(2)).tolist() == [torch.inf, torch.inf]
    memory.note(both, tensor(2.0, 3.0), tensor(0.5, 0.5))
    assert memory.bound(both, tensor(2.0, 3.0), KNOWS.expand(2)).tolist() == [2.0, 3.0]


def test_within_shortens_what_is_too_far_and_leaves_all_else_bit_by_bit() -> None:
    own = torch.zeros(3, 4)
    params = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    bound = tensor(1e9, 0.5, 0.0)
    bounded, moves = within(own, params, bound)
    assert torch.equal(bounded[0], params[0])
    assert float(bounded[1].norm()) == pytest.approx(0.5, rel=1e-6)
    assert torch.equal(bounded[2], own[2])
    assert moves.tolist() == pytest.approx([float(params[0].norm()), 0.5, 0.0])
    assert within(own, params, tensor(9.0, 9.0, 9.0))[0] is params


class Game:
    """One node whose model is one number; its score on own samples is what a test says of that number."""

    def __init__(self, line: LastLine = LINE) -> None:
        self.memory = Memory(1, line)
        self.model = 0.0
        self.tries: list[bool] = []

    def play(self, everybody: float, known: float | None, score: dict[float, float]) -> Held:
        """A round: training moves the model by 1, the rule gives `everybody`, or `known` with known peers alone."""
        start, own = torch.tensor([[self.model]]), torch.tensor([[self.model + 1.0]])
        strange = torch.tensor([[False, True]])

        def decide(_: Tensor, known_alone: bool) -> Decision:
            self.tries.append(known_alone)
            to = known if known_alone and known is not None else (self.model + 1.0 if known_alone else everybody)
            weights = torch.tensor([[1.0 if known is not None else 0.0, 0.0 if known_alone else 1.0]])
            return Decision(torch.tensor([[to]]), weights, torch.zeros(1, 2, dtype=torch.int8))

        def judged(_: Tensor, params: Tensor) -> Tensor:
            return torch.tensor([score.get(round(float(params), 3), 0.9)])

        held = hold(self.memory, ONE, start, own, strange, KNOWS, decide, judged)
        self.model = float(held.params)
        return held


def test_a_fall_is_decided_once_more_with_known_peers_alone_and_strangers_are_named() -> None:
    game = Game()
    game.play(1.0, 1.0, {})
    held = game.play(2.5, 2.2, {2.5: 0.3})
    assert game.tries == [False, False, True]
    assert game.model == pytest.approx(2.2)
    assert bool(held.braked)
    assert not bool(held.kept)
    assert held.verdicts.tolist() == [[int(Verdict.TAKEN), int(Verdict.BRAKED)]]


def test_if_that_falls_too_the_trained_model_stays_and_what_known_peers_give_becomes_usual() -> None:
    game = Game()
    game.play(1.0, 1.0, {})
    kept = 0
    for _ in range(2 * LINE.memory):
        before = game.model
        wrong = {round(before + 1.5, 3): 0.3, round(before + 1.25, 3): 0.3}
        held = game.play(before + 1.5, before + 1.25, wrong)
        kept += int(bool(held.kept))
        if bool(held.kept):
            assert game.model == before + 1.0
            assert held.weights.tolist() == [[0.0, 0.0]]
    assert 0 < kept <= LINE.memory  # a specialist among unlike known peers brakes for some rounds, not for ever


def test_known_peers_alone_are_believed_twice_as_far() -> None:
    game = Game()
    game.play(1.0, 1.0, {})
    held = game.play(2.5, 2.2, {2.5: 0.3, 2.2: 0.6})
    assert bool(held.braked)
    assert not bool(held.kept)
    assert game.model == pytest.approx(2.2)


def test_the_first_round_and_a_node_without_held_out_samples_never_brake() -> None:
    game = Game()
    assert not bool(game.play(1.5, 1.0, {1.5: 0.0}).braked)
    nothing = Game()
    for _ in range(4):
        at = nothing.model
        held = nothing.play(at + 1.5, at + 1.0, {round(at + each, 3): float("nan") for each in (1.0, 1.5)})
        assert not bool(held.braked)


def test_what_training_itself_lost_is_nobodys_doing() -> None:
    game = Game()
    game.play(1.0, 1.0, {})
    assert not bool(game.play(2.5, 2.2, {2.5: 0.3, 2.0: 0.35}).braked)


def test_a_slow_decline_is_noticed_too() -> None:
    game, score, braked = Game(LastLine(memory=16)), 0.9, False
    for _ in range(16):
        score -= 0.055
        at = game.model
        braked = braked or bool(game.play(at + 1.5, None, {round(at + 1.5, 3): score}).braked)
    assert braked


def test_braking_a_node_each_round_does_not_take_what_known_peers_give() -> None:
    game = Game()
    game.play(1.0, 1.0, {})
    for _ in range(20):
        before = game.model
        held = game.play(before + 1.9, before + 1.4, {round(before + 1.9, 3): 0.1})
        assert bool(held.braked)
        assert not bool(held.kept)
        assert game.model == pytest.approx(before + 1.4, abs=1e-4)


def test_strangers_of_a_round_without_known_peers_are_named_so() -> None:
    verdicts = torch.tensor([0, int(Verdict.ABSENT), 0], dtype=torch.int8)
    told = unbacked(verdicts, torch.tensor([True, False, False]))
    assert told.tolist() == [int(Verdict.UNBACKED), int(Verdict.ABSENT), 0]
    assert told.dtype == torch.int8


def test_a_node_that_knows_nobody_is_warier() -> None:
    memory = Memory(2, LINE)
    assert memory.bound(torch.tensor([0, 1]), tensor(2.0, 2.0), torch.tensor([True, False])).tolist() == [2.0, 1.0]
