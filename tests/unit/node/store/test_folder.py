"""What is on disk: durable own headers, others' heads, checkpoints that hold, one process at a time."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
import torch
from peers import peer

from gossip.chain.ledger import Entry, Proof
from gossip.protocol.errors import DiskFault, LocalFault
from identity.keys import SigningKey
from node.errors import Busy, StoreError
from node.learning.learner import TrainState
from node.store.checkpoint import CheckpointFolder
from node.store.folder import Store
from node.store.ledger import LINKED, SqliteLedger, Wish


def entry(author: int, sequence: int, round: int | None = None) -> Entry:
    round = sequence if round is None else round
    digest = hashlib.sha256(f"{author} {sequence} {round}".encode()).digest()
    return Entry(peer(author), sequence, round, digest, bytes(32), f"envelope {sequence}".encode())


def test_own_entries_outlive_the_process(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    assert ledger.head() is None
    for sequence in (1, 2, 3):
        ledger.append(entry(1, sequence), bytes([sequence]) * 10)
    ledger.adopt(entry(1, 4))
    ledger.close()
    ledger.close()
    again = SqliteLedger(tmp_path / "ledger.sqlite")
    assert again.head() == entry(1, 4)
    assert list(again.own(2, 9)) == [entry(1, 2), entry(1, 3), entry(1, 4)]
    assert [again.payload(sequence) for sequence in (1, 2, 3, 4)] == [None, bytes([2]) * 10, bytes([3]) * 10, None]
    again.close()


@pytest.mark.parametrize("second", [entry(1, 1, 9), entry(1, 9, 1)])
def test_nothing_is_kept_twice_for_one_sequence_or_one_round(tmp_path: Path, second: Entry) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    ledger.append(entry(1, 1), b"a")
    with pytest.raises(LocalFault, match="ledger cannot write"):
        ledger.append(second, b"b")
    assert ledger.head() == entry(1, 1)
    assert ledger.payload(1) == b"a"
    ledger.close()


def test_the_newest_entries_of_others_are_remembered(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite", keep=3)
    for sequence in (5, 1, 2, 4, 3, 6):
        ledger.remember(entry(2, sequence))
    ledger.remember(entry(3, 1))
    assert [known.sequence for known in ledger.recent(peer(2))] == [4, 5, 6]
    assert [known.sequence for known in ledger.recent(peer(3))] == [1]
    assert ledger.recent(peer(4)) == []
    ledger.close()


def test_the_first_proof_against_an_author_stays(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    assert ledger.proof(peer(1)) is None
    ledger.convict(Proof(peer(1), b"one", b"two"))
    ledger.convict(Proof(peer(1), b"three", b"four"))
    assert ledger.proof(peer(1)) == Proof(peer(1), b"one", b"two")
    ledger.close()


def test_authors_seen_longest_ago_are_forgotten_and_known_ones_are_not(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path, authors=3)
    friend = peer(1)
    ledger.known = lambda who: who == friend
    for number in range(1, 8):
        ledger.remember(entry(number, 1, round=number))
        ledger.convict(Proof(peer(number), b"1", b"2"))
    ledger.remember(entry(6, 2, round=9))
    ledger.remember(entry(8, 1, round=8))
    assert [bool(ledger.recent(peer(number))) for number in range(1, 9)] == [True, *[False] * 4, True, False, True]
    assert [ledger.proof(peer(number)) is not None for number in range(1, 8)] == [True, *[False] * 4, True, True]
    ledger.close()
    again = SqliteLedger(path, authors=3)
    again.remember(entry(9, 1, round=9))
    assert not again.recent(friend)  # nobody has said yet who is known: the lowest round goes
    assert again.recent(peer(8))
    again.close()


def test_a_damaged_or_later_ledger_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match="cannot use the ledger"):
        SqliteLedger(path)
    path.unlink()
    ledger = SqliteLedger(path)
    ledger._durable.execute("PRAGMA user_version = 7")
    ledger.close()
    with pytest.raises(StoreError, match="has format 7"):
        SqliteLedger(path)


def test_the_newest_two_checkpoints_are_kept_with_what_training_carries_over(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 3)
    assert folder.load() is None
    state = TrainState((torch.ones(3), torch.zeros(3)), 7, {"norm.mean": torch.arange(2.0)})
    for round in (1, 2, 3):
        folder.save(round, torch.full((3,), float(round)), state)
    loaded = folder.load()
    assert loaded is not None
    assert (loaded.round, loaded.params.tolist(), loaded.state.steps) == (3, [3, 3, 3], 7)
    assert [moment.tolist() for moment in loaded.state.moments] == [[1, 1, 1], [0, 0, 0]]
    assert loaded.state.buffers["norm.mean"].tolist() == [0, 1]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    folder = CheckpointFolder(tmp_path, 3)
    folder.save(1, torch.ones(3), None)
    folder.save(2, torch.ones(3), None)
    newest = max(tmp_path.iterdir())
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes({"flip": bytes(content), "cut": bytes(content[:20]), "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        loaded = folder.load()
    assert loaded is not None
    assert loaded.round == 1
    assert "damaged checkpoint=round-000000000002" in caplog.text


def test_a_checkpoint_of_another_model_or_with_nan_is_passed_over(tmp_path: Path) -> None:
    CheckpointFolder(tmp_path, 4).save(1, torch.ones(4), None)
    CheckpointFolder(tmp_path, 3).save(2, torch.tensor([1.0, float("nan"), 0.0]), None)
    assert CheckpointFolder(tmp_path, 3).load() is None


def test_a_save_that_was_cut_short_leaves_the_old_ones(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, 3)
    folder.save(1, torch.ones(3), None)
    (tmp_path / "writing.tmp").write_bytes(b"half")
    loaded = folder.load()
    assert loaded is not None
    assert loaded.round == 1


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(StoreError, match="cannot write to"):
        Store(blocked / "state", 3)
    with pytest.raises(StoreError, match="cannot write a checkpoint"):
        CheckpointFolder(tmp_path / "gone", 3).save(1, torch.ones(3), None)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Store(tmp_path, 3) as first:
        assert first.ledger.head() is None
        with pytest.raises(Busy, match="another process runs the node"):
            Store(tmp_path, 3)
    Store(tmp_path, 3).close()
    (tmp_path / "ledger.sqlite").write_bytes(b"garbage" * 1000)
    for _ in range(2):  # the lock is let go after a failure
        with pytest.raises(StoreError, match="ledger"):
            Store(tmp_path, 3)


def test_what_is_in_it_is_the_owners_alone(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    with Store(tmp_path / "state", 3):
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_one_key_signs_in_one_process_whatever_folder_the_rest_is_in(tmp_path: Path) -> None:
    key = tmp_path / "key"
    SigningKey.generate().save(key)
    with Store(tmp_path / "one", 3, key=key):
        for _ in range(2):
            with pytest.raises(Busy, match="another process signs with"):
                Store(tmp_path / "two", 3, key=key)
    Store(tmp_path / "two", 3, key=key).close()
    assert SigningKey.load(key)
    with pytest.raises(StoreError, match="cannot lock the key file"):
        Store(tmp_path / "two", 3, key=tmp_path / "gone")


def test_a_model_without_its_ledger_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path, 3) as store:
        assert store.resume() is None
        store.ledger.append(entry(1, 1), b"payload")
        store.checkpoints.save(2, torch.ones(3), None)
        assert store.resume() is not None
    for path in tmp_path.glob("ledger*"):
        path.unlink()
    with Store(tmp_path, 3) as store:
        for use in (store.resume, store.forget_training):
            with pytest.raises(StoreError, match=r"model of round 2, but its ledger is empty.*new folder"):
                use()


def test_a_model_of_another_task_is_refused_until_it_is_forgotten(tmp_path: Path) -> None:
    with Store(tmp_path, 3, "one") as store:
        store.ledger.append(entry(1, 1), b"payload")
        store.checkpoints.save(2, torch.ones(3), None)
        assert store.resume() is not None
    with Store(tmp_path, 3, "other") as store:
        with pytest.raises(StoreError, match="--forget-training"):
            store.resume()
        store.forget_training()
        assert store.resume() is None
        assert store.ledger.head() == entry(1, 1)  # the chain goes on
        assert store.ledger.payload(1) is None


def test_a_damaged_page_is_found_at_the_start(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path)
    for sequence in range(1, 200):
        ledger.append(entry(1, sequence), b"payload" * 100)
    ledger.close()
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 2048)
    with pytest.raises(StoreError, match=r"cannot use the ledger.*restore it from a backup, or begin in a new folder"):
        SqliteLedger(path)


def test_a_full_disk_is_a_fault_that_passes_and_leaves_the_ledger_as_it_was(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    ledger.append(entry(1, 1), b"payload")
    (pages,) = ledger._durable.execute("PRAGMA page_count").fetchone()
    ledger._durable.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFault, match=r"cannot write the header of round 2.*full"):
        ledger.append(entry(1, 2), b"payload" * 10_000)
    assert ledger.head() == entry(1, 1)
    ledger._durable.execute("PRAGMA max_page_count = 1000000")
    ledger.append(entry(1, 2), b"payload" * 10_000)
    assert ledger.head() == entry(1, 2)
    ledger.close()


def test_a_ledger_of_the_format_before_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path)
    ledger.append(entry(1, 1), b"payload")
    ledger._durable.executescript("DROP TABLE linked; DROP TABLE served; PRAGMA user_version = 1;")
    ledger.close()
    again = SqliteLedger(path)
    assert again.head() == entry(1, 1)
    assert (again.linked(), again.served()) == (frozenset(), {})
    again.close()


def test_who_was_met_and_who_has_served_outlive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    ledger = SqliteLedger(path)
    for number in (*range(1, LINKED + 3), 4):
        ledger.link(peer(number))
    ledger.unlink([peer(5)])
    ledger.serve({peer(2): 256, peer(1): 3})
    ledger.serve({peer(1): 4})
    ledger.close()
    again = SqliteLedger(path)
    assert again.linked() == {peer(number) for number in range(3, LINKED + 3)} - {peer(5)}
    assert again.served() == {peer(1): 4}
    again.close()


def test_a_wish_of_another_process_waits_until_it_is_answered(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    assert not ledger.wished("rollback")
    wish = Wish(tmp_path / "ledger.sqlite", "rollback")
    wish.make()
    assert wish.answered() is None
    assert ledger.wished("rollback")
    assert not ledger.wished("something else")
    ledger.answer("rollback", "done")
    assert wish.answered() == "done"
    assert not ledger.wished("rollback")
    wish.make()
    assert (ledger.wished("rollback"), wish.answered()) == (True, None)
    wish.close()
    ledger.close()
    with pytest.raises(LocalFault, match="the ledger cannot be opened"):
        Wish(tmp_path / "nowhere.sqlite", "rollback")


def test_a_stopped_node_goes_back_to_its_last_good_model_after_all_that_it_signed(tmp_path: Path) -> None:
    with Store(tmp_path, 3) as store:
        assert store.go_back() is None
        store.ledger.append(entry(1, 1, 40), b"payload")
        store.good.save(12, torch.full((3,), 12.0), None, 0.97)
        store.checkpoints.save(39, torch.full((3,), 39.0), None)
        store.checkpoints.save(41, torch.full((3,), 40.0), None)
        went = store.go_back()
        assert went is not None
        assert (went[0].round, went[0].accuracy, went[1]) == (12, 0.97, 41)
        resumed = store.resume()
        assert resumed is not None
        assert (resumed.round, resumed.params.tolist()) == (41, [12.0] * 3)
        store.forget_training()
        assert store.go_back() is None
