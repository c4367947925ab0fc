"""What a user may say about a node: `node.toml` as one frozen, validated value.

Laws:
- Unknown keys are refused by name, with the nearest key that exists.
- Every field's comment in the template is its `description` here: one place.
- The network's id and its common initial model follow from the network's name alone: who types the same name joins
  the same
  network. The name is as good as public; `allow` is what keeps strangers out.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from pathlib import Path
from shlex import quote
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from aggregation.errors import RuleError
from aggregation.registry import build_rule
from gossip.protocol.address import Address, dialable
from gossip.protocol.errors import BadAddress
from gossip.reach.dialer import split_address
from hedgerow_registry import UnknownName
from identity.errors import BadPeerId
from identity.keys import PeerId, format_peer, parse_peer
from node.core.policy import RoundPolicy
from node.errors import ConfigError
from node.misfit import SECONDS, sentence
from node.trust.strangers import Strangers

FILE = "node.toml"
DEFAULT_RULE = "hedgerow-known"  # of a node; where it knows nobody that is `hedgerow`; measured in docs/defence.md
Parameter = bool | int | float | str


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


class NetworkConfig(_Section):
    """Which network, and how to reach it."""

    name: str = Field(
        default="hedgerow", min_length=1, description="nodes with the same name (and task) form one network"
    )
    listen: str = Field(
        default="127.0.0.1:7700", description="where others dial us; 0.0.0.0:PORT to be reached from other machines"
    )
    advertise: str = Field(default="", description="address that others are told, if it is not the one we listen on")
    join: tuple[str, ...] = Field(default=(), description='nodes to join by: "HOST:PORT" or "PEER@HOST:PORT"')
    allow: tuple[str, ...] = Field(
        default=(), description="peer ids that may connect, beside whom you trust or invite; empty: anybody"
    )
    known: tuple[str, ...] = Field(
        default=(),
        description="peer ids that are no strangers, beside those in `allow`, those that `join` leads to, and those of "
        "`hedgerow trust` and `hedgerow invite`",
    )
    strangers: int = Field(
        default=1,
        ge=0,
        le=64,
        description="strangers that have a say in a round, drawn anew each round: as many liars as the rule can hold "
        "among 2 to 8 neighbours; 64: all",
    )
    enough: int = Field(
        default=2,
        ge=0,
        le=64,
        description="known neighbours from which on that limit holds: with two, a stranger is one of four votes; "
        "a node "
        "that knows fewer hears strangers up to `degree`",
    )
    probation: int = Field(
        default=256,
        ge=0,
        description="rounds in which a stranger had a say and its vote was kept, after which it is known: what "
        "a patient liar has to wait; 0: never",
    )
    attackable: tuple[str, ...] = Field(
        default=(), description="public keys of `hedgerow attack --key` that may attack from other machines"
    )
    models: Literal["anybody", "known"] = Field(
        default="anybody",
        description='who is given models: "anybody" who connects, or "known": the peers in `known`, `allow`, those '
        "that `join` leads to, those of `hedgerow trust` and `hedgerow invite`, and whom people vouch for (with "
        "vouch = false nobody is); the others' nodes must know this one too",
    )
    vouch: bool = Field(
        default=True,
        description="sign whom you trust, invite, or were invited by: everybody in this network can then see that "
        "this node knows them, and friends of friends come to be known; false: names stay private",
    )
    far: int = Field(
        default=3,
        ge=0,
        le=16,
        description="peers that are no neighbours but known by vouches, whose models a round hears, drawn anew each "
        "round; more learn better in peace, fewer hold better where people vouch for whom they do not know; 0: none",
    )
    weights: dict[str, float] = Field(
        default={},
        description="votes of known peers that are not one: { bob = 2.0, self = 0.5 }, by name or peer id; rule "
        "hedgerow-known counts them",
    )
    degree: int = Field(default=8, ge=1, le=64, description="neighbours we dial up to")
    wait_for: int = Field(
        default=1,
        ge=0,
        le=64,
        description="neighbours to wait for before the first round (only with `join`, or above 1)",
    )
    gather: float = Field(default=30.0, ge=0, json_schema_extra=SECONDS, description="seconds to wait for them at most")

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        return _listened(value)

    @field_validator("advertise")
    @classmethod
    def _advertise(cls, value: str) -> str:
        return str(dialable(value)) if value else value

    @field_validator("join")
    @classmethod
    def _join(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_joined(text) for text in value)

    @field_validator("allow", "known", "attackable")
    @classmethod
    def _allow(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            _parsed(parse_peer, text)
        return value

    @field_validator("weights", mode="before")
    @classmethod
    def _votes(cls, value: object) -> object:
        for name, vote in value.items() if isinstance(value, dict) else ():
            number = isinstance(vote, int | float) and not isinstance(vote, bool)
            if not number or not 0 < vote < math.inf:
                raise ValueError(f"{name} = {vote!r}: a vote is a number above 0")
        return value

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.enough > self.degree and self.strangers < 64:
            raise ValueError(
                f"enough = {self.enough} is above degree = {self.degree}: the limit on strangers would hardly "
                "ever hold; "
                "to hear all strangers, set strangers = 64"
            )
        return self

    def named(self) -> frozenset[PeerId]:
        """Peers that are no strangers, by their ids: `known`, `allow`, and those of `join` that say one."""
        joined = (split_address(text)[0] for text in self.join)
        listed = (parse_peer(text) for text in (*self.known, *self.allow))
        return frozenset({*listed, *(peer for peer in joined if peer is not None)})

    def limit(self) -> Strangers:
        """How far strangers are heard."""
        return Strangers(self.strangers, self.enough, self.degree, self.probation)

    def allowed(self) -> frozenset[PeerId] | None:
        """Peers that may connect; None: anybody."""
        return frozenset(parse_peer(text) for text in self.allow) or None

    def expect(self) -> int:
        """Neighbours to wait for before the first round: a first node that joins nobody need not wait for one."""
        return self.wait_for if self.join or self.wait_for > 1 else 0


class TaskConfig(_Section):
    """What is learned, and from which part of the data."""

    name: str = Field(default="digits", description='a task that comes with hedgerow, or your own as "module:name"')
    model: str | None = Field(default=None, description="model of that task; default: the task's own")
    data_dir: Path | None = Field(
        default=None, description="folder or file of the data; default: where the task looks by itself"
    )
    extractor: Path | None = Field(
        default=None, description="safetensors file of a frozen extractor, for tasks that take one"
    )
    threads: int = Field(default=1, ge=1, description="threads that training may use")
    lr: float | None = Field(default=None, gt=0, description="learning rate; default: the task's own")
    batch_size: int | None = Field(default=None, ge=1, description="samples a step")
    local_epochs: int | None = Field(default=None, ge=1, description="passes over the own data a round")
    local_steps: int | None = Field(default=None, ge=1, description="steps a round, instead of passes")
    part: int = Field(default=0, ge=0, description="which part of the training data is this node's: 0 .. parts - 1")
    parts: int = Field(default=1, ge=1, description="parts that the training data is split into; 1: all of it is ours")
    partition: str = Field(default="iid", description="how it is split; the same on all nodes")
    partition_parameters: dict[str, float | int] = Field(
        default={}, description="for example { alpha = 0.1 } for dirichlet"
    )

    @field_validator("data_dir", "extractor")
    @classmethod
    def _path(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser()

    @model_validator(mode="after")
    def _one_of_the_parts(self) -> Self:
        if self.part >= self.parts:
            raise ValueError(
                f"part = {self.part} of parts = {self.parts}: parts are numbered from 0 to {self.parts - 1}"
            )
        return self


class RuleConfig(_Section):
    """What to believe."""

    name: str = Field(default=DEFAULT_RULE, description="aggregation rule (hedgerow rules)")
    parameters: dict[str, Parameter] = Field(default={}, description="parameters that differ from the rule's defaults")
    last_line: bool = Field(
        default=True,
        description="whatever the rule says: bound a round's move, decide once more with known peers where the model "
        "does much worse on own samples, and let strangers alone move nobody",
    )

    @model_validator(mode="after")
    def _exists(self) -> Self:
        try:
            build_rule(self.name, **self.parameters)
        except (RuleError, UnknownName) as error:
            raise ValueError(str(error)) from None
        return self


class RoundConfig(_Section):
    """Pace and patience; seconds."""

    pace: float = Field(
        default=1.0,
        ge=0,
        json_schema_extra=SECONDS,
        description="least duration of a round (half of it while most are ahead)",
    )
    least: float = Field(
        default=1.0,
        ge=0,
        json_schema_extra=SECONDS,
        description="shortest deadline; the deadline itself follows what neighbours need",
    )
    most: float = Field(default=60.0, gt=0, json_schema_extra=SECONDS, description="longest deadline")
    deviations: float = Field(
        default=4.0, ge=0, description="mean deviations above its mean lag that a neighbour is allowed"
    )
    stretch: float = Field(
        default=2.0, ge=1, description="how far above the median neighbour's allowance the deadline may lie"
    )
    patience: int = Field(default=2, ge=1, description="missed rounds after which a neighbour is no longer waited for")
    rounds: int | None = Field(default=None, ge=1, description="stop after this round of the network; default: never")
    evaluate_every: int = Field(
        default=1, ge=0, description="rounds between measurements of accuracy on the test data; 0: never"
    )
    evaluate_samples: int = Field(default=1000, ge=0, description="test samples that accuracy is measured on; 0: all")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least = {self.least} is above most = {self.most}")
        return self


class StatusConfig(_Section):
    """The page that shows what the node thinks."""

    listen: str = Field(
        default="127.0.0.1:0", description='address of the page and of /metrics; port 0: any free one; "": none'
    )

    @field_validator("listen")
    @classmethod
    def _address(cls, value: str) -> str:
        return _listened(value) if value else value


class StoreConfig(_Section):
    """What is kept on disk."""

    folder: str = Field(default="state", description="ledger and checkpoints, relative to this file")
    records: str = Field(default="rounds.jsonl", description='one line of JSON a round, in that folder; "": none')
    history: int = Field(default=100, ge=1, le=4096, description="relayed records of others kept in memory")
    age: int = Field(default=16, ge=1, le=16, description="rounds for which a relayed record counts")

    @field_validator("folder", "records")
    @classmethod
    def _path(cls, value: str) -> str:
        return str(Path(value).expanduser()) if value else value


class NodeConfig(_Section):
    """All that a user says about one node."""

    network: NetworkConfig = NetworkConfig()
    task: TaskConfig = TaskConfig()
    rule: RuleConfig = Field(default_factory=RuleConfig)
    round: RoundConfig = RoundConfig()
    status: StatusConfig = StatusConfig()
    store: StoreConfig = StoreConfig()

    def network_id(self) -> bytes:
        """32 bytes that name the network; signed into every header."""
        return hashlib.sha256(b"hedgerow/network-name/1\0" + self.network.name.encode()).digest()

    def seed(self) -> int:
        """Seed of the common initial model, the split of the data and the batch order; one for a network."""
        return int.from_bytes(
            hashlib.sha256(b"hedgerow/network-seed/1\0" + self.network.name.encode()).digest()[:8], "big"
        )

    def policy(self) -> RoundPolicy:
        """Pace and patience as the core wants them."""
        pace = self.round
        return RoundPolicy(
            rounds=pace.rounds,
            pace=pace.pace,
            least=pace.least,
            most=pace.most,
            deviations=pace.deviations,
            stretch=pace.stretch,
            patience=pace.patience,
            expect=self.network.expect(),
            gather=self.network.gather,
            authors=self.store.history,
            age=self.store.age,
            strangers=self.network.limit(),
        )


def load_config(path: Path) -> NodeConfig:
    """Read a `node.toml`.

    Raises:
        ConfigError: no such file, no TOML, an unknown key, or a value that does not fit; one sentence.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}: make one with `hedgerow init {quote(str(path.parent))}`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    try:
        return parse_config(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def parse_config(raw: dict[str, Any]) -> NodeConfig:
    """A configuration from plain tables.

    Raises:
        ConfigError: the first thing that does not fit, in one sentence.
    """
    try:
        return NodeConfig.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(sentence(NodeConfig, error)) from None


def _listened(text: str) -> str:
    address = Address.parse(text)
    if not address.host:
        raise BadAddress(f"'{text}' is not HOST:PORT: write 0.0.0.0:{address.port} to listen on every interface")
    return str(address)


def _joined(text: str) -> str:
    peer, where = _parsed(split_address, text)
    address = dialable(where)
    return f"{address}" if peer is None else f"{format_peer(peer)}@{address}"


def _parsed(parse: Any, text: str) -> Any:
    try:
        return parse(text)
    except BadPeerId as error:
        raise ValueError(f"'{text}': {error}") from None
