"""Nine sites with from half a percent to half of the data: what the rule that protects them costs in peace."""

from __future__ import annotations

from benchmarks.unequal_sites import SHARES, accuracy, deal
from node.learning.tasks import make_task


def test_sites_are_dealt_disjoint_rows_of_their_sizes() -> None:
    labels = make_task("digits").train.labels
    for alpha in (None, 0.5):
        shards = deal(labels, alpha, seed=3)
        rows = [row for shard in shards for row in shard.tolist()]
        assert len(rows) == len(set(rows))
        wanted = [share / 100 * len(labels) for share in SHARES]
        assert all(abs(len(shard) - size) <= 1 for shard, size in zip(shards, wanted, strict=True))


def test_votes_by_size_are_as_good_as_the_mean_by_size() -> None:
    mean, ours, alike = (accuracy(rule, 0.5, seed=0, rounds=6) for rule in (None, "hedgerow-known", "hedgerow"))
    assert abs(ours - mean) <= 0.01
    assert alike < mean - 0.05
