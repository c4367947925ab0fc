"""From a folder, or a task in hand, to a running node.

Laws:
- Every expected failure is one sentence: `NodeError` and its kin, never a stack trace (`node.errors`).
- SIGTERM and SIGINT: goodbye, flush, done within ten seconds, whatever training is in the middle of; a second signal
  exits
  at once.

`python -m node.daemon init|run DIR [section.key=value ...]` is the same without the `hedgerow` command, for scripts
and tests.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from gossip.protocol.address import Address
from gossip.protocol.errors import LocalFault
from gossip.protocol.messages import Ticket
from hedgerow_registry import UnknownName
from identity.errors import IdentityError
from identity.keys import SigningKey, format_peer
from node.aside import TICK, Aside, in_a_loop
from node.config import FILE, NodeConfig, load_config, parse_config
from node.errors import Busy, ConfigError, NodeError
from node.fallback import NO_GOOD, went_back
from node.learning.blame import reported
from node.learning.errors import TaskError
from node.learning.registry import TASKS
from node.learning.task import Task
from node.learning.tasks import make_task
from node.run import Outcome, Run, Say
from node.society import KEY_FILE, accept, hold
from node.store.backup import Backup, back_up
from node.store.folder import LEDGER, Store
from node.store.ledger import Wish
from node.store.people import checked_alias
from node.template import write_template
from node.worker import Worker

KEY = KEY_FILE
ROLLBACK_SECONDS = 30.0
Values = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class NewNode:
    """A node that was just made.

    Attributes:
        peer: text form of its peer id.
        config: its node.toml.
        join: what others write after --join, or "" when it listens on a port that is not known yet.
    """

    peer: str
    config: Path
    join: str


def init_node(
    folder: str | Path, values: Values | None = None, ticket: str | None = None, inviter: str | None = None
) -> NewNode:
    """Make a node: a folder with a fresh key and a commented node.toml.

    Args:
        folder: made if it is not there.
        values: section -> key -> value for node.toml ({"network": {"listen": "0.0.0.0:7700"}}); the rest stays at its
            default.
        ticket: a line that `hedgerow invite` printed; what `values` say goes first.
        inviter: what to call whoever made the ticket; None: it has no name.

    Raises:
        UnknownName: no such task; the message names the nearest one.
        NodeError: there is a node already, a value does not fit, or the folder cannot be written to; one sentence.
    """
    folder = Path(folder).expanduser()
    chosen = {section: dict(keys) for section, keys in (values or {}).items()}
    given: Ticket | None = None
    if inviter is not None and ticket is None:
        raise ConfigError("--inviter names whoever made a ticket: give the line with --ticket")
    alias = None if inviter is None else checked_alias(inviter)
    if ticket is not None:
        told, given = accept(ticket, chosen.get("task", {}).get("name"))
        chosen = {section: {**told.get(section, {}), **chosen.get(section, {})} for section in {**told, **chosen}}
    config = parse_config(chosen)
    if ":" not in config.task.name:
        TASKS.find(config.task.name)
    path = folder / FILE
    if path.exists() or (folder / KEY).exists():
        raise ConfigError(f"{folder} holds a node already; a key is never overwritten: choose another folder")
    key = SigningKey.generate()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if given is not None:
            hold(folder, config, given, alias)
        path.write_text(write_template(chosen), encoding="utf-8")
        key.save(folder / KEY)
    except (OSError, IdentityError) as error:
        raise ConfigError(f"cannot make a node in {folder}: {error}") from None
    address = Address.parse(config.network.advertise or config.network.listen)
    return NewNode(format_peer(key.peer), path, f"{format_peer(key.peer)}@{address}" if address.dialable else "")


def run_node(
    folder: str | Path,
    overrides: Values | None = None,
    say: Say | None = None,
    more: int | None = None,
    forget_training: bool = False,
) -> Outcome:
    """Run the node in a folder until its last round, SIGTERM or SIGINT. The calling process is the node's.

    Args:
        folder: as `init_node` made it.
        overrides: as `init_node`'s values; they win over node.toml and are not written to it.
        say: told one line at a time what people need to know; default: standard error.
        more: play so many more rounds, whatever round the network is in; None: until it is told to stop.
        forget_training: begin the training anew, with the same key and chain: after a change of model or optimizer.

    Raises:
        NodeError: one sentence that says what to do.
    """
    folder = Path(folder).expanduser()
    config = _with(load_config(folder / FILE), overrides)
    worker = Worker("learning")
    atexit.register(_leave_if_busy, worker)
    with _one_sentence():
        home = folder / config.store.folder
        outcome = _play(
            Run(config, folder / KEY, _task(config), home, worker, say or announce, more=more, forget=forget_training)
        )
    if worker.busy:
        _leave(0)
    worker.shutdown()
    return outcome


def back_up_node(folder: str | Path, out: str | Path) -> Backup:
    """Copy the node in a folder, also while it runs: what is needed to go on somewhere else.

    Args:
        folder: as `init_node` made it.
        out: a new folder, or a new file if it ends in .tar.

    Raises:
        NodeError: one sentence that says what to do.
    """
    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    inside = Path(load_config(folder / FILE).store.folder)
    state = folder / inside
    if inside.is_absolute() or ".." in inside.parts:
        raise ConfigError(
            f"[store] folder of {folder / FILE} is {inside}, outside of the node's folder, where a copy of the node "
            "would be the same one: give it one inside first"
        )
    return back_up((folder / KEY, folder / FILE), state, inside, out)


def roll_back(folder: str | Path, wait: float = ROLLBACK_SECONDS) -> str:
    """Go on from the last good model: a running node in its next round, another one when it starts.

    Args:
        folder: as `init_node` made it.
        wait: seconds to wait for a running node's answer.

    Returns:
        What was done, in words.

    Raises:
        NodeError: one sentence that says what to do.
    """
    folder = Path(folder).expanduser()
    state = folder / load_config(folder / FILE).store.folder
    if not (state / LEDGER).exists():
        raise NodeError(f"no node has run in {folder}: there is no model to go back to")
    with _one_sentence():
        try:
            with Store(state, None, key=folder / KEY) as store:
                went = store.go_back()
        except Busy:
            return _ask(state, wait)
    if went is None:
        raise NodeError(NO_GOOD)
    return went_back(*went)


def _ask(state: Path, wait: float) -> str:
    wish = Wish(state / LEDGER, "rollback")
    try:
        wish.make()
        until = time.monotonic() + wait
        while (answer := wish.answered()) is None:
            if time.monotonic() >= until:
                return "the running node was asked: it does so at the end of its round, and says so"
            time.sleep(TICK)
    finally:
        wish.close()
    if answer == NO_GOOD:
        raise NodeError(answer)
    return answer


def run_task(
    task: Task,
    *,
    join: Sequence[str] = (),
    listen: str = "127.0.0.1:0",
    network: str = "hedgerow",
    folder: str | Path | None = None,
    rounds: int | None = None,
    rule: str | None = None,
    part: int = 0,
    parts: int = 1,
    overrides: Values | None = None,
    say: Say | None = None,
    forget_training: bool = False,
    begun: Callable[[Run], None] | None = None,
) -> Outcome:
    """Run a node on a task in hand until its last round or Ctrl-C.

    Args:
        task: model and data.
        join: nodes to join by, or one; none: be the first.
        listen: where others dial us; port 0: any free one.
        network: nodes with the same name and model form one network.
        folder: where key, ledger and checkpoints are kept; None: nothing is kept after the run.
        rounds: stop after this round of the network; None: never.
        rule: aggregation rule; None: the default.
        part, parts: which part of the training data is this node's.
        overrides: any other setting of node.toml: section -> key -> value.
        say: told one line at a time what people need to know; default: standard error.
        forget_training: begin the training anew, with the same key and chain: after a change of model or optimizer.
        begun: told the run before it begins; its `stop` may be called from any thread.

    Raises:
        NodeError: one sentence that says what to do.
    """
    values: dict[str, dict[str, Any]] = {
        "network": {"name": network, "join": (join,) if isinstance(join, str) else tuple(join), "listen": listen},
        "task": {"part": part, "parts": parts},
        "round": {} if rounds is None else {"rounds": rounds},
        "rule": {} if rule is None else {"name": rule},
    }
    config = _with(_with(NodeConfig(), values), overrides)
    worker = Worker("learning")
    try:
        with _one_sentence(), tempfile.TemporaryDirectory(prefix="hedgerow-") as temporary:
            home = Path(temporary) if folder is None else Path(folder).expanduser()
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not (home / KEY).exists():
                SigningKey.generate().save(home / KEY)
            state = home / config.store.folder
            node = Run(config, home / KEY, task, state, worker, say or announce, forget=forget_training)
            if begun is not None:
                begun(node)
            return _play(node)
    finally:
        worker.shutdown()


async def arun_task(task: Task, **options: Any) -> Outcome:
    """`run_task` for async programs: awaits the end; cancelled, it stops the node and waits for its goodbye.

    Args:
        task: model and data.
        options: as those of `run_task`.

    Raises:
        NodeError: one sentence that says what to do.
    """
    runs: list[Run] = []

    def begin(run: Run) -> None:
        runs.append(run)
        if "begun" in options:
            options["begun"](run)

    call = partial(run_task, task, **{**options, "begun": begin})
    playing = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        return await asyncio.shield(playing)
    except asyncio.CancelledError:
        while not playing.done():  # it may not have begun
            for run in runs:
                run.stop()
            await asyncio.wait([playing], timeout=TICK)
        raise


def _task(config: NodeConfig) -> Task:
    section = config.task
    return make_task(
        section.name,
        section.model,
        section.data_dir,
        section.extractor,
        lr=section.lr,
        batch_size=section.batch_size,
        local_epochs=section.local_epochs,
        local_steps=section.local_steps,
    )


def _with(config: NodeConfig, overrides: Values | None) -> NodeConfig:
    raw = config.model_dump(exclude_unset=True)
    for section, keys in (overrides or {}).items():
        raw[section] = {**raw.get(section, {}), **keys}
    return parse_config(raw)


def _play(run: Run) -> Outcome:
    """Play a run in this thread, or beside it if an event loop runs here already (a notebook)."""
    if in_a_loop():
        return Aside(lambda: _run(run), "hedgerow").wait(run.stop)
    return _run(run)


def _run(run: Run) -> Outcome:
    with reported(run.folder), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(run.play())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's if it is installed: two to six times the frames."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class _one_sentence:
    """Turns what the layers below raise on purpose into a NodeError."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, TaskError | UnknownName):
            raise ConfigError(str(error)) from error
        if isinstance(error, LocalFault | IdentityError):
            raise NodeError(str(error)) from error
        if type(error).__module__ == "builtins" and isinstance(error, OSError):
            where = "a file or socket" if error.filename is None else error.filename
            reason = error.strerror or error
            raise NodeError(f"cannot use {where}: {reason}; make room, make it writable, or choose another") from error


