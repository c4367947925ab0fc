"""The status page over real HTTP, and the small parts around it: opinions, the worker, words of the command line."""

from __future__ import annotations

import asyncio
import http.client
import time
from pathlib import Path
from typing import Any

import pytest
from peers import peer
from prometheus_client import CollectorRegistry

from aggregation.evidence import Verdict
from node.daemon import init_node, parse_values
from node.errors import ConfigError, NodeError
from node.show.page import COLOURS, GONE, afar, link_of, ranked, render
from node.show.status import FOUND_IN, StatusServer, _Metrics, fetch_status, status_address
from node.store.record import NeighbourRecord
from node.trust.opinions import FADED, WHY, Opinions
from node.worker import Worker


def status(**changes: Any) -> dict[str, Any]:
    known = {"peer": "a" * 52, "connected": True, "standing": "named", "round": 3, "trust": 1.0, "lag_seconds": 0.25}
    gone = {"peer": "b" * 52, "connected": False, "round": None, "trust": None, "lag_seconds": None}
    return {
        "version": "1",
        "peer": "c" * 52,
        "network": "n",
        "task": "digits",
        "rule": "mean",
        "address": "h:1",
        "phase": "waiting",
        "round": 3,
        "rounds_played": 2,
        "accuracy": 0.5,
        "uptime_seconds": 9.0,
        "diverged": 0,
        "last_round": {"duration": 1.5, "waited": 0.5, "deadline": 2.0, "train_seconds": 0.75},
        "neighbours": [
            {**known, "weight": 0.5, "verdict": "similar", "history": []},
            {**gone, "weight": None, "verdict": None, "history": []},
        ],
        "dropped": {"replay": 4},
        **changes,
    }


async def test_the_page_the_json_and_the_metrics_say_the_same(tmp_path: Path) -> None:
    server = StatusServer(status)
    address = await server.start("127.0.0.1:0")
    try:
        got = await asyncio.to_thread(fetch_status, address)
        assert got["neighbours"] == status()["neighbours"]
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / FOUND_IN).write_text(address + "\n")
        by_folder = await asyncio.to_thread(fetch_status, tmp_path)
        assert by_folder["neighbours"] == got["neighbours"]
        assert got["loop_lag_seconds"] == {"last": 0.0, "worst": 0.0}
        metrics = await asyncio.to_thread(read, address, "/metrics")
        for line in (
            "hedgerow_round 3.0",
            "hedgerow_accuracy 0.5",
            'hedgerow_dropped_total{reason="replay"} 4.0',
            f'hedgerow_neighbour_weight{{peer="{"a" * 52}"}} 0.5',
            f'hedgerow_neighbour_verdict{{peer="{"a" * 52}",verdict="similar"}} 1.0',
            "hedgerow_neighbours 1.0",
            "hedgerow_duration_seconds 1.5",
            "hedgerow_train_seconds 0.75",
            "hedgerow_loop_lag_seconds_count",
        ):
            assert line in metrics
        page = await asyncio.to_thread(read, address, "/")
        assert "round 3, accuracy 50.0%" in page
        assert "similar" in page
        with pytest.raises(ConfigError, match="cannot listen on"):
            await StatusServer(status).start(address)
    finally:
        await server.close()
        await server.close()
    with pytest.raises(NodeError, match="nobody answers"):
        await asyncio.to_thread(fetch_status, address)


async def test_a_late_loop_is_noticed() -> None:
    server = StatusServer(lambda: status(accuracy=None, last_round=None, neighbours=[]))
    address = await server.start("127.0.0.1:0")
    await asyncio.sleep(0.01)
    time.sleep(0.5)  # noqa: ASYNC251 - the loop is held up on purpose
    await asyncio.sleep(0.01)
    assert server.lag.worst > 0.1
    assert "hedgerow_accuracy" not in await asyncio.to_thread(read, address, "/metrics")
    await server.close()


