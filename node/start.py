"""Where a run goes on: the round, the model and what training carried over, by what the disk holds.

Laws:
- Rounds that were signed are never signed again: an update that is in the ledger is sent again, or is passed by.
- A wish to go back that was not fulfilled before the node stopped is fulfilled first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from gossip.protocol.codec import decode_header, schema_digest
from gossip.protocol.limits import Limits
from identity.envelope import split
from node.errors import StoreError
from node.fallback import NO_GOOD, went_back
from node.learning.learner import Learner, TrainState
from node.learning.optimizers import Adam
from node.store.checkpoint import other_model
from node.store.folder import Store


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What a run begins with.

    Attributes:
        round: the first to play.
        published: its own update is in the ledger already.
        params: (d,) the model to start from.
        state: what training carried over, or None.
    """

    round: int
    published: bool
    params: Tensor
    state: TrainState | None


def resume(
    store: Store, learner: Learner, common: Tensor, folder: Path, say: Callable[[str], None], forget: bool
) -> Start:
    """Read where to go on; say so if it is not the beginning.

    Args:
        store: open.
        learner: what is learned.
        common: (d,) the network's common initial model.
        folder: of the store, for people.
        say: told one line at a time.
        forget: drop model and moments first; key and chain stay.

    Raises:
        StoreError: what is there is of another model, or cannot be read.
    """
    if forget:
        store.forget_training()
        say("the training begins anew; key and chain stay")
    _go_back(store, say)
    checkpoint = store.resume()
    if checkpoint is not None:
        learner.check(checkpoint.state)
    head = store.ledger.head()
    first = 0 if checkpoint is None else checkpoint.round
    params = common if checkpoint is None else checkpoint.params
    kept = head is not None and store.ledger.payload(head.sequence) is not None
    if head is not None and kept:
        header = decode_header(split(head.envelope).body, Limits())
        if header.schema != schema_digest(learner.schema):
            raise StoreError(other_model(folder))
    published = head is not None and head.round >= first and kept
    if head is not None and head.round >= first:
        first = head.round if published else head.round + 1
    if first:
        say(f"resuming at round {first}" + (" with the update that was signed before" if published else ""))
    return Start(first, published, params, None if checkpoint is None else checkpoint.state)


def form_of(learner: Learner) -> str:
    """What a checkpoint's numbers are of: the schema, and what the optimizer carries from round to round."""
    optimizer = learner.task.optimizer
    carried = "adam" if isinstance(optimizer, Adam) else "momentum" if optimizer.momentum else "nothing"
    return f"{schema_digest(learner.schema).hex()} {carried if optimizer.keep_state else 'nothing'}"


def _go_back(store: Store, say: Callable[[str], None]) -> None:
    """Go back to the last good model if that was asked for, and not done before the node stopped."""
    if not store.ledger.wished("rollback"):
        return
    went = store.go_back()
    words = NO_GOOD if went is None else went_back(*went)
    store.ledger.answer("rollback", words)
    say(words)
