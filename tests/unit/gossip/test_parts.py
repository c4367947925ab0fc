"""The small parts of gossip: buckets, blobs, queues, address books, waits, the ledger in memory."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from wire_rig import NETWORK, Author, Desk, author

from gossip.chain.ledger import Entry, MemoryLedger, Proof
from gossip.protocol.address import dialable, locate, public
from gossip.protocol.codec import RECORD, encode_record
from gossip.protocol.errors import BadAddress, Drop, RemoteFault
from gossip.protocol.limits import Limits
from gossip.protocol.messages import PeerRecord
from gossip.protocol.rates import Bucket
from gossip.reach.book import AddressBook
from gossip.reach.dialer import Dialer, backoff, split_address
from gossip.transport.blobs import Assembly, BlobStore
from gossip.transport.executors import OFFLOAD_BYTES, InlineExecutor, offload
from gossip.transport.outbox import Outbox
from gossip.transport.outward import Outward
from gossip.transport.slots import Guest, group_of, who_goes
from identity.envelope import seal
from identity.errors import BadPeerId
from identity.keys import PeerId, format_peer


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = Bucket.full(rate=2.0, burst=3.0, now=10.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(10.5) for _ in range(2)] == [True, False]
    assert [bucket.take(1e9) for _ in range(4)] == [True, True, True, False]


@given(rate=st.floats(0.001, 1000), now=st.floats(0, 1e6), spent=st.floats(1, 8), count=st.floats(0.1, 8))
def test_who_waits_as_long_as_a_bucket_says_finds_its_token(
    rate: float, now: float, spent: float, count: float
) -> None:
    bucket = Bucket.full(rate, 8.0, now)
    bucket.owe(now, spent)
    assert bucket.take(now + bucket.due(now, count), count)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    bucket = Bucket.full(rate=1.0, burst=1.0, now=100.0)
    assert bucket.take(100.0)
    assert not bucket.take(0.0)
    assert not bucket.take(100.5)


def test_an_assembly_takes_exactly_the_bytes_that_were_named() -> None:
    blob = bytes(range(256)) * 4
    assembly = Assembly(hashlib.sha256(blob).digest(), len(blob))
    for at in range(0, len(blob), 100):
        assembly.write(blob[at : at + 100])
        if at == 500:
            assembly.digest_until(assembly.filled)
            assert assembly.unhashed == 0
    assert assembly.unhashed == len(blob) - 600
    assert assembly.finish() == blob
    with pytest.raises(RemoteFault) as more:
        assembly.write(b"x")
    assert more.value.reason is Drop.LENGTH
    short = Assembly(bytes(32), 2)
    short.write(b"x")
    with pytest.raises(RemoteFault) as fewer:
        short.finish()
    assert fewer.value.reason is Drop.LENGTH


def test_the_store_forgets_the_least_recently_used_but_never_the_pinned() -> None:
    store = BlobStore(limit=30)
    store.put(b"own", bytes(10), pin=True)
    store.put(b"a", bytes(10))
    store.put(b"b", bytes(10))
    assert store.get(b"a") is not None
    store.put(b"c", bytes(10))
    assert (b"own" in store, b"a" in store, b"b" in store, b"c" in store) == (True, True, False, True)
    assert store.nbytes == 30
    assert store.get(b"b") is None
    store.put(b"own", bytes(10))
    assert len(store) == 3
    store.put(b"huge", bytes(100))
    assert (len(store), b"own" in store, b"huge" in store) == (2, True, True)
    store.put(b"next", bytes(10), pin=True)
    assert (b"own" in store, b"huge" in store, b"next" in store) == (False, False, True)


async def test_an_outbox_replaces_by_key_and_loses_its_oldest() -> None:
    box = Outbox(2)
    assert box.put(b"1", b"k")
    assert box.put(b"2")
    assert box.put(b"3", b"k")
    assert not box.put(b"4")
    assert len(box) == 2
    assert [await box.get(), await box.get()] == [b"2", b"4"]
    waiting = asyncio.ensure_future(box.get())
    await asyncio.sleep(0)
    box.put(b"5")
    assert await waiting == b"5"
    box.put(b"6")
    box.close()
    assert [await box.get(), await box.get()] == [b"6", None]


async def test_work_runs_inline_when_small_and_elsewhere_when_large() -> None:
    import threading

    with ThreadPoolExecutor(1) as pool:
        assert await offload(pool, 10, threading.get_ident) == threading.get_ident()
        assert await offload(pool, OFFLOAD_BYTES, threading.get_ident) != threading.get_ident()
    inline = InlineExecutor()
    assert await offload(inline, OFFLOAD_BYTES, threading.get_ident) == threading.get_ident()
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(inline, threading.get_ident) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(inline, lambda: 1 // 0)


def record(who: Author, address: str = "host:1", sequence: int = 1, **changes: object) -> bytes:
    fields: dict[str, object] = {"network": NETWORK, "peer": who.peer, "address": address, "sequence": sequence}
    return seal(who.key, RECORD, encode_record(PeerRecord(**{**fields, **changes})))  # type: ignore[arg-type]


def test_a_book_keeps_the_newest_record_of_each_peer() -> None:
    me, one, two = author(1), author(2), author(3)
    book = AddressBook(me.peer, NETWORK, Limits(records=2))
    assert book.learn(record(one, "old:1", 1), one.peer) is not None
    assert book.learn(record(one, "new:1", 2), two.peer) is not None
    assert book.learn(record(one, "older:1", 1), one.peer) is None
    assert book.learn(record(me), one.peer) is None
    assert book.learn(record(two, "", 1), two.peer) is not None
    assert book.candidates() == ((one.peer, "new:1"),)
    assert book.envelopes(one.peer, 8) == (record(two, "", 1),)
    assert book.envelopes(me.peer, 1) == (record(two, "", 1),)
    book.learn(record(author(4)), two.peer)
    assert len(book) == 2


def test_one_introducer_or_network_fills_a_share_of_the_book_and_pushes_out_its_own() -> None:
    liar, friend = author(2).peer, author(3).peer
    book = AddressBook(author(1).peer, NETWORK, Limits(records=12, introduced=6, neighbourhood=4))
    for number in range(10, 14):
        book.learn(record(author(number), f"host:{number}"), friend)
    for number in range(20, 60):
        book.learn(record(author(number), f"8.8.{number}.1:1"), liar)
    addresses = [address for _, address in book.candidates()]
    assert sorted(addresses) == sorted([f"host:{n}" for n in range(10, 14)] + [f"8.8.{n}.1:1" for n in range(54, 60)])
    for number in range(60, 70):
        book.learn(record(author(number), f"9.9.9.{number}:1"), author(number).peer)
    assert sum(address.startswith("9.9.9.") for _, address in book.candidates()) == 4
    assert len(book) == 12


def test_a_book_filled_by_one_peer_gives_it_one_draw_among_introducers() -> None:
    liar = author(2).peer
    book = AddressBook(author(1).peer, NETWORK, Limits())
    for number in range(20, 50):
        book.learn(record(author(number), f"host:{number}"), liar)
    for number in (10, 11, 12):
        book.learn(record(author(number), f"host:{number}"), author(number).peer)
    choices = [peer for peer, _ in book.candidates()]
    honest = {author(number).peer for number in (10, 11, 12)}
    generator = np.random.default_rng(0)
    drawn = [book.draw(generator, choices) for _ in range(400)]
    assert 270 <= sum(peer in honest for peer in drawn) <= 330  # 3 of 4 turns; 3 of 33 if peers were drawn at once


@pytest.mark.parametrize(("seen", "taken"), [("8.8.8.8", ("host:1", "9.9.9.9:1")), ("10.0.0.9", None), ("", None)])
def test_a_book_takes_addresses_inside_from_those_inside_only(seen: str, taken: tuple[str, ...] | None) -> None:
    book = AddressBook(author(1).peer, NETWORK, Limits())
    told = ("host:1", "9.9.9.9:1", "10.0.0.1:1", "127.1:1", "[fe80::1]:1", "169.254.169.254:80", "localhost:1")
    for number, address in enumerate(told, 10):
        book.learn(record(author(number), address), author(2).peer, seen)
    assert {address for _, address in book.candidates()} == set(told if taken is None else taken)
    assert len(book.envelopes(author(1).peer, 99)) == len(taken or told)


def test_a_book_takes_no_forged_foreign_or_misattributed_record() -> None:
    me, one, two = author(1), author(2), author(3)
    book = AddressBook(me.peer, NETWORK, Limits())
    for bad, reason in (
        (record(one)[:-1], Drop.BAD_SIGNATURE),
        (seal(one.key, RECORD, b"\x90"), Drop.MALFORMED),
        (record(one, peer=two.peer), Drop.WRONG_AUTHOR),
        (record(one, network=bytes(32)), Drop.WRONG_NETWORK),
        (record(one, version=2), Drop.WRONG_VERSION),
        (seal(one.key, RECORD, bytes(300)), Drop.OVERSIZE),
    ):
        with pytest.raises(RemoteFault) as fault:
            book.learn(bad, two.peer)
        assert fault.value.reason is reason
    assert len(book) == 0


def test_an_address_may_name_whom_to_expect() -> None:
    peer = author(2).peer
    assert split_address("host:1") == (None, "host:1")
    assert split_address(f"{format_peer(peer)}@host:1") == (peer, "host:1")
    with pytest.raises(BadPeerId):
        split_address("nobody@host:1")


def test_waits_are_jittered_fully_and_bounded() -> None:
    limits = Limits(retry_first=0.2, retry_cap=3.0)
    generator = np.random.default_rng(0)
    for failures in (0, 1, 3, 10, 10_000):
        ceiling = min(3.0, 0.2 * 2.0 ** min(failures, 16))
        waits = [backoff(generator, failures, limits) for _ in range(300)]
        assert 0 <= min(waits) < 0.1 * ceiling
        assert 0.9 * ceiling < max(waits) <= ceiling


async def dialled(
    desk: Desk, book: AddressBook, bootstrap: list[str], limits: Limits, named: list[tuple[PeerId, str]] | None = None
) -> list[Drop]:
    failures: list[Drop] = []
    dialer = Dialer(
        desk,
        book,
        bootstrap,
        np.random.default_rng(0),
        limits,
        lambda peer: peer != author(9).peer,
        lambda fault, address: failures.append(fault.reason),
        lambda peer, address: (named if named is not None else []).append((peer, address)),
    )
    task = asyncio.ensure_future(dialer.run())
    for _ in range(20):
        dialer.wake()
        await asyncio.sleep(0.002)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return failures


async def test_a_bootstrap_address_is_dialled_until_it_answers_and_again_when_it_leaves() -> None:
    desk, limits = Desk(), Limits(retry_first=0.001, degree=1)
    peer, tries = author(2).peer, 0

    def answer(address: str) -> PeerId | None:
        nonlocal tries
        tries += 1
        return peer if tries > 2 else None

    desk.answer = answer
    named: list[tuple[PeerId, str]] = []
    failures = await dialled(desk, AddressBook(author(1).peer, NETWORK, limits), ["host:1"], limits, named)
    assert named == [(peer, "host:1")]  # whoever answers where the operator said
    assert failures == [Drop.UNREACHABLE] * 2
    assert desk.dialled == [("host:1", None)] * 3
    desk.blobs.clear()
    assert not await dialled(desk, AddressBook(author(1).peer, NETWORK, limits), ["host:1"], limits)
    assert len(desk.dialled) == 4


async def test_peers_from_the_book_are_dialled_up_to_the_degree_and_never_those_not_allowed() -> None:
    desk, limits = Desk(), Limits(retry_first=0.001, degree=3)
    book = AddressBook(author(1).peer, NETWORK, limits)
    people = {f"host:{n}": author(n).peer for n in range(2, 10)}
    for n in range(2, 10):
        book.learn(record(author(n), f"host:{n}"), author(n).peer)
    desk.answer = lambda address: None if address == "host:3" else people[address]
    failures = await dialled(desk, book, [], limits)
    assert len(desk.connected()) == 3
    assert author(9).peer not in desk.connected()
    assert set(failures) <= {Drop.UNREACHABLE}


def test_the_ledger_in_memory_keeps_own_entries_and_the_newest_of_others() -> None:
    ledger, me, other = MemoryLedger(keep=2), author(1).peer, author(2).peer

    def entry(who: PeerId, sequence: int) -> Entry:
        return Entry(who, sequence, sequence, bytes([sequence]) * 32, bytes(32), b"envelope")

    assert ledger.head() is None
    ledger.append(entry(me, 1), memoryview(b"payload"))
    assert (ledger.payload(1), ledger.payload(2)) == (b"payload", None)
    ledger.adopt(entry(me, 4))
    assert ledger.head() == entry(me, 4)
    assert [one.sequence for one in ledger.own(1, 9)] == [1, 4]
    for sequence in (3, 1, 2, 3):
        ledger.remember(entry(other, sequence))
    assert [one.sequence for one in ledger.recent(other)] == [2, 3]
    assert ledger.proof(other) is None
    ledger.convict(Proof(other, b"1", b"2"))
    ledger.convict(Proof(other, b"3", b"4"))
    assert ledger.proof(other) == Proof(other, b"1", b"2")


PUBLIC = [ipaddress.ip_network(one) for one in ("8.8.8.0/24", "2a00:1450:4001::/48")]
_hexadecimal = st.one_of(st.integers(0, 2**32 - 1).map(hex), st.sampled_from(["0x", "0x7F000001"]))
_part = st.one_of(st.integers(0, 300).map(str), st.integers(0, 300).map(lambda n: f"0{n:o}"), _hexadecimal)
_spelled = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=4).map(lambda one: str(int(one))),
    st.lists(_part, min_size=1, max_size=4).map(".".join),
    st.ip_addresses(v=6).map(lambda one: f"[{one}]"),
    st.ip_addresses(v=4).map(lambda one: f"[::ffff:{one}]"),
    st.ip_addresses(v=4).map(lambda one: f"[64:ff9b::{one}]"),
    st.sampled_from(["localhost", "LocalHost", "any.localhost", "10.0.0.1", "192.168.1.1", "127.0.0.1", "127.0.0.1."]),
    st.sampled_from(["[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[fec0::1]", "[2002:7f00:1::]", "100.64.0.1"]),
)
_outside = st.sampled_from(PUBLIC).flatmap(lambda network: st.ip_addresses(network=network))
_inside = st.sampled_from(["127.0.0.1", "10.1.2.3", "192.168.1.7", "::1", "fe80::1", "::ffff:10.0.0.1", ""])


@given(host=_spelled, port=st.integers(0, 65535), seen=_outside)
@example("169.254.169.254", 80, ipaddress.ip_address("8.8.8.8"))
@example("2130706433", 80, ipaddress.ip_address("8.8.8.8"))
@example("0x7f.1", 80, ipaddress.ip_address("8.8.8.8"))
def test_nobody_outside_leads_us_inside(
    host: str, port: int, seen: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    stated = f"{host}:{port}"
    located = locate(stated, str(seen))
    try:
        stated = str(dialable(stated))
    except BadAddress:
        stated = ""
    where = f"[{seen}]:{port}" if seen.version == 6 else f"{seen}:{port}"
    assert located in (stated, where, "")
    if located == stated and stated not in (where, ""):  # then it is where the system would connect to, and public
        (answer, *_) = socket.getaddrinfo(host.strip("[]"), port, flags=socket.AI_NUMERICHOST)
        assert ipaddress.ip_address(answer[4][0]).is_global
    if public(host.strip("[]")) is not None and stated:
        assert located == stated


@given(host=_spelled, port=st.integers(0, 65535), seen=_inside)
def test_whoever_is_inside_may_state_any_address(host: str, port: int, seen: str) -> None:
    try:
        stated = str(dialable(f"{host}:{port}"))
    except BadAddress:
        return
    assert locate(f"{host}:{port}", seen) == stated


@pytest.mark.parametrize(
    ("seen", "group"),
    [
        ("8.8.8.1", "8.8.8.0/24"),
        ("64:ff9b::8.8.8.9", "8.8.8.0/24"),
        ("2002:808:809::1", "8.8.8.0/24"),
        ("::ffff:8.8.8.9", "8.8.8.0/24"),
        ("2a00:1450:4001::1", "2a00:1450:4001::/48"),
        ("127.0.0.1", ""),
        ("10.1.2.3", ""),
        ("192.168.1.7", ""),
        ("::1", ""),
        ("fe80::1%eth0", ""),
        ("", ""),
        ("a name", ""),
    ],
)
def test_public_addresses_have_a_network_and_others_none(seen: str, group: str) -> None:
    assert group_of(seen) == group


def guest(number: int, group: str = "", known: bool = False, gave: int = 0) -> Guest:
    """Somebody who came as the `number`th."""
    return Guest(author(number).peer, known, group, gave, float(number))


PLACES = Limits(inbound=12, inbound_known=4, group=3)


def test_strangers_hold_no_more_than_their_places_and_one_public_network_a_few_of_them() -> None:
    inside = [guest(n, "8.8.8.0/24") for n in range(1, 4)]
    late = guest(50, "8.8.8.0/24")
    assert who_goes(late, inside, PLACES) is late
    assert who_goes(guest(50, "8.8.9.0/24"), inside, PLACES) is None
    inside += [guest(n) for n in range(4, 9)]  # eight strangers: all that they may be
    assert who_goes(guest(51), inside, PLACES) is inside[2]  # the last of the fullest network
    assert who_goes(guest(51), inside[3:] + [guest(n) for n in range(9, 12)], PLACES) == guest(51)


def test_a_known_peer_takes_the_place_of_the_stranger_that_has_done_least() -> None:
    friends = [guest(n, known=True) for n in range(1, 5)]
    strangers = [guest(n, gave=3 if n == 12 else 1) for n in range(5, 13)]
    friend = guest(60, known=True)
    assert who_goes(friend, friends[1:] + strangers, PLACES) is None
    assert who_goes(friend, friends + strangers, PLACES) == guest(11, gave=1)  # the latest of those that gave least
    crowd = [guest(n, "9.9.9.0/24", gave=9) for n in range(20, 23)]
    assert who_goes(friend, [*friends, *strangers[3:], *crowd], PLACES) in crowd
    full = [guest(n, known=True) for n in range(1, 13)]
    assert who_goes(friend, full, PLACES) is friend


def test_a_public_networks_places_are_not_counted_against_known_peers_of_it() -> None:
    inside = [guest(n, "8.8.8.0/24") for n in range(1, 4)]
    friend = guest(60, "8.8.8.0/24", known=True)
    assert who_goes(friend, inside, PLACES) is None
    assert who_goes(guest(61, "8.8.8.0/24"), [friend, *inside[:2]], PLACES) is None


async def test_whoever_dials_us_does_not_end_our_dialling() -> None:
    desk, limits = Desk(), Limits(retry_first=0.001)
    book = AddressBook(author(1).peer, NETWORK, limits)
    people = {f"host:{n}": author(n).peer for n in range(20, 30)}
    for n in range(20, 30):
        book.learn(record(author(n), f"host:{n}"), author(n).peer)
    desk.answer = people.get
    crowd = {author(n).peer: {} for n in range(40, 50)}
    desk.blobs.update(crowd)  # more than the degree, and all of them have dialled us
    await dialled(desk, book, [], limits)
    assert len(set(desk.connected()) - set(crowd)) == limits.dial
    for peer in list(desk.blobs):
        if peer not in crowd:
            del desk.blobs[peer]  # those that we dialled leave: others are dialled
    await dialled(desk, book, [], limits)
    assert len(set(desk.connected()) - set(crowd)) == limits.dial


async def test_a_location_that_failed_is_left_alone_for_a_while_that_doubles() -> None:
    outward = Outward(Limits(retry_first=100.0, retry_cap=1000.0, records=2))
    await outward.turn("host:1")
    outward.failed("host:1")
    with pytest.raises(RemoteFault):
        await outward.turn("host:1")
    outward.answered("host:1")
    await outward.turn("host:1", doubtful=True)
    with pytest.raises(RemoteFault):
        await outward.turn("host:1")
    for number in range(2, 5):
        outward.failed(f"host:{number}")
    await outward.turn("host:1")  # forgotten: two places are remembered


async def test_one_public_network_is_connected_to_one_by_one() -> None:
    outward = Outward(Limits(group=3, outward_rate=1e-3))
    for number in range(3):
        await outward.turn(f"8.8.8.{number}:1")
    late = asyncio.ensure_future(outward.turn("8.8.8.9:1"))
    for number in range(50):
        await outward.turn(f"10.0.0.{number}:1")
        await outward.turn(f"8.8.{number + 9}.1:1")
    assert not late.done()
    late.cancel()
