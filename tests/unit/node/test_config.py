"""node.toml: the template is valid, every key stands in it, and whatever does not fit is one sentence that names it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from peers import peer

from identity.keys import format_peer
from node.config import NodeConfig, load_config, parse_config
from node.errors import ConfigError
from node.template import write_template
from node.trust.strangers import Strangers


def test_the_template_says_the_defaults() -> None:
    text = write_template()
    assert parse_config(tomllib.loads(text)) == NodeConfig()
    uncommented = "\n".join(line[2:] if line.startswith("# ") and " = " in line else line for line in text.splitlines())
    lines = [line for line in uncommented.splitlines() if line and not line.startswith("#") and not line.endswith(" =")]
    assert sum("= " in line for line in lines) > 25


def test_chosen_values_come_back() -> None:
    values: dict[str, dict[str, Any]] = {
        "network": {
            "name": 'quo"te\\',
            "join": ["h:1", f"{format_peer(peer(1))}@h:2"],
            "allow": [format_peer(peer(3))],
            "weights": {"bob": 2.0, "self": 0.5, "aunt may": 1.5},
        },
        "task": {"part": 1, "parts": 3, "partition_parameters": {"alpha": 0.5}, "lr": 0.25},
        "rule": {"name": "trimmed-mean", "parameters": {}},
        "round": {"rounds": 4},
    }
    config = parse_config(tomllib.loads(write_template(values)))
    assert config == parse_config(values)
    assert config.network.allowed() == {peer(3)}
    assert (config.policy().rounds, config.policy().expect) == (4, 1)


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"netwrk": {}}, "unknown section 'netwrk': did you mean 'network'?"),
        ({"network": {"jion": []}}, "unknown key in [network] 'jion': did you mean 'join'?"),
        ({"rule": {"name": "sybilwal"}}, "unknown rule 'sybilwal': did you mean 'sybilwall'?"),
        ({"rule": {"name": "mean", "parameters": {"x": 1}}}, "unknown parameter of rule 'mean' 'x'"),
        ({"task": {"part": 3, "parts": 3}}, "parts are numbered from 0 to 2"),
        ({"round": {"pace": "fast"}}, "[round] pace is 'fast'; wanted a number of seconds, at least 0"),
        ({"round": {"pace": float("nan")}}, "[round] pace is nan; wanted a number of seconds, at least 0"),
        ({"round": {"least": 9.0, "most": 1.0}}, "[round] least = 9.0 is above most = 1.0"),
        ({"network": {"listen": "7700"}}, "[network] listen: '7700' is not HOST:PORT"),
        ({"network": {"listen": "h:70000"}}, "'h:70000' is not HOST:PORT"),
        ({"network": {"listen": ":7700"}}, "write 0.0.0.0:7700 to listen on every interface"),
        ({"network": {"listen": "::1:7700"}}, "an IPv6 address is written in brackets"),
        ({"network": {"advertise": "0.0.0.0:7700"}}, "0.0.0.0 stands for every interface, name a host"),
        ({"network": {"join": ["http://10.0.0.7:7700"]}}, "leave out http://"),
        ({"network": {"join": ["10.0.0.7:0"]}}, "port 0 stands for any free one"),
        ({"network": {"join": ["[fe80::1%eth0]:7700"]}}, "[network] join: '[fe80::1%eth0]:7700' has a zone"),
        ({"network": {"join": ["short@h:1"]}}, "a peer id has 52 letters"),
        ({"network": {"allow": ["x"]}}, "a peer id has 52 letters"),
        ({"network": {"known": ["x"]}}, "a peer id has 52 letters"),
        ({"network": {"strangers": -1}}, "[network] strangers is -1; wanted a whole number, at least 0, at most 64"),
        ({"network": {"probation": "never"}}, "[network] probation is 'never'; wanted a whole number, at least 0"),
        ({"network": {"far": 17}}, "[network] far is 17; wanted a whole number, at least 0, at most 16"),
        ({"network": {"weights": {"bob": 0}}}, "[network] weights: bob = 0: a vote is a number above 0"),
        ({"network": {"weights": {"bob": "2"}}}, "[network] weights: bob = '2': a vote is a number above 0"),
        ({"network": {"weights": {"bob": float("inf")}}}, "[network] weights: bob = inf: a vote is a number above 0"),
        ({"network": {"weights": 2}}, "[network] weights is 2; wanted a table"),
        ({"network": {"name": ""}}, "[network] name is ''; wanted a text, not empty"),
        ({"network": {"join": "h:1"}}, "[network] join is 'h:1'; wanted a list of texts"),
        ({"network": {"models": "all"}}, '[network] models is \'all\'; wanted "anybody" or "known"'),
        ({"network": 7}, "[network] is 7; wanted a table"),
        ({"task": {"lr": 0}}, "[task] lr is 0; wanted a number, above 0"),
        ({"task": {"data_dir": 3}}, "[task] data_dir is 3; wanted a path"),
        ({"task": {"partition_parameters": {"alpha": "x"}}}, "[task] partition_parameters is 'x'; wanted a table"),
        ({"network": {"enough": 9}}, "[network] enough = 9 is above degree = 8"),
        ({"status": {"listen": "x"}}, "[status] listen: 'x' is not HOST:PORT"),
    ],
)
def test_what_does_not_fit_is_named(raw: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(raw)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_file_is_named_too(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    with pytest.raises(ConfigError, match="hedgerow init"):
        load_config(path)
    path.write_text("[network]\nname = ")
    with pytest.raises(ConfigError, match=r"node\.toml is not TOML"):
        load_config(path)
    path.write_text("[networks]\n")
    with pytest.raises(ConfigError, match=r"node\.toml: unknown section"):
        load_config(path)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(path)


def test_the_name_is_the_network() -> None:
    one, same, other = (parse_config({"network": {"name": name}}) for name in ("a", "a", "b"))
    assert (one.network_id(), one.seed()) == (same.network_id(), same.seed())
    assert one.network_id() != other.network_id()
    assert one.seed() != other.seed()
    assert len(one.network_id()) == 32


def test_a_first_node_waits_for_nobody() -> None:
    assert parse_config({}).network.expect() == 0
    assert parse_config({"network": {"join": ["h:1"]}}).network.expect() == 1
    assert parse_config({"network": {"wait_for": 2}}).network.expect() == 2


def test_the_operators_peers_are_no_strangers() -> None:
    lists = {
        "known": [format_peer(peer(1))],
        "allow": [format_peer(peer(2))],
        "join": [f"{format_peer(peer(3))}@h:1", "h:2"],
    }
    assert parse_config({"network": lists}).network.named() == {peer(1), peer(2), peer(3)}
    assert parse_config({}).network.named() == frozenset()
    limit = parse_config({"network": {"strangers": 2, "enough": 4, "degree": 5, "probation": 0}}).policy().strangers
    assert limit == Strangers(seats=2, enough=4, company=5, probation=0)


def test_a_tilde_is_the_home_of_whoever_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    config = parse_config(
        {"task": {"data_dir": "~/data", "extractor": "~/e"}, "store": {"folder": "~/state", "records": "~/r.jsonl"}}
    )
    assert (str(config.task.data_dir), str(config.task.extractor)) == ("/somewhere/data", "/somewhere/e")
    assert (config.store.folder, config.store.records) == ("/somewhere/state", "/somewhere/r.jsonl")
