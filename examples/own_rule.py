"""A rule of your own, against ten Sybils: python examples/own_rule.py

The same by name: hedgerow simulate --rule own_rule:near_half (in this folder), or rule.name in node.toml.
"""

import torch

import hedgerow


def near_half(evidence: hedgerow.Evidence, share: float = 0.5) -> hedgerow.Weights:
    """Believe the nearer half of the neighbours, and nobody else."""
    here = evidence.present()
    rows = torch.cat([evidence.own.unsqueeze(-1), evidence.neighbours], dim=-1)
    away = evidence.table.geometry.squared_distances(rows)[..., 0, 1:]
    order = torch.where(here, away, torch.inf).argsort(dim=-1).argsort(dim=-1)
    chosen = here & (order < (here.sum(dim=-1, keepdim=True) * share).ceil())
    verdicts = evidence.absence()
    verdicts[here & ~chosen] = int(hedgerow.Verdict.FAR)
    return hedgerow.Weights(torch.ones_like(evidence.own, dtype=torch.float32), chosen.float(), verdicts)


if __name__ == "__main__":
    print(hedgerow.simulate(rules=["mean", near_half], attack="label-flip", rounds=10))
