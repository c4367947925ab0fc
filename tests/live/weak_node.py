"""A node that skips one check, to be attacked: `weak_node.py FOLDER WEAKNESS`. None of this can be configured."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gossip import admission, intake, payload, service
from identity import envelope
from node.daemon import run_node


class Blank(OrderedDict[bytes, intake._Known]):
    """Keeps nothing."""

    def __setitem__(self, digest: bytes, known: intake._Known) -> None:
        return None


class ForgetfulIntake(intake.Intake):
    """Every header is new to it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._known = Blank()


def believe_every_signature() -> None:
    vars(envelope)["verify"] = lambda author, signature, message: True


def take_any_number() -> None:
    vars(payload)["is_finite"] = lambda vector: True


def forget_what_was_heard() -> None:
    vars(service)["Intake"] = ForgetfulIntake
    vars(admission)["judge"] = lambda header, digest, recent, round, limits: admission.ACCEPTED


WEAKNESSES: Mapping[str, Callable[[], None]] = {
    "none": lambda: None,
    "signature": believe_every_signature,
    "finite": take_any_number,
    "replay": forget_what_was_heard,
}

if __name__ == "__main__":
    WEAKNESSES[sys.argv[2]]()
    run_node(Path(sys.argv[1]))
