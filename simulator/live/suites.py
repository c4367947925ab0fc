"""The suites of attacks on a live node: what is tried, by how many identities, for how many of its rounds.

Law: every attack there is, is in a suite, but those that are nothing by themselves; a new one is added here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simulator.attacks.attack import Stage
from simulator.attacks.registry import ATTACKS


@dataclass(frozen=True, slots=True)
class Trial:
    """One line of a suite.

    Attributes:
        attack: its spelling.
        parameters: what differs from the defaults.
        sybils: identities.
        rounds: rounds of the target in which it acts.
    """

    attack: str
    parameters: Mapping[str, object]
    sybils: int
    rounds: int = 4

    @property
    def spelling(self) -> str:
        """Attack and parameters, as people write them."""
        given = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.attack}({given})" if given else self.attack


def _model(attack: str, **parameters: object) -> Trial:
    return Trial(attack, parameters, 1, 8)


def _crowd(attack: str, sybils: int, **parameters: object) -> Trial:
    return Trial(attack, parameters, sybils, 12)  # a node learns in two rounds with a say whom not to wait for


def _sybil(attack: str, sybils: int = 5, **parameters: object) -> Trial:
    return Trial(attack, parameters, sybils, 8)


SUITES: Mapping[str, tuple[Trial, ...]] = {
    "wire": tuple(Trial(name, {}, 1) for name, spec in ATTACKS.items() if spec.stage is Stage.WIRE),
    "siege": (
        _crowd("withhold", 40),  # announce, and never deliver
        _crowd("silent", 48),  # take every place that strangers may have
        _crowd("tell", 8),
        _crowd("pester", 8),
        _crowd("flood", 8),
    ),
    "model": (
        _model("label-flip"),
        _model("label-shift+boosted", factor=100.0),
        _model("backdoor"),
        _model("backdoor+neurotoxin"),
        _model("gaussian"),
        _model("sign-flip"),
        _model("free-rider"),
        _model("alie"),
        _model("ipm"),
        _model("fang-krum"),
        _model("fang-trimmed-mean"),
        _model("min-max"),
        _model("min-sum"),
        _model("dissensus"),
        _model("label-flip+foreign-columns"),
        _model("label-flip+scaled-clones", tune=True),
    ),
    "sybil": (
        _sybil("label-flip+clones"),
        _sybil("label-flip+clones+boosted", factor=100.0),
        _sybil("label-flip+scaled-clones", tune=True),
        _sybil("label-flip+orthogonal-noise", of="update"),
        _sybil("label-flip+orthogonal-noise"),
        _sybil("label-flip+pairs", 6, of="update"),
        _sybil("label-flip+structured-noise", of="update"),
        _sybil("label-flip+structured-noise", 2, of="update"),
        _sybil("label-flip+structured-noise", 20, of="update"),  # a crowd of strangers
        _sybil("label-flip+null-space-decoys", of="update"),
        _sybil("label-flip+diverse-data"),
        _sybil("label-flip+framing", 6),
        _sybil("dba", 6),
        _sybil("mimic"),
        _sybil("copycat"),
        _sybil("sleeper+label-flip+structured-noise", wake=3, of="update"),
    ),
}
