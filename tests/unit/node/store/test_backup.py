"""A copy of a node: all of it, whole or not at all, nobody else's business, and never over anything."""

from __future__ import annotations

import hashlib
import stat
import tarfile
from pathlib import Path

import pytest
import torch
from peers import peer

from gossip.chain.ledger import Entry
from node.daemon import KEY, back_up_node, init_node
from node.errors import ConfigError, StoreError
from node.store.folder import Store


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node that has signed three rounds, with umask's modes on some of its files."""
    folder = tmp_path / "alice"
    init_node(folder)
    with Store(folder / "state", 3) as store:
        for sequence in (1, 2, 3):
            digest = hashlib.sha256(bytes([sequence])).digest()
            store.ledger.append(Entry(peer(1), sequence, sequence, digest, bytes(32), b"envelope"), b"payload")
            store.checkpoints.save(sequence + 1, torch.full((3,), float(sequence)), None)
        store.good.save(2, torch.zeros(3), None, 0.9)
    (folder / "state" / "rounds.jsonl").write_text("{}\n")
    return folder


def modes(folder: Path) -> set[tuple[bool, int]]:
    return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (folder, *folder.rglob("*"))}


def whole(folder: Path, node: Path) -> None:
    """The copy goes on where the node was."""
    assert (folder / KEY).read_bytes() == (node / KEY).read_bytes()
    assert (folder / "node.toml").read_text() == (node / "node.toml").read_text()
    with Store(folder / "state", 3, key=folder / KEY) as store:
        head, resumed, good = store.ledger.head(), store.resume(), store.good.load()
    assert head is not None
    assert resumed is not None
    assert good is not None
    assert (head.sequence, resumed.round, resumed.params.tolist(), good.accuracy) == (3, 4, [3.0] * 3, 0.9)


def test_a_copy_is_whole_and_nobody_elses_business_though_the_node_has_everything_open(
    node: Path, tmp_path: Path
) -> None:
    with Store(node / "state", 3, key=node / KEY):
        made = back_up_node(node, tmp_path / "copy")
    assert (made.round, made.headers) == (4, 3)
    assert modes(made.out) == {(True, 0o700), (False, 0o600)}
    whole(made.out, node)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alice", "copy"]


def test_an_archive_holds_the_same_in_one_folder(node: Path, tmp_path: Path) -> None:
    made = back_up_node(node, tmp_path / "copy.tar")
    assert stat.S_IMODE(made.out.stat().st_mode) == 0o600
    with tarfile.open(made.out) as tar:
        assert {name.split("/")[0] for name in tar.getnames()} == {"copy"}
        tar.extractall(tmp_path / "there", filter="data")
    whole(tmp_path / "there" / "copy", node)


@pytest.mark.parametrize("name", ["copy", "copy.tar"])
def test_what_exists_is_never_written_over(node: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(StoreError, match="exists already: a backup never writes over anything"):
        back_up_node(node, tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"


def test_what_cannot_be_read_leaves_nothing_behind(node: Path, tmp_path: Path) -> None:
    (node / "state" / "ledger.sqlite").write_bytes(b"no ledger" * 1000)
    with pytest.raises(StoreError, match="nothing is left there"):
        back_up_node(node, tmp_path / "copy")
    with pytest.raises(StoreError, match="cannot write to"):
        back_up_node(node, tmp_path / "nowhere" / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alice"]


def test_a_damaged_checkpoint_is_passed_over_and_a_node_that_never_ran_is_key_and_settings(
    node: Path, tmp_path: Path
) -> None:
    newest = max((node / "state" / "checkpoints").iterdir())
    newest.write_bytes(b"damaged")
    assert back_up_node(node, tmp_path / "copy").round == 3
    init_node(tmp_path / "bob")
    made = back_up_node(tmp_path / "bob", tmp_path / "bob-copy")
    assert (made.round, made.headers) == (None, 0)
    assert (made.out / KEY).is_file()


def test_a_node_that_keeps_its_state_elsewhere_is_refused(tmp_path: Path) -> None:
    init_node(tmp_path / "carol", {"store": {"folder": str(tmp_path / "elsewhere")}})
    with pytest.raises(ConfigError, match="outside of the node's folder"):
        back_up_node(tmp_path / "carol", tmp_path / "copy")
