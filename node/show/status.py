"""The page that shows what a node thinks: `/` for people, `/v1/status` as JSON, `/metrics` for Prometheus.

Laws:
- Read-only: nothing here changes the node. Bound to loopback unless the user says otherwise.
- Whoever builds a status hands in plain values; this file knows HTTP and metric names, not the node.
- Answers only who names it by an address, as localhost, or by the name that it was told to listen at: a web page whose
  own name points here reads nothing. Nothing is loaded, framed or sent from the page.
- Sockets are counted before aiohttp sees them (`gossip.transport.gate`), and end after one answer.
- Where a node's page is stands in the node's state folder for as long as the node runs (`FOUND_IN`).
"""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from gossip.protocol.address import Address
from gossip.protocol.errors import BadAddress
from gossip.protocol.limits import Limits
from gossip.transport.gate import Gate
from node.config import FILE, StoreConfig, load_config
from node.errors import ConfigError, NodeError
from node.show.page import render
from node.store.journal import latest_record

Status = dict[str, Any]
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
FOUND_IN = "status"  # file in the state folder that holds the page's address
ANSWER_BYTES = 8 << 20  # of a status that we read: 256 peers with 64 opinions each are 1.5 MB
ANSWER_SECONDS = 5.0
_SAFE = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
LAG_EVERY = 0.25
LAG_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class LoopLag:
    """How late the event loop wakes us: watches itself every quarter of a second."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.last = 0.0
        self.worst = 0.0
        self._histogram = Histogram(
            "hedgerow_loop_lag_seconds", "How late the event loop runs", buckets=LAG_BUCKETS, registry=registry
        )

    async def watch(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            self.last = max(0.0, loop.time() - due)
            self.worst = max(self.worst, self.last)
            self._histogram.observe(self.last)


class StatusServer:
    """Serves one node's status.

    Args:
        read: the status now, as plain JSON values (see `node.show.snapshot`).
        limits: `page_sockets`, `files` and `hello` are used.
    """

    def __init__(self, read: Callable[[], Status], limits: Limits = Limits()) -> None:
        self._read = read
        self._limits = replace(limits, sockets=limits.page_sockets, sockets_known=0)
        self._gate: Gate | None = None
        self._host = ""
        self._registry = CollectorRegistry()
        self._registry.register(_Metrics(read))
        self.lag = LoopLag(self._registry)
        self._runner: web.AppRunner | None = None
        self._server: asyncio.Server | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self, listen: str) -> str:
        """Begin to serve at "HOST:PORT" (port 0: any free one); returns the address.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        app = web.Application(middlewares=[self._once], client_max_size=0)
        app.add_routes(
            [web.get("/", self._page), web.get("/v1/status", self._status), web.get("/metrics", self._metrics)]
        )
        address = Address.parse(listen)
        self._host = address.host
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        assert self._runner.server is not None
        self._gate = Gate(self._runner.server, self._limits)
        try:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(self._gate.enter, address.host, address.port, backlog=128)
        except OSError as error:
            await self.close()
            raise ConfigError(f"[status] listen: cannot listen on {listen}: {error.strerror}") from None
        self._watching = asyncio.get_running_loop().create_task(self.lag.watch(), name="loop-lag")
        return str(Address(address.host, self._server.sockets[0].getsockname()[1]))

    async def close(self) -> None:
        """Stop serving. Safe to call twice."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
            self._watching = None
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._gate is not None:
            self._gate.close()

    @web.middleware
    async def _once(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """One answer a socket: whoever wants another one comes again."""
        assert self._gate is not None
        self._gate.busy(request.protocol)
        try:
            if not self._named(request.host):
                raise web.HTTPMisdirectedRequest(text="open this page by an IP address, or as localhost\n")
            response = await handler(request)
        except web.HTTPException as other:  # no such path, or another method
            other.force_close()
            raise
        response.headers.update(_SAFE)
        response.force_close()
        return response

    def _named(self, host: str) -> bool:
        """Whether a Host field names this page as a person would."""
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        name = name.strip("[]").casefold()
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in ("localhost", self._host.casefold())
        return True

    async def _status(self, request: web.Request) -> web.Response:
        lag = {"last": self.lag.last, "worst": self.lag.worst}
        return web.json_response({**self._read(), "loop_lag_seconds": lag})

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=render(self._read()), content_type="text/html")


def status_address(folder_or_address: str | Path) -> str:
    """Where the page of a node is: of the one that runs in a folder, or the address as it was given.

    Args:
        folder_or_address: a node's folder (as `hedgerow init` made it), or "HOST:PORT".

    Raises:
        ConfigError: the folder's node.toml does not hold together.
        NodeError: no node runs in the folder, or it shows no page.
    """
    folder = Path(folder_or_address)
    if not folder.is_dir():
        return str(folder_or_address)
    state = _state(folder)
    try:
        return (state / FOUND_IN).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise NodeError(_stopped(folder)) from None
    except OSError as error:
        raise NodeError(f"cannot read the status address in {folder}: {error.strerror}") from None


def fetch_status(folder_or_address: str | Path) -> Status:
    """The status of the node that runs in a folder, or whose page is at "HOST:PORT".

    Raises:
        ConfigError: that is no address.
        NodeError: nobody answers there (of a folder: with what its records say last), or it is not a node.
    """
    address = status_address(folder_or_address)
    try:
        where = Address.parse(address.removeprefix("http://").rstrip("/"))
    except BadAddress:
        where = Address("", 0)
    if not where.host or not where.port:
        raise ConfigError(f"'{address}' is neither a node's folder nor HOST:PORT of its status page")
    connection = http.client.HTTPConnection(where.host, where.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/v1/status")
        answer = connection.getresponse()
        content = answer.read(ANSWER_BYTES + 1)
        status = json.loads(content) if answer.status == 200 and len(content) <= ANSWER_BYTES else None
    except OSError as error:
        folder = Path(folder_or_address)
        if folder.is_dir() and isinstance(error, ConnectionRefusedError):
            raise NodeError(f"{_stopped(folder)} (it was killed: its page was at {address})") from None
        hint = "" if folder.is_dir() else ": is that the status address that `hedgerow run` printed, and does it run?"
        raise NodeError(f"nobody answers at {address} ({error.strerror or error}){hint}") from None
    except (http.client.HTTPException, ValueError):
        status = None
    finally:
        connection.close()
    if not isinstance(status, dict) or "neighbours" not in status:
        raise NodeError(
            f"what answers at {address} is not a hedgerow status page: take the address that `hedgerow run` printed "
            "after `status:`, not the one after `join:`"
        )
    return status


def _state(folder: Path) -> Path:
    store = load_config(folder / FILE).store if (folder / FILE).exists() else StoreConfig()
    return folder / store.folder


def _stopped(folder: Path) -> str:
    """What there is to say of a node that does not run, or shows no page."""
    if not (folder / FILE).exists() and not _state(folder).exists():
        return f"{folder} holds no node: make one with `hedgerow init {quote(str(folder))}`"
    name = load_config(folder / FILE).store.records if (folder / FILE).exists() else StoreConfig().records
    record = latest_record(_state(folder) / name) if name else None
    start = f"no node with a status page runs in {folder}: start it with `hedgerow run {quote(str(folder))}`"
    if record is None:
        return start
    accuracy = "" if record["accuracy"] is None else f", accuracy {record['accuracy']:.1%}"
    return f"{start}; its last round was {record['round']}{accuracy}"


class _Metrics(Collector):
    """The status as metrics, read at each scrape."""

    def __init__(self, read: Callable[[], Status]) -> None:
        self._read = read

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        status = self._read()
        last = status["last_round"] or {}
        yield GaugeMetricFamily("hedgerow_round", "Round the node is in", value=status["round"])
        yield CounterMetricFamily(
            "hedgerow_rounds_played", "Rounds played by this process", value=status["rounds_played"]
        )
        yield CounterMetricFamily(
            "hedgerow_diverged", "Rounds whose training gave NaN or infinity", value=status["diverged"]
        )
        if status["accuracy"] is not None:
            yield GaugeMetricFamily(
                "hedgerow_accuracy", "Share of test samples predicted rightly", value=status["accuracy"]
            )
        yield from _trouble(status)
        yield from _afar(status)
        for name, text in _DURATIONS.items():
            yield GaugeMetricFamily(
                f"hedgerow_{name}_seconds", text, value=last.get(name.replace("train", "train_seconds"), 0)
            )
        dropped = CounterMetricFamily("hedgerow_dropped", "What gossip dropped, by reason", labels=["reason"])
        for reason, count in status["dropped"].items():
            dropped.add_metric([reason], count)
        yield dropped
        yield from self._peers(status)

    def _peers(self, status: Status) -> Iterator[Metric]:
        weight = GaugeMetricFamily(
            "hedgerow_neighbour_weight", "Latest weight of a neighbour, own = 1", labels=["peer"]
        )
        verdict = GaugeMetricFamily(
            "hedgerow_neighbour_verdict", "1 for the latest verdict", labels=["peer", "verdict"]
        )
        lag = GaugeMetricFamily("hedgerow_neighbour_lag_seconds", "Mean lag of a neighbour's updates", labels=["peer"])
        live = [peer for peer in status["neighbours"] if peer["connected"]]
        for peer in live:
            if peer["weight"] is not None:
                weight.add_metric([peer["peer"]], peer["weight"])
                verdict.add_metric([peer["peer"], peer["verdict"]], 1)
            if peer["lag_seconds"] is not None:
                lag.add_metric([peer["peer"]], peer["lag_seconds"])
        yield GaugeMetricFamily("hedgerow_neighbours", "Connected neighbours", value=len(live))
        yield from (weight, verdict, lag)


def _trouble(status: Status) -> Iterator[Metric]:
    """What the last line did, whether the node trains alone, and whether accuracy fell."""
    line = CounterMetricFamily("hedgerow_last_line", "Rounds that the last line took part in", labels=["did"])
    for did, count in (status.get("last_line") or {}).items():
        line.add_metric([did], count)
    yield line
    yield GaugeMetricFamily(
        "hedgerow_alone", "1 while nobody whom the node knows is heard", value=int(bool(status.get("alone")))
    )
    good = status.get("last_good")
    if good is not None:
        yield GaugeMetricFamily(
            "hedgerow_fallen", "1 while accuracy is far below the last good model's", value=int(good["fallen"])
        )
        yield GaugeMetricFamily("hedgerow_last_good_round", "Round of the last good model", value=good["round"])
        yield GaugeMetricFamily(
            "hedgerow_last_good_accuracy", "Accuracy of the last good model", value=good["accuracy"]
        )


def _afar(status: Status) -> Iterator[Metric]:
    """Who is known by vouches, near and far."""
    far = status.get("far")
    if not far:
        return
    yield GaugeMetricFamily("hedgerow_near_by_vouches", "Connected neighbours that vouches make known", far["near"])
    yield GaugeMetricFamily("hedgerow_far_known", "Peers that may be heard from afar", value=far["known"])
    yield GaugeMetricFamily("hedgerow_far_drawn", "Peers drawn from afar in the latest round", value=len(far["drawn"]))
    yield GaugeMetricFamily("hedgerow_far_heard", "Of these, whose update was here", value=len(far["heard"]))


_DURATIONS = {
    "duration": "Latest round, start to end",
    "waited": "Latest round: waiting for neighbours",
    "deadline": "Latest round: longest it would have waited",
    "train": "Latest round: local training",
}
