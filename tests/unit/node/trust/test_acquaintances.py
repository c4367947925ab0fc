"""Who has served, on disk: what is saved comes back, and damage is said, not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
from peers import peer

from identity.keys import format_peer
from node.errors import StoreError
from node.trust.acquaintances import Acquaintances


def test_what_was_served_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "acquaintances.json"
    kept = Acquaintances(path)
    assert kept.load() == {}
    served = {peer(2): 256, peer(1): 3}
    kept.save(served)
    assert Acquaintances(path).load() == served
    kept.save({peer(1): 4})
    assert Acquaintances(path).load() == {peer(1): 4}
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_nothing_new_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "acquaintances.json"
    Acquaintances(path).save({peer(1): 1})
    again = Acquaintances(path)
    before = path.stat().st_mtime_ns
    again.save(again.load())
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "damage", [b"", b"[]", b"{", b'{"x": 1}', b"\xff", f'{{"{format_peer(peer(1))}": null}}'.encode()]
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "acquaintances.json"
    path.write_bytes(damage)
    with pytest.raises(StoreError, match="remove it to begin with strangers only"):
        Acquaintances(path).load()


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write"):
        Acquaintances(tmp_path / "gone" / "acquaintances.json").save({peer(1): 1})
