"""A hundred kill -9 while publishing: no self-equivocation, no committed update lost, always a checkpoint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from daemons import ROOT

from gossip.protocol.codec import UPDATE, decode_frame, decode_header
from gossip.protocol.limits import Limits
from gossip.protocol.messages import Announce
from identity.envelope import digest_of, open_envelope
from node.store.folder import Store

KILLS = 100


def test_a_hundred_kills_make_no_contradiction_and_lose_no_update(tmp_path: Path) -> None:
    script = Path(__file__).with_name("publisher.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "node"), str(KILLS)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    left: dict[int, bytes] = {}
    rounds: dict[int, bytes] = {}
    children = set()
    for line in done.stdout.splitlines():
        child, frame = line.split()
        children.add(child)
        message = decode_frame(bytes.fromhex(frame), Limits())
        assert isinstance(message, Announce)
        body = open_envelope(message.envelope, UPDATE).body
        header, digest = decode_header(body, Limits()), digest_of(UPDATE, body)
        assert left.setdefault(header.sequence, digest) == digest  # no two headers for one sequence
        assert rounds.setdefault(header.round, digest) == digest  # nor for one round
    assert len(left) > KILLS // 4
    assert len(children) >= KILLS // 2
    with Store(tmp_path / "node", 64) as store:
        kept = {entry.sequence: entry.digest for entry in store.ledger.own(1, 10**9)}
        head = store.ledger.head()
        assert head is not None
        assert store.ledger.payload(head.sequence) is not None
        checkpoint = store.checkpoints.load()
    assert all(kept.get(sequence) == digest for sequence, digest in left.items())  # what left was durable
    assert sorted(kept) == list(range(1, len(kept) + 1))
    assert checkpoint is not None
    assert head.round <= checkpoint.round <= head.round + 1