async def test_something_else_at_the_address_is_no_node() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n[]")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    with pytest.raises(NodeError, match="not a hedgerow status page"):
        await asyncio.to_thread(fetch_status, f"127.0.0.1:{port}")
    other.close()
    with pytest.raises(ConfigError, match="neither a node's folder nor HOST:PORT"):
        fetch_status("nowhere")


def test_a_folder_tells_where_the_page_of_its_node_is(tmp_path: Path) -> None:
    assert status_address("host:80") == "host:80"
    with pytest.raises(NodeError, match="holds no node: make one with `hedgerow init"):
        status_address(tmp_path)
    init_node(tmp_path / "a", {"store": {"folder": "elsewhere"}})
    with pytest.raises(NodeError, match=r"start it with `hedgerow run .*/a`$"):
        status_address(tmp_path / "a")
    (tmp_path / "a" / "elsewhere").mkdir()
    (tmp_path / "a" / "elsewhere" / FOUND_IN).write_text("host:81\n")
    assert status_address(tmp_path / "a") == "host:81"
    assert status_address(str(tmp_path / "a")) == "host:81"


def test_a_folder_whose_node_was_killed_says_how_far_it_came(tmp_path: Path) -> None:
    init_node(tmp_path)
    state = tmp_path / "state"
    state.mkdir()
    (state / FOUND_IN).write_text("127.0.0.1:1\n")
    with pytest.raises(
        NodeError, match=r"start it with `hedgerow run .*` \(it was killed: its page was at 127.0.0.1:1"
    ):
        fetch_status(tmp_path)
    (state / "rounds.jsonl").write_text(
        '{"round": 6, "accuracy": null}\n{"round": 7, "accuracy": 0.5}\n{"round": 8, "ac'
    )
    with pytest.raises(NodeError, match=r"its last round was 7, accuracy 50\.0%"):
        fetch_status(tmp_path)
    (state / "rounds.jsonl").write_text('{"round": 6, "accuracy": null}\n')
    with pytest.raises(NodeError, match="its last round was 6 "):
        fetch_status(tmp_path)


def test_the_page_before_the_first_round() -> None:
    assert "not measured yet" in render(status(accuracy=None))
    assert "nobody yet" in render(status(neighbours=[]))


def test_names_are_beside_peer_ids_and_escaped_and_whoever_asks_is_there_with_what_to_type() -> None:
    known = {**status()["neighbours"][0], "name": "<b>bob&co</b>"}
    ask = {"peer": "d" * 52, "since": 7, "type": "hedgerow trust '<i>' " + "d" * 52}
    page = render(status(neighbours=[known], asks=[ask]))
    assert "&lt;b&gt;bob&amp;co&lt;/b&gt; (aaaaaaaa...)" in page
    assert "since round 7" in page
    assert "hedgerow trust &#x27;&lt;i&gt;&#x27; " + "d" * 52 in page
    assert "<b>" not in page
    assert "<i>" not in page
    assert "asks to be known" not in render(status())


def test_the_page_says_who_misbehaved_how_and_since_when() -> None:
    history = [{"round": r, "weight": r / 2, "verdict": v} for r, v in enumerate(("absent", "duplicate", "taken"))]
    bad = {"peer": "b" * 52, "connected": True, "standing": "named", "round": 3, "trust": 0.25, "lag_seconds": 1.25}
    bad |= {"weight": 1.0, "verdict": "taken", "history": history, "remarks": ["3 x <forged> signature"]}
    course = [{"round": r, "accuracy": r / 4, "seconds": 1.0} for r in range(3)]
    page = render(status(neighbours=[bad], course=course, task="<b>"))
    assert "3 x &lt;forged&gt; signature" in page
    assert "slow: its update is in time in 25% of rounds, 1.2 s after us" in page
    assert "round 1: duplicate, weight 0.50" in page
    assert page.count("<rect") == 3
    assert "polyline" in page
    assert "acts like a nearer neighbour" in page
    assert "<b>" not in page


