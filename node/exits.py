"""What the exit code of the `hedgerow` command says.

| code | name | what happened |
|---|---|---|
| 0 | DONE | what was asked for is done |
| 1 | FAILED | the machine, the disk or a peer refused; or an attack did harm |
| 2 | WRONG | what was typed, or a file that was named, makes no sense |
| 3 | ALONE | `status`: the node knows somebody, and hears nobody of them |
| 130 | STOPPED | Ctrl-C (128 and the number of SIGINT, as shells count) |

An error is judged by its class's name, so that a wrong word is answered without importing what else could go wrong.
"""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
WRONG: Final = 2
ALONE: Final = 3
STOPPED: Final = 130

ERRORS: Final = {
    "node.errors.ConfigError": WRONG,
    "node.learning.errors.TaskError": WRONG,
    "hedgerow_registry.NameFault": WRONG,
    "aggregation.errors.RuleError": WRONG,
    "simulator.attacks.attack.AttackError": WRONG,
    "simulator.matrix.plan.MatrixError": WRONG,
    "simulator.study.scenario.ScenarioError": WRONG,
    "simulator.study.topology.TopologyError": WRONG,
    "simulator.work.pool.PoolError": FAILED,
    "simulator.work.nursery.NoFork": FAILED,
    "identity.errors.IdentityError": FAILED,
    "gossip.protocol.errors.LocalFault": FAILED,
    "node.errors.NodeError": FAILED,
    "builtins.OSError": FAILED,
}
"""Class -> code, for it and its children; the nearest class wins."""


def code_of(error: BaseException) -> int | None:
    """The exit code of an error that is raised on purpose; None for a bug."""
    for kind in type(error).__mro__:
        code = ERRORS.get(f"{kind.__module__}.{kind.__qualname__}")
        if code is not None:
            return code
    return None