def _leave(code: int) -> NoReturn:
    """The node is done but training still runs in its thread: nobody needs the result, so nobody waits."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _leave_if_busy(worker: Worker) -> None:
    """At exit after a fault: a thread that trains while the interpreter is taken down would abort the process."""
    if worker.busy:
        _leave(1)


def announce(line: str) -> None:
    """Tell people; whoever has stopped reading stops no node."""
    with suppress(OSError, ValueError, AttributeError):  # nobody reads, closed, absent
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def parse_values(words: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Settings from words like `network.listen=127.0.0.1:0`; values are TOML, or plain text.

    Raises:
        ConfigError: a word of another form.
    """
    values: dict[str, dict[str, Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot and key):
            raise ConfigError(f"'{word}' is not SECTION.KEY=VALUE")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        values.setdefault(section, {})[key] = value
    return values


def main(words: Sequence[str]) -> int:
    """`init DIR ...` or `run DIR ...`; 0 when all went well, 1 after one sentence on standard error."""
    if len(words) < 2 or words[0] not in ("init", "run"):
        announce("usage: python -m node.daemon init|run DIR [section.key=value ...]")
        return 2
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        if words[0] == "init":
            announce(init_node(words[1], parse_values(words[2:])).join)
        else:
            run_node(words[1], parse_values(words[2:]))
    except NodeError as error:
        announce(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
