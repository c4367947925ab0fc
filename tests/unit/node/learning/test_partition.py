"""A partition is disjoint or says so, leaves nobody empty-handed and is a function of labels and generator."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hedgerow_registry import UnknownName
from node.draws import Purpose, generator
from node.learning.errors import TaskError
from node.learning.partition import PARTITIONS, explicit, hold_out, partition

LABELS = torch.arange(600) % 10


def split(name, nodes=12, seed=0, labels=LABELS, **params):
    return partition(name, labels, nodes, generator(seed, Purpose.PARTITION), **params)


@given(
    name=st.sampled_from(sorted(PARTITIONS)),
    nodes=st.integers(1, 40),
    seed=st.integers(0, 2**32),
    classes=st.integers(4, 12),
)
@settings(max_examples=80)
def test_shares_are_disjoint_sorted_and_never_empty(name, nodes, seed, classes):
    labels = torch.arange(200) % classes
    shares = split(name, nodes, seed, labels)
    assert len(shares) == nodes
    assert all(len(share) > 0 and share.dtype == torch.int64 for share in shares)
    every = torch.cat(shares)
    assert len(torch.unique(every)) == len(every) or name == "drawn"
    assert all(len(torch.unique(share)) == len(share) for share in shares)
    assert int(every.max()) < 200
    assert all(torch.equal(share, share.sort().values) for share in shares)
    if name in ("iid", "dirichlet", "shards"):
        assert len(every) == 200
    assert all(torch.equal(a, b) for a, b in zip(shares, split(name, nodes, seed, labels), strict=True))


def test_another_seed_gives_another_split():
    assert not torch.equal(split("iid", seed=0)[0], split("iid", seed=1)[0])


def test_iid_shares_are_even_and_small_alpha_is_uneven():
    sizes = [len(share) for share in split("iid")]
    assert max(sizes) - min(sizes) <= 1

    def common(shares):
        return sum(LABELS[share].bincount(minlength=10).max().item() for share in shares) / len(LABELS)

    assert common(split("dirichlet", alpha=0.05)) > 0.5 > common(split("dirichlet", alpha=100.0))


def test_dirichlet_follows_the_generator_class_by_class():
    draw = generator(0, Purpose.PARTITION)
    draw.permutation(60)
    portions = draw.dirichlet([1.0] * 12)
    first = [int((LABELS[share] == 0).sum()) for share in split("dirichlet", alpha=1.0)]
    assert all(abs(count - 60 * portion) <= 1 for count, portion in zip(first, portions, strict=True))


def test_drawn_shares_are_as_large_with_many_nodes_as_with_few_and_as_skewed():
    few, many = (split("drawn", nodes, alpha=0.1, samples=30) for nodes in (9, 500))
    assert {len(share) for share in (*few, *many)} == {30}
    assert len(torch.unique(torch.cat(many))) == len(LABELS)

    def common(alpha):
        shares = split("drawn", 500, alpha=alpha, samples=30)
        return sum(LABELS[share].bincount(minlength=10).max().item() for share in shares) / (30 * 500)

    assert common(0.1) > 0.6 > 0.3 > common(100.0)
    assert 30 < len(split("drawn", 1, alpha=0.01, samples=1_000)[0]) <= len(LABELS)


def test_classes_gives_k_classes_and_every_class_a_holder():
    shares = split("classes", k=2)
    held = [set(LABELS[share].tolist()) for share in shares]
    assert all(len(classes) == 2 for classes in held)
    holders = [sum(label in classes for classes in held) for label in range(10)]
    assert min(holders) >= 1
    assert max(holders) - min(holders) <= 1


def test_ring_wraps_around_and_deals_exact_numbers():
    shares = split("ring", 10, k=4, per_class=7)
    for node, share in enumerate(shares):
        counts = LABELS[share].bincount(minlength=10).tolist()
        assert counts == [7 if (label - node) % 10 < 4 else 0 for label in range(10)]
    assert all(LABELS[share].bincount().tolist() == [5] * 10 for share in split("iid", per_class=5))


def test_fewer_nodes_than_classes_leave_unheld_classes_out():
    assert set(LABELS[torch.cat(split("ring", 2, k=1))].tolist()) == {0, 1}


def test_shards_give_few_classes():
    assert all(len(set(LABELS[share].tolist())) <= 3 for share in split("shards", k=2))


@pytest.mark.parametrize(
    ("name", "params", "says"),
    [
        ("dirichlet", {"alpha": 0.0}, "alpha"),
        ("drawn", {"alpha": 0.0}, "alpha"),
        ("drawn", {"samples": 0}, "at least 1 a node"),
        ("classes", {"k": 11}, "1 to 10"),
        ("ring", {"k": 0}, "1 to 10"),
        ("ring", {"k": 4, "per_class": 50}, "too few"),
        ("shards", {"k": 0}, "at least 1 shard"),
    ],
)
def test_parameters_out_of_range_are_refused(name, params, says):
    with pytest.raises(TaskError, match=says):
        split(name, **params)


def test_wrong_names_are_told_the_right_one():
    with pytest.raises(UnknownName, match="did you mean 'dirichlet'"):
        split("dirichlett")
    with pytest.raises(UnknownName, match="did you mean 'alpha'"):
        split("dirichlet", alpa=1.0)


def test_node_counts_that_cannot_be_served_are_refused():
    with pytest.raises(TaskError, match="do not go round"):
        split("iid", 601)
    with pytest.raises(TaskError, match="at least 1"):
        split("iid", 0)


def test_an_explicit_partition_is_checked():
    assert [rows.tolist() for rows in explicit([[0, 2], torch.tensor([1])], 3)] == [[0, 2], [1]]
    for shares, says in (([], "one node"), ([[0], []], "node 1 has no"), ([[3]], "outside"), ([[0], [0]], "twice")):
        with pytest.raises(TaskError, match=says):
            explicit(shares, 3)


@given(share=st.floats(0, 0.9), counts=st.lists(st.integers(1, 30), min_size=1, max_size=5), seed=st.integers(0, 99))
def test_hold_out_is_stratified_and_keeps_every_class_in_training(share, counts, seed):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts)).flip(0)
    samples = torch.arange(len(labels))
    parts = hold_out(labels, samples, share, generator(seed, Purpose.HOLD_OUT))
    assert torch.equal(torch.cat([parts.train, parts.held_out]).sort().values, samples)
    for label, count in enumerate(counts):
        apart = int((labels[parts.held_out] == label).sum())
        assert apart == min(int(count * share + 0.5), count - 1)


def test_hold_out_of_everything_is_refused():
    with pytest.raises(TaskError, match="held_out"):
        hold_out(LABELS, torch.arange(5), 1.0, generator(0, Purpose.HOLD_OUT))


def test_an_empty_share_gets_one_sample_of_the_largest():
    shares = split("dirichlet", 60, alpha=0.01)
    assert min(map(len, shares)) == 1
    assert len(torch.unique(torch.cat(shares))) == 600
