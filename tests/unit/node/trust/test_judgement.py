"""What a node hands to its rule, and what it tells others of itself."""

from __future__ import annotations

import pytest
import torch
from peers import peer, update
from views import small_task

from aggregation.evidence import Evidence, Rule, Weights
from aggregation.parts.compose import compose
from aggregation.parts.integration import weighted_mean
from aggregation.registry import build_rule
from aggregation.rules.baselines import everyone
from node.learning.learner import Learner
from node.learning.partition import Shard
from node.trust.judgement import Heard, Judge, class_mask, read_mask


def judge(rule: str) -> Judge:
    task = small_task()
    shard = Shard(torch.arange(100), torch.arange(100, 120))
    return Judge(build_rule(rule), Learner(task), task.train, shard, own=peer(1), seed=3)


@pytest.mark.parametrize(
    ("rule", "told"),
    [("mean", False), ("hedgerow", False), ("sybilwall", False), ("bristle", True), ("hedgerow-bristle", True)],
)
def test_which_classes_a_node_trains_is_told_only_where_its_own_rule_asks_others_for_theirs(
    rule: str, told: bool
) -> None:
    task = small_task()
    mine = class_mask(task.train.labels[:100], Learner(task).classes)
    assert judge(rule).mask == (mine if told else b"")


def test_whoever_does_not_tell_its_classes_stands_for_all() -> None:
    classes = Learner(small_task()).classes
    assert read_mask(b"", classes) == [True] * classes


def test_a_judge_says_how_a_model_fares_on_own_held_out_samples() -> None:
    task, learner = small_task(), Learner(small_task())
    params, _ = learner.train(learner.initial(1), task.train, torch.arange(100), 3, 0, 0)
    right = judge("mean").right(params)
    assert right == pytest.approx(learner.accuracy(params, task.train.take(torch.arange(100, 120))))
    none = Judge(build_rule("mean"), learner, task.train, Shard(torch.arange(9), torch.arange(0)), own=peer(1), seed=3)
    assert none.right(params) is None


def test_a_round_without_neighbours_is_decided_too() -> None:
    learner = Learner(small_task())
    start = learner.initial(1)
    judged = judge("mean").decide(0, start, start + 1, Heard([], [], []))
    assert torch.equal(judged.decision.params, start + 1)
    assert (judged.braked, judged.kept, judged.backed, judged.lost) == (False, False, True, 0.0)
    assert update(peer(2), 0).header.classes == b""


def seen_by(heard: Heard) -> Evidence:
    """The evidence that a judge hands to its rule."""
    seen: list[Evidence] = []

    def look(evidence: Evidence) -> Weights:
        seen.append(evidence)
        return everyone(evidence)

    rule: Rule = compose(look, weighted_mean, "look")
    task, learner = small_task(), Learner(small_task())
    shard = Shard(torch.arange(100), torch.arange(100, 120))
    start = learner.initial(1)
    Judge(rule, learner, task.train, shard, own=peer(1), seed=3).decide(0, start, start + 1, heard)
    return seen[0]


def test_a_rule_is_told_whom_the_node_knows_in_this_round() -> None:
    neighbours, updates = [peer(2), peer(3), peer(4)], [None] * 3
    assert seen_by(Heard(neighbours, updates, [])).trusted is None
    nobody = seen_by(Heard(neighbours, updates, [], known=frozenset()))
    assert nobody.trusted is not None
    assert nobody.trusted.tolist() == [False] * 3
    some = seen_by(Heard(neighbours, updates, [], named=frozenset({peer(2)}), known=frozenset({peer(2), peer(4)})))
    assert some.trusted is not None
    assert some.trusted.tolist() == [True, False, True]
    assert some.votes is None


def test_votes_stand_by_peer_the_own_first_and_one_for_whoever_was_given_none() -> None:
    neighbours = [peer(2), peer(3)]
    seen = seen_by(
        Heard(neighbours, [None, None], [], known=frozenset(neighbours), votes={peer(1): 51.7, peer(3): 0.6})
    )
    assert seen.votes is not None
    assert seen.votes.tolist() == [51.7, 1.0, 0.6]
