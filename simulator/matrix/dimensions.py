"""What varies in a matrix: rules and attacks, splits of the data, networks, attackers, and blocks of all these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from simulator.study.choice import Spelled


class Part(BaseModel):
    """A table of a plan; what it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Entry(Part):
    """A rule or an attack of the matrix, and how the page calls it.

    In TOML a string as in a scenario, or a table of its name, its parameters and, if it likes, a `label`.
    """

    choice: Spelled
    label: str = ""

    def title(self) -> str:
        """The label, or its spelling with parameters, as records have it."""
        return self.label or str(self.choice)


def _entry(value: object) -> object:
    if isinstance(value, Mapping):
        if "choice" in value:
            return value
        inner = {key: item for key, item in value.items() if key not in ("name", "label")}
        return {"choice": {"name": value.get("name"), "parameters": inner}, "label": value.get("label", "")}
    return value if isinstance(value, Entry) else {"choice": value}


Named = Annotated[Entry, BeforeValidator(_entry)]


class Split(Part):
    """How the data is split.

    Attributes:
        partition: one of PARTITIONS, or a table of its name and parameters.
        alpha: concentration, for `dirichlet`.
        label: on the page.
    """

    partition: str | dict[str, Any] = "dirichlet"
    alpha: float | None = Field(default=None, gt=0)
    label: str = ""

    def title(self) -> str:
        """The label, or a name made of the values."""
        if self.label:
            return self.label
        name = self.partition if isinstance(self.partition, str) else _flat(self.partition)
        return name if self.alpha is None else f"{name} {self.alpha:g}"


class Network(Part):
    """Who is whose neighbour, and who knows and hears whom.

    Attributes:
        topology: one of TOPOLOGIES, or a table of its name and parameters.
        nodes: honest nodes.
        known, far: as in a scenario; absent: as the matrix's scenario says.
        label: on the page.
    """

    topology: str | dict[str, Any] = "random-geometric"
    nodes: int = Field(default=20, ge=1)
    known: float | None = Field(default=None, ge=0, le=1)
    far: int | None = Field(default=None, ge=0)
    label: str = ""

    def title(self) -> str:
        """The label, or a name made of the values."""
        name = self.topology if isinstance(self.topology, str) else _flat(self.topology)
        words = [name, f"{self.nodes} nodes", *(f"{key} {value:g}" for key, value in self.values().items())]
        return self.label or ", ".join(words)

    def values(self) -> dict[str, float]:
        """Fields of a scenario that say who knows and hears whom."""
        return {key: value for key, value in (("known", self.known), ("far", self.far)) if value is not None}


class Attackers(Part):
    """How many identities the adversary has, and where. One of share, sybils and phi.

    Attributes:
        share: f / n, identities among all nodes; each has `sybil_degree` links.
        sybils: identities.
        phi: attack edges per honest node.
        placement: as in a scenario.
        sybil_degree: most links of an identity.
        fooled: as in a scenario.
        vouches: as in a scenario, where somebody attacks; absent: as the matrix's scenario says.
        label: on the page.
    """

    share: float | None = Field(default=None, gt=0, lt=1)
    sybils: int | None = Field(default=None, ge=1)
    phi: float | None = Field(default=None, gt=0)
    placement: Literal["dense", "spread", "all"] = "dense"
    sybil_degree: int = Field(default=7, ge=1)
    fooled: float = Field(default=0.0, ge=0, le=1)
    vouches: Literal["off", "low", "ring", "clique"] | None = None
    label: str = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in (self.share, self.sybils, self.phi)) != 1:
            raise ValueError("attackers: give one of share, sybils and phi")
        return self

    def title(self) -> str:
        """The label, or a name made of the values."""
        if self.label:
            return self.label
        if self.phi is not None:
            words = [f"phi {self.phi:g}"]
        else:
            words = [f"{self.sybils} Sybils" if self.sybils is not None else f"f/n {self.share:g}"]
        words += [f"fooled {self.fooled:g}"] if self.fooled else []
        words += [] if self.vouches is None else [f"vouches {self.vouches}"]
        return ", ".join(words)

    def values(self, nodes: int) -> dict[str, object]:
        """Fields of a scenario with so many honest nodes."""
        sybils = self.sybils
        if self.share is not None:
            sybils = max(1, round(self.share * nodes / (1 - self.share)))
        return {
            "sybils": sybils,
            "phi": self.phi,
            "placement": self.placement,
            "sybil_degree": self.sybil_degree,
            "fooled": self.fooled,
        } | ({} if self.vouches is None else {"vouches": self.vouches})


class Block(Part):
    """A cross product; what is absent is the matrix's. `scenario` adds to the matrix's."""

    rules: tuple[Named, ...] = ()
    attacks: tuple[Named, ...] = ()
    splits: tuple[Split, ...] = ()
    networks: tuple[Network, ...] = ()
    attackers: tuple[Attackers, ...] = ()
    seeds: tuple[int, ...] = ()
    scenario: dict[str, Any] = Field(default_factory=dict)


def _flat(values: Mapping[str, Any]) -> str:
    inner = ", ".join(f"{key}={value}" for key, value in values.items() if key != "name")
    return f"{values.get('name')}({inner})" if inner else str(values.get("name"))
