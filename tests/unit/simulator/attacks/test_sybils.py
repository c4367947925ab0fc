"""Sybils that know the rule: cosines, pairs, decoys, copies, foreign columns."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from views import CLASSES, clones_of, small_task, small_view

from node.learning.learner import Learner
from node.learning.task import Task
from simulator.attacks.diverse import (
    diverse_data,
    null_space_decoys,
    orthogonal_noise,
    orthonormal,
    pairs,
    structured_noise,
)
from simulator.attacks.foreign_columns import foreign_columns
from simulator.attacks.mimic import copycat, framing, mimic


def cosines(rows: Tensor) -> Tensor:
    unit = torch.nn.functional.normalize(rows.double(), dim=1)
    return unit @ unit.T


@pytest.mark.parametrize("c", [0.5, 1.0, 1.3])
def test_orthogonal_noise_sets_the_cosine_of_sybils(c: float) -> None:
    view = small_view()
    between = cosines(orthogonal_noise(c)(view, clones_of(view)))
    off = between[~torch.eye(4, dtype=torch.bool)]
    assert torch.allclose(off, torch.full_like(off, 1 / (1 + c * c)), atol=1e-4)


def test_orthogonal_noise_on_the_step() -> None:
    view = small_view()
    steps = orthogonal_noise(1.0, "update")(view, clones_of(view)) - view.start
    off = cosines(steps)[~torch.eye(4, dtype=torch.bool)]
    assert torch.allclose(off, torch.full_like(off, 0.5), atol=1e-4)


def test_pairs_cancel_and_have_the_stated_cosine() -> None:
    view = small_view(sybils=5)
    sent = pairs(0.7)(view, clones_of(view))
    assert torch.allclose((sent[0] + sent[1]) / 2, view.trained, atol=1e-5)
    between = cosines(sent)
    assert float(between[0, 1]) == pytest.approx((1 - 0.49) / (1 + 0.49), abs=1e-4)
    assert float(between[0, 2]) == pytest.approx(1 / 1.49, abs=1e-4)
    assert len(sent) == 5


def test_more_directions_than_dimensions_are_still_unit() -> None:
    rows = orthonormal(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 0, 0]))
    assert torch.allclose(rows.norm(dim=1), torch.ones(5))
    assert float(rows[:, 0].abs().max()) < 1e-6


def test_structured_noise_is_an_image_times_a_class_vector() -> None:
    view = small_view()
    noise = (structured_noise(1.0)(view, clones_of(view)) - clones_of(view))[0]
    weight = noise[:64].view(CLASSES, 16)
    assert int(torch.linalg.matrix_rank(weight, tol=1e-3)) == 1
    assert float(weight[:, 12:].abs().max()) < 1e-5  # pixels that are dark in every image
    assert float(noise.norm()) == pytest.approx(float(view.trained.norm()), rel=1e-4)


def test_structured_noise_of_a_deep_model_is_what_random_labels_teach() -> None:
    small = small_task()
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, CLASSES))
    task = Task(net, small.train, small.test, batch_size=8)
    learner = Learner(task)
    model = learner.initial(0)
    view = small_view(sybils=3, learner=learner, start=model, trained=model)
    noise = structured_noise(1.0)(view, clones_of(view)) - clones_of(view)
    assert torch.allclose(noise.norm(dim=1), model.norm().expand(3), rtol=1e-3)
    off = cosines(noise)[~torch.eye(3, dtype=torch.bool)]
    assert float(off.abs().max()) < 0.05


def test_null_space_decoys_change_params_and_not_what_the_model_does() -> None:
    view = small_view()
    sent = null_space_decoys(1.3)(view, clones_of(view))
    inputs = view.data.inputs[:50]
    assert torch.allclose(view.learner.logits(sent[0], inputs), view.learner.logits(view.trained, inputs), atol=1e-4)
    off = cosines(sent)[~torch.eye(4, dtype=torch.bool)]
    assert float(off.max()) < 0.65  # 1 / (1 + 1.3^2) = .37 and what p itself has on those weights


def test_null_space_decoys_fall_back_to_the_quietest_weights() -> None:
    view = small_view()
    bright = replace(view, data=type(view.data)(view.data.inputs.clamp(min=1), view.data.labels))
    noise = null_space_decoys(1.0, quiet=0.05)(bright, clones_of(bright)) - clones_of(bright)
    touched = (noise.abs() > 0).any(dim=0)
    assert bool(touched[:64].view(CLASSES, 16)[:, 12:].any())
    assert int(touched.sum()) <= 16


def test_diverse_sybils_keep_clean_shards_of_their_own() -> None:
    view = small_view()
    craft = diverse_data(1.0, samples=20)
    sent = craft(view, clones_of(view))
    assert torch.equal(sent, craft(view, clones_of(view)))
    assert len({tuple(row.tolist()) for row in sent}) == 4
    learned = sent - view.trained
    loss = torch.nn.functional.cross_entropy
    inputs, labels = view.data.inputs, view.data.labels
    before = loss(view.learner.logits(view.start, inputs), labels)
    after = loss(view.learner.logits(view.start + learned[0], inputs), labels)
    assert float(after) < float(before)


def test_noise_relative_to_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="relative"):
        orthogonal_noise(1.0, of="gradient")


def test_mimic_copies_one_honest_model_for_all() -> None:
    view = small_view()
    assert torch.equal(mimic(3)(view, clones_of(view)), view.honest[3].expand(4, -1))


def test_mimic_by_default_copies_the_leader_of_the_largest_variation() -> None:
    view = small_view()
    honest = view.honest.clone()
    honest[5, 0] += 100
    assert torch.equal(mimic()(replace(view, honest=honest), clones_of(view))[0], honest[5])


def test_copycat_copies_one_of_its_own_targets() -> None:
    view = small_view()
    sent = copycat()(view, clones_of(view))
    for sybil, targets in enumerate(view.targets):
        assert torch.equal(sent[sybil], view.honest[targets[sybil % 3]])
    lonely = replace(view, targets=((), *view.targets[1:]))
    assert torch.equal(copycat()(lonely, clones_of(view))[0], view.trained)


def test_framing_mixes_exact_copies_and_poison() -> None:
    view = small_view()
    sent = framing(0.5)(view, clones_of(view))
    copies = [any(torch.equal(row, model) for model in view.honest) for row in sent]
    poison = [torch.equal(row, view.trained) for row in sent]
    assert sum(copies) == 2
    assert sum(poison) == 2


def test_framers_take_turns_and_may_resemble_several_targets() -> None:
    view = small_view()
    first = framing(1.0)(view, clones_of(view))
    later = framing(1.0)(replace(view, round=2), clones_of(view))
    assert not torch.equal(first, later)
    both = framing(1.0, copies=9)(view, clones_of(view))
    assert torch.allclose(both[0], view.honest[list(view.targets[0])].mean(dim=0))


def test_late_framers_copy_nothing_of_this_round() -> None:
    view = small_view()
    sent = framing(1.0, late=True)(view, clones_of(view))
    assert all(any(torch.equal(row, model) for model in view.previous) for row in sent)
    unseen = replace(view, honest=torch.full_like(view.honest, torch.nan))
    assert torch.equal(framing(1.0, late=True)(unseen, clones_of(view)), sent)


@pytest.mark.parametrize("poison", ["next", "trained"])
def test_foreign_columns_spare_what_the_victim_can_test(poison: str) -> None:
    view = small_view()
    sent = foreign_columns(poison)(view, clones_of(view))
    head = view.learner.head
    assert head is not None
    for sybil, targets in enumerate(view.targets):
        victim = targets[(view.round + sybil) % len(targets)]
        own, got = head.read(view.honest[victim]), head.read(sent[sybil])
        familiar = view.classes[victim]
        assert torch.equal(got[:, familiar], own[:, familiar])
        bad = head.read(view.centre()).roll(-1, dims=-1) if poison == "next" else head.read(view.trained)
        assert torch.equal(got[:, ~familiar], bad[:, ~familiar])


def test_foreign_columns_without_targets_send_the_trained_model() -> None:
    view = small_view(sybils=1, targets=((),))
    assert torch.equal(foreign_columns()(view, clones_of(view))[0], view.trained)


def test_foreign_columns_need_a_head_and_a_known_poison() -> None:
    small = small_task()
    headless = Task(nn.Sequential(nn.Conv2d(1, CLASSES, 4), nn.Flatten()), small.train, small.test)
    learner = Learner(headless)
    view = small_view(learner=learner)
    with pytest.raises(ValueError, match="output layer"):
        foreign_columns()(view, clones_of(view))
    with pytest.raises(ValueError, match="unknown poison"):
        foreign_columns("salt")