def test_of_those_that_left_the_guilty_and_the_latest_are_shown() -> None:
    def left(name: str, round: int, *remarks: str) -> dict[str, Any]:
        return {"peer": name, "connected": False, "history": [{"round": round}], "remarks": list(remarks)}

    gone = [left(str(number), number) for number in range(GONE + 3)]
    here = {"peer": "z", "connected": True, "standing": "named", "history": []}
    shown, hidden = ranked([left("bad", 0, "lied"), *gone, here])
    assert [peer["peer"] for peer in shown[:3]] == ["z", "bad", str(GONE + 2)]
    assert len(shown) == GONE + 1
    assert hidden == 4


def test_every_verdict_has_its_words_and_its_colour() -> None:
    assert set(WHY) == set(COLOURS) >= {verdict.name.lower() for verdict in Verdict}


def test_opinions_are_bounded_in_both_directions() -> None:
    opinions = Opinions(rounds=3, peers=2)
    for round in range(5):
        opinions.note(round, [NeighbourRecord(peer(1), 0.5, Verdict.SIMILAR)])
    opinions.note(5, [NeighbourRecord(peer(2), 1.0, Verdict.TAKEN), NeighbourRecord(peer(3), 0.0, Verdict.ABSENT)])
    assert list(opinions) == [peer(2), peer(3)]
    opinions.note(6, [NeighbourRecord(peer(2), 1.0, Verdict.TAKEN)] * 4)
    assert [opinion.round for opinion in opinions.of(peer(2))] == [6, 6, 6]
    assert opinions.of(peer(1)) == ()


def test_who_was_not_judged_for_long_is_forgotten() -> None:
    opinions = Opinions()
    for number, round in ((1, 0), (2, 5), (3, FADED), (3, FADED + 4)):
        opinions.note(round, [NeighbourRecord(peer(number), 1.0, Verdict.TAKEN)])
    assert list(opinions) == [peer(2), peer(3)]
    opinions.note(FADED + 5, [])
    assert list(opinions) == [peer(3)]


def test_who_is_distrusted_is_said_to_be_it_and_shown_also_when_it_is_gone() -> None:
    gone = {"connected": False, "round": None, "trust": None, "lag_seconds": None, "weight": None, "verdict": None}
    others = [
        {
            **gone,
            "peer": f"{number:052}",
            "standing": "stranger",
            "history": [{"round": 9, "weight": 1, "verdict": "taken"}],
        }
        for number in range(GONE + 4)
    ]
    bad = {**gone, "peer": "z" * 52, "standing": "distrusted", "history": []}
    shown, hidden = ranked([*others, bad])
    assert (shown[0], hidden) == (bad, 5)
    assert [link_of(each) for each in shown[:2]] == ["distrusted", "gone"]
    assert '<td class="link">distrusted<' in render(status(neighbours=[bad]))


def test_the_worker_runs_calls_in_order_and_hands_on_errors() -> None:
    worker = Worker("test")
    order: list[int] = []
    futures = [worker.submit(order.append, number) for number in range(5)]
    failing = worker.submit(lambda: 1 // 0)
    for future in futures:
        future.result(5)
    with pytest.raises(ZeroDivisionError):
        failing.result(5)
    slow = worker.submit(time.sleep, 0.05)
    waiting = worker.submit(order.append, 9)
    assert worker.busy
    assert waiting.cancel()
    slow.result(5)
    worker.shutdown()
    assert order == list(range(5))
    assert not worker.busy


def test_settings_from_words() -> None:
    words = ["network.listen=127.0.0.1:0", "round.pace=0.5", 'network.join=["h:1"]', "rule.name=mean"]
    assert parse_values(words) == {
        "network": {"listen": "127.0.0.1:0", "join": ["h:1"]},
        "round": {"pace": 0.5},
        "rule": {"name": "mean"},
    }
    with pytest.raises(ConfigError, match=r"not SECTION\.KEY=VALUE"):
        parse_values(["pace=1"])


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST", 200),
        ("[::1]:{port}", 200),
        ("10.0.0.7", 200),
        ("elsewhere.example:{port}", 421),
        ("127.0.0.1.elsewhere.example", 421),
        ("localhost.elsewhere.example:{port}", 421),
    ],
)
async def test_the_page_is_for_who_names_it_by_an_address_and_nothing_frames_it(host: str, answer: int) -> None:
    server = StatusServer(status)
    address = await server.start("127.0.0.1:0")

    def ask() -> tuple[int, Any]:
        connection = http.client.HTTPConnection(address, timeout=5)
        connection.request("GET", "/", headers={"Host": host.format(port=address.rpartition(":")[2])})
        got = connection.getresponse()
        got.read()
        connection.close()
        return got.status, got.headers

    try:
        code, headers = await asyncio.to_thread(ask)
        assert code == answer
        if answer == 200:
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert "default-src 'none'" in headers["Content-Security-Policy"]
            assert headers["X-Frame-Options"] == "DENY"
    finally:
        await server.close()


