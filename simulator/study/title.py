"""What a simulation is called where nobody named it: by its task and its attack."""

from __future__ import annotations

import re

_LONGEST = 64  # letters of a scenario's name


def title(task: str, attack: str | None) -> str:
    """A name for pages and folders: `digits-label-flip+clones`, or `digits` where nobody attacks.

    Args:
        task: as the scenario has it; of `module:name` what a name cannot hold becomes a dash.
        attack: the attack's name, without its parameters; None: there is none.
    """
    whole = task if attack is None else f"{task}-{attack}"
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "-", whole).lstrip("._+-")
    return plain[:_LONGEST] or "simulation"
