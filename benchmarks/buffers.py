"""What running statistics cost between unlike nodes, and whether sharing them helps: `python -m benchmarks.buffers`.

Digits, 20 nodes, Dirichlet 0.5 and 0.1, no attack, three seeds: mean accuracy over nodes after 20 rounds. It takes
a minute or two.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from node.learning.errors import TaskWarning
from node.learning.optimizers import Sgd
from node.learning.sources import digits
from node.learning.task import Task
from simulator.study.scenario import Scenario
from simulator.work.sweep import sweep

SEEDS = (0, 1, 2)
ALPHAS = (0.5, 0.1)
ROUNDS = 20
RULES = ("mean", "hedgerow")
MOMENTUM, EPSILON = 0.1, 1e-5  # those of nn.BatchNorm1d
WIDTH = 64


class SharedNorm(nn.Module):
    """BatchNorm1d whose running statistics are parameters: exchanged and mixed as all are, moved by no gradient."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.mean, self.variance = nn.Parameter(torch.zeros(features)), nn.Parameter(torch.ones(features))
        self.register_buffer("batches", torch.tensor(0))  # training changes it: nodes are trained one after the other

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise (b, features): by the batch in training, by the statistics in evaluation."""
        mean: Tensor = self.mean
        variance: Tensor = self.variance
        if self.training:
            if len(inputs) < 2:
                raise ValueError("one sample has no variance")  # as BatchNorm1d: then it is never fed one
            mean, variance = inputs.mean(dim=0), inputs.var(dim=0, unbiased=False)
            self.mean.data.lerp_(mean.detach(), MOMENTUM)
            self.variance.data.lerp_(inputs.detach().var(dim=0), MOMENTUM)
            assert isinstance(self.batches, Tensor)
            self.batches += 1
        # a rule may push a variance that it mixes below zero
        return self.weight * (inputs - mean) * (variance.clamp(min=0) + EPSILON).rsqrt() + self.bias


NORMS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm, statistics stay": lambda: nn.BatchNorm1d(WIDTH),
    "BatchNorm, statistics shared": lambda: SharedNorm(WIDTH),
    "GroupNorm": lambda: nn.GroupNorm(8, WIDTH),
}


def run() -> dict[str, float]:
    """Accuracy, mean over nodes, by norm, split, rule and seed."""
    train, test = digits()
    rows: dict[str, float] = {}
    for name, norm in NORMS.items():

        def build(norm: Callable[[], nn.Module] = norm) -> nn.Module:
            return nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), norm(), nn.ReLU(), nn.Linear(WIDTH, 10))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TaskWarning)
            task = Task(build, train, test, optimizer=Sgd(lr=0.1), batch_size=16, held_out=0.25, familiar=3)
        for alpha in ALPHAS:
            scenario = Scenario.of(
                {
                    "name": "buffers",
                    "nodes": 20,
                    "rounds": ROUNDS,
                    "rules": RULES,
                    "seeds": SEEDS,
                    "attack": "none",
                    "alpha": alpha,
                    "evaluate_every": ROUNDS,
                }
            )
            for rule, records in sweep(scenario, task=task).records.items():
                for record in records:
                    if record.accuracy is not None:
                        rows[f"{name}, {alpha}, {rule}, seed {record.seed}"] = float(record.accuracy.mean())
    return rows


def main() -> None:
    """Print a table: a line for each norm; for each split and rule the mean over seeds, and each seed."""
    rows = run()
    columns = [(alpha, rule) for alpha in ALPHAS for rule in RULES]
    print(f"| norm | {' | '.join(f'Dirichlet {alpha}, {rule}' for alpha, rule in columns)} |")
    print("|---" * (1 + len(columns)) + "|")
    for name in NORMS:
        cells = []
        for alpha, rule in columns:
            found = [rows[f"{name}, {alpha}, {rule}, seed {seed}"] for seed in SEEDS]
            cells.append(f"{sum(found) / len(found):.3f} ({', '.join(f'{value:.3f}' for value in found)})")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
