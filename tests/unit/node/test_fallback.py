"""The last good model: which it is, when accuracy fell below it, and the way back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peers import peer

from aggregation.evidence import Verdict
from identity.keys import short
from node.alarms import Alarms
from node.errors import StoreError
from node.fallback import LEAST, WINDOW, Fallback, Recent
from node.learning.learner import TrainState
from node.store.checkpoint import CheckpointFolder
from node.store.record import NeighbourRecord, NodeRecord


class Wishes:
    """What is asked for, in memory."""

    def __init__(self) -> None:
        self.open = False
        self.answers: list[str] = []

    def wished(self, name: str) -> bool:
        return self.open and name == "rollback"

    def answer(self, name: str, words: str) -> None:
        self.open = False
        self.answers.append(words)


def record(round: int, accuracy: float | None, right: float | None = None) -> NodeRecord:
    around = (NeighbourRecord(peer(1), 1.0, Verdict.TAKEN), NeighbourRecord(peer(2), 0.0, Verdict.FAR))
    return NodeRecord(round, round + 1, "mean", accuracy, around, 0, 1.0, 0.5, 1.0, 0.1, 0.1, "all", right=right)


def fallback(folder: Path, wishes: Wishes, alarms: Alarms) -> Fallback:
    folder.mkdir(exist_ok=True)
    return Fallback(CheckpointFolder(folder, 3, keep=1), wishes, None, alarms, "alice")


def levels(*accuracies: float) -> Recent:
    recent = Recent()
    for round, accuracy in enumerate(accuracies):
        recent.note(round, accuracy)
    return recent


def test_one_lucky_round_is_not_good_nor_one_that_has_just_fallen() -> None:
    assert levels(*[0.9] * (LEAST - 1)).best is None
    assert levels(0.5, 0.5, 0.5, 1.0).best == (2, 0.5)
    assert levels(0.9, 0.9, 0.9, 0.1).best == (2, 0.9)
    assert levels(0.5, 0.6, 0.7, 0.8, 0.9).best == (4, 0.7)  # the median of five, which are still rising


def test_what_is_good_grows_old_but_never_gives_way_to_what_has_fallen() -> None:
    recent = levels(0.9, 0.9, 0.9, *[0.85] * (WINDOW - 1))
    assert recent.best == (2, 0.9)
    recent.note(WINDOW + 2, 0.85)
    assert recent.best == (WINDOW + 2, 0.85)
    for round in range(WINDOW + 3, 4 * WINDOW):
        recent.note(round, 0.1)
        assert recent.fallen(0.1)
    assert recent.best == (WINDOW + 2, 0.85)


async def test_the_best_model_is_kept_in_one_file_and_outlives_the_process(tmp_path: Path) -> None:
    wishes = Wishes()
    kept = fallback(tmp_path / "good", wishes, Alarms())
    state = TrainState((torch.ones(3),), 7, {"seen": torch.tensor([2.0])})
    for round, accuracy in enumerate([0.6, 0.7, 0.8, 0.9, 0.9, 0.9]):
        kept.note(record(round, accuracy), torch.full((3,), float(round)), state)
    assert len(list((tmp_path / "good").iterdir())) == 1
    again = fallback(tmp_path / "good", wishes, Alarms())
    assert again.recent.best == kept.recent.best == (5, 0.9)
    assert await again.asked() is None
    wishes.open = True
    back = await again.asked()
    assert back is not None
    assert (back.round, back.params.tolist(), back.accuracy) == (5, [5.0] * 3, 0.9)
    assert (back.state.moments, back.state.steps) == ((), 0)  # the optimizer begins anew
    assert back.state.buffers["seen"].tolist() == [2.0]
    again.done(back, 12)
    assert wishes.answers == [
        "goes on in round 12 from the model of round 5, accuracy then 90 %; the optimizer begins anew. Seen from there "
        "honest neighbours are alike: until the node has caught up some may be called duplicate"
    ]


async def test_without_a_good_model_a_wish_is_answered_with_that(tmp_path: Path) -> None:
    wishes = Wishes()
    wishes.open = True
    assert await fallback(tmp_path / "good", wishes, Alarms()).asked() is None
    assert wishes.answers == ["there is no model to go back to: none was good for long enough yet"]


def test_a_fall_is_told_once_with_who_was_heard_and_the_way_back_until_it_is_over(tmp_path: Path) -> None:
    told: list[str] = []
    alarms = Alarms(told.append)
    kept = fallback(tmp_path / "good", Wishes(), alarms)
    for round, accuracy in enumerate([0.97, 0.97, 0.97, 0.0, 0.1]):
        kept.note(record(round, accuracy), torch.zeros(3), None)
    assert (
        told
        == alarms.now()
        == [
            f"accuracy fell from 97 % to 0 % in round 3: these were heard: {short(peer(1))}; "
            "back to the model of round 2: hedgerow rollback alice"
        ]
    )
    assert kept.fell == told[0]
    kept.note(record(9, 0.9), torch.zeros(3), None)
    assert told[1:] == ["accuracy is 90 % again"]
    assert kept.fell is None


def test_where_accuracy_is_never_measured_the_own_held_out_samples_count(tmp_path: Path) -> None:
    kept = fallback(tmp_path / "good", Wishes(), Alarms())
    for round in range(4):
        kept.note(record(round, None, right=0.75), torch.zeros(3), None)
        kept.note(record(round, None), torch.zeros(3), None)  # without any, nothing is known
    assert kept.recent.best == (2, 0.75)


def test_a_disk_that_refuses_the_model_rings_and_rounds_go_on(tmp_path: Path) -> None:
    class Full(CheckpointFolder):
        def save(
            self, round: int, params: torch.Tensor, state: TrainState | None, accuracy: float | None = None
        ) -> None:
            raise StoreError("disk full")

    alarms = Alarms()
    kept = Fallback(Full(tmp_path, 3), Wishes(), None, alarms)
    for round in range(LEAST):
        kept.note(record(round, 0.9), torch.zeros(3), None)
    assert alarms.now() == ["disk full; the last good model is not kept, rounds go on"]


@pytest.mark.parametrize("accuracy", [0.69, 0.71])
def test_a_fall_begins_below_a_fifth(accuracy: float) -> None:
    assert levels(0.9, 0.9, 0.9).fallen(accuracy) == (accuracy < 0.7)
