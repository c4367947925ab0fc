"""What unequal sites lose to the rule that protects them: `python -m benchmarks.unequal_sites [TASK]`.

Nine sites that know each other hold from .6 to 51.7 % of the data, dealt alike or by a Dirichlet draw of classes a
site; no attack, three seeds. Compared with the mean by size after as many rounds: accuracy, mean over sites. With
digits (360 test samples, the smallest site holds 9) it takes half a minute to three minutes.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from aggregation.evidence import Evidence, Table
from aggregation.registry import build_rule
from node.learning.learner import Learner, TrainState
from node.learning.partition import Shard
from node.learning.probe import LocalProbe
from node.learning.tasks import make_task

SHARES = (0.6, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 16.7, 51.7)  # % of the data, as hospitals hold it
SEEDS = (0, 1, 2)
SPLITS = {"dealt alike": None, "Dirichlet .5": 0.5}
ROUNDS = 20


def deal(labels: Tensor, alpha: float | None, seed: int) -> list[Tensor]:
    """Rows of each site, the smallest first, all classes alike or in shares drawn for each site."""
    rng = np.random.default_rng(seed)
    classes, left = labels.numpy(), np.arange(len(labels))
    shards = []
    for share in SHARES:
        count = min(len(left), max(2, round(share / sum(SHARES) * len(labels))))
        wish = np.ones(classes.max() + 1) if alpha is None else rng.dirichlet(np.full(classes.max() + 1, alpha))
        chances = wish[classes[left]] + 1e-9
        taken = rng.choice(left, size=count, replace=False, p=chances / chances.sum())
        left = np.setdiff1d(left, taken)
        shards.append(torch.from_numpy(taken))
    return shards


def by_size(models: Tensor, votes: Tensor) -> Tensor:
    """The mean by votes: (9, d) -> (d,)."""
    return (votes[:, None] * models.double()).sum(dim=0).div(votes.sum()).to(models.dtype)


def accuracy(rule: str | None, alpha: float | None, seed: int, task: str = "digits", rounds: int = ROUNDS) -> float:
    """Accuracy after the last round, mean over the nine sites.

    Args:
        rule: what each site decides by, with the sites' sizes as votes; None: the mean by size.
        alpha: of the draw of classes a site; None: all alike.
        seed: of model, data and batches.
        task: name of a task.
        rounds: of training and exchange.
    """
    made = make_task(task)
    learner = Learner(made)
    shards = [Shard(rows, rows[:0]) for rows in deal(made.train.labels, alpha, seed)]
    votes = torch.tensor([len(shard.train) for shard in shards], dtype=torch.float64)
    decide = None if rule is None else build_rule(rule)
    models = learner.initial(seed).repeat(len(shards), 1)
    states: list[TrainState | None] = [None] * len(shards)
    for round in range(rounds):
        trained = models.clone()
        for me, shard in enumerate(shards):
            trained[me], states[me] = learner.train(models[me], made.train, shard.train, seed, me, round, states[me])
        if decide is None:
            models = by_size(trained, votes).repeat(len(shards), 1)
            continue
        table, others = Table(trained), torch.arange(len(shards))
        beside = torch.stack([others[others != me] for me in others])
        with torch.no_grad():
            models = decide.decide(
                Evidence(
                    table=table,
                    own=others,
                    neighbours=beside,
                    relayed=beside[:, :0],
                    trusted=torch.ones_like(beside, dtype=torch.bool),
                    votes=votes[torch.cat([others[:, None], beside], dim=1)],
                    probe=LocalProbe(learner, made.train, shards, trained),
                )
            ).params
    with torch.no_grad():
        return float(learner.accuracy(models, made.test).mean())


def main() -> None:
    """Print a table: a line for each split; mean over seeds, and each seed."""
    task = sys.argv[1] if len(sys.argv) > 1 else "digits"
    print("| split | mean by size | hedgerow-known, votes by size | hedgerow |\n|---|---|---|---|")
    for split, alpha in SPLITS.items():
        cells = []
        for rule in (None, "hedgerow-known", "hedgerow"):
            found = [accuracy(rule, alpha, seed, task) for seed in SEEDS]
            cells.append(f"{sum(found) / len(found):.3f} ({', '.join(f'{value:.3f}' for value in found)})")
        print(f"| {split} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