def read(address: str, path: str) -> str:
    connection = http.client.HTTPConnection(address, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    assert answer.status == 200
    return text


def test_what_hurt_a_node_is_on_its_page_and_in_its_metrics() -> None:
    alone, fell = "training alone since round 2: <nobody>", "accuracy fell from 97 % to 0 % in round 249"
    hurt = status(
        alarms=[fell, alone],
        alone=alone,
        last_line={"braked": 3, "kept": 1, "unbacked": 20},
        last_good={"round": 240, "accuracy": 0.97, "fallen": True},
    )
    page = render(hurt)
    assert page.index("training alone since round 2: &lt;nobody&gt;") < page.index("<h1>")
    assert page.count("training alone") == 1
    assert fell in page
    assert "3 rounds decided once more, 1 kept as trained, 20 without anybody known" in page
    assert "last good model: round 240, accuracy 97.0%" in page
    registry = CollectorRegistry()
    registry.register(_Metrics(lambda: hurt))
    for name, labels, value in (
        ("hedgerow_last_line_total", {"did": "braked"}, 3),
        ("hedgerow_alone", {}, 1),
        ("hedgerow_fallen", {}, 1),
        ("hedgerow_last_good_round", {}, 240),
        ("hedgerow_last_good_accuracy", {}, 0.97),
    ):
        assert registry.get_sample_value(name, labels) == value


@pytest.mark.parametrize(
    ("far", "sentence"),
    [
        ({"wanted": 4, "known": 9, "drawn": ["a", "b", "c", "d"], "heard": ["a", "d"], "near": 1}, "2 of 4 peers that"),
        ({"wanted": 4, "known": 2, "drawn": ["a", "b"], "heard": ["b"], "near": 0}, "far = 4 but only 2 are known"),
        ({"wanted": 4, "known": 0, "drawn": [], "heard": [], "near": 0}, ""),
        ({"wanted": 0, "known": 3, "drawn": [], "heard": [], "near": 0}, ""),
        (None, ""),
    ],
)
def test_what_was_heard_from_afar_is_a_sentence_where_there_is_anybody_to_hear(
    far: dict[str, Any] | None, sentence: str
) -> None:
    assert sentence in afar(status(far=far))
    assert bool(afar(status(far=far))) == bool(sentence)
    assert sentence in render(status(far=far))
    metrics = {metric.name: metric for metric in _Metrics(lambda: status(far=far)).collect()}
    assert ("hedgerow_far_heard" in metrics) == (far is not None)
    if far is not None:
        assert metrics["hedgerow_far_heard"].samples[0].value == len(far["heard"])
        assert metrics["hedgerow_far_drawn"].samples[0].value == len(far["drawn"])
        assert metrics["hedgerow_near_by_vouches"].samples[0].value == far["near"]


def test_who_has_standing_by_vouches_is_shown_with_it() -> None:
    peers = [{**status()["neighbours"][0], "vouched": 0.031}]
    page = render(status(neighbours=peers))
    assert "trust 3.1%" in page
    assert "flows to a peer" in page


def test_every_word_of_a_verdict_has_its_colour() -> None:
    assert COLOURS.keys() == WHY.keys()
