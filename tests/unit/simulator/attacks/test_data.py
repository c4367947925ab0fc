"""Attacks on data: which rows the adversary trains on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from views import images, small_task

from node.learning.dataset import Dataset
from simulator.attacks.attack import Backdoor, DataStage, Flip, Shift
from simulator.attacks.backdoor import badnets, distributed
from simulator.attacks.label_flip import flip, shift, swap
from simulator.attacks.spelling import build_attack
from simulator.attacks.trigger import Trigger, white


def rows_of(stage: DataStage, data: Dataset, shard: torch.Tensor, seed: int = 0) -> Dataset:
    assert stage.poison is not None
    return stage.poison(data, shard, np.random.default_rng(seed))


def test_no_attack_leaves_the_share_as_it_is() -> None:
    data = small_task().train
    assert build_attack("none").poison(data, torch.arange(5), np.random.default_rng(0)) is None


def test_swap_is_its_own_inverse_and_spares_other_classes() -> None:
    labels = torch.tensor([0, 1, 2, 3, 1, 0])
    assert swap(labels, 0, 3).tolist() == [3, 1, 2, 0, 1, 3]
    assert torch.equal(swap(swap(labels, 0, 3), 0, 3), labels)


def test_label_flip_is_the_share_then_all_samples_of_both_classes_swapped() -> None:
    data = small_task().train
    shard = torch.tensor([0, 1, 2, 3, 4])
    poisoned = rows_of(flip(1, 2), data, shard)
    both = ((data.labels == 1) | (data.labels == 2)).nonzero().flatten()
    assert len(poisoned) == 5 + len(both)
    assert poisoned.labels[:5].tolist() == [0, 2, 1, 3, 0]
    assert torch.equal(poisoned.inputs[5:], data.inputs[both])
    assert torch.equal(poisoned.labels[5:], swap(data.labels[both], 1, 2))
    assert flip(1, 2).measure == Flip(1, 2)


def test_label_flip_of_the_share_alone() -> None:
    data = small_task().train
    assert len(rows_of(flip(0, 1, every=False), data, torch.arange(7))) == 7


def test_label_flip_refuses_one_class_twice() -> None:
    with pytest.raises(ValueError, match="two classes"):
        flip(3, 3)


def test_label_shift_learns_every_class_as_the_next_one() -> None:
    data = small_task().train
    poisoned = rows_of(shift(), data, torch.arange(8))
    assert poisoned.labels.tolist() == [1, 2, 3, 0, 1, 2, 3, 0]
    assert shift(2).measure == Shift(2)


@pytest.mark.parametrize(("side", "pixels"), [(28, 9), (8, 4), (56, 36)])
def test_trigger_is_a_white_square_in_proportion_to_the_image(side: int, pixels: int) -> None:
    stamped = Trigger().stamp(images(2, 1, side, side).inputs, 255)
    edge = int(pixels**0.5)
    assert int((stamped == 255).sum()) == 2 * pixels
    assert bool((stamped[:, :, :edge, :edge] == 255).all())


def test_trigger_on_flat_images_is_the_same_square() -> None:
    flat = Trigger().stamp(torch.zeros(1, 784), 1.0)
    square = Trigger().stamp(torch.zeros(1, 1, 28, 28), 1.0)
    assert torch.equal(flat.view(1, 1, 28, 28), square)


def test_trigger_on_what_is_no_image_covers_the_first_features() -> None:
    assert Trigger().stamp(torch.zeros(1, 30), 2.0)[0].nonzero().flatten().tolist() == list(range(9))
    assert Trigger(size=2).stamp(torch.zeros(1, 3), 2.0)[0].tolist() == [2.0, 2.0, 2.0]


def test_parts_of_a_trigger_are_disjoint_and_make_the_whole() -> None:
    dark = torch.zeros(1, 28, 28)
    parts = torch.stack([Trigger(part=part, parts=3).stamp(dark, 1.0) for part in range(3)])
    assert float(parts.sum(dim=0).max()) == 1.0
    assert torch.equal(parts.sum(dim=0), Trigger().stamp(dark, 1.0))


def test_white_is_the_brightest_value() -> None:
    assert white(torch.zeros(2, 2, dtype=torch.uint8)) == 255
    assert white(torch.tensor([[0.0, 16.0]])) == 16


def test_backdoor_stamps_its_share_and_leaves_the_rest_true() -> None:
    data = small_task().train
    poisoned = rows_of(badnets(target=2, share=0.25, extra=20), data, torch.arange(20))
    bad = (poisoned.inputs[:, 0, :2, :2] == 255).flatten(1).all(dim=1)
    assert len(poisoned) == 40
    assert int(bad.sum()) == 10
    assert bool((poisoned.labels[bad] == 2).all())
    clean = poisoned.inputs[~bad].flatten(1)
    assert torch.equal(clean[:, 4:8].argmax(dim=1), poisoned.labels[~bad])
    assert badnets(2).measure == Backdoor(Trigger(), 2)


def test_backdoor_never_draws_more_samples_than_there_are() -> None:
    data = images(6, 1, 8, 8)
    assert len(rows_of(badnets(extra=100), data, torch.arange(2))) == 8


def test_distributed_backdoor_gives_each_group_its_own_part_and_aims_at_the_whole() -> None:
    data = images(60, 1, 28, 28)
    stage = distributed(parts=3, share=0.5, extra=0)
    poisoned = rows_of(stage, data, torch.arange(60))
    assert stage.groups == 3
    assert stage.measure == Backdoor(Trigger(), 1)
    for group in range(3):
        rows = poisoned.inputs[group::3]
        bad = (rows > 0).flatten(1).any(dim=1)
        assert int(bad.sum()) == 10
        drawn = Trigger(part=group, parts=3).stamp(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), 255)
        assert bool((rows[bad] == drawn).all())
        assert bool((poisoned.labels[group::3][bad] == 1).all())
