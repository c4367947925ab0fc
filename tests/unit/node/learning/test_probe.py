"""A probe's scores are scikit-learn's, node by node, whatever the padding."""

import pytest
import torch
from sklearn.metrics import f1_score
from torch import nn

from node.learning.dataset import Dataset
from node.learning.errors import TaskError
from node.learning.learner import Learner
from node.learning.models import lenet, mlp, softmax
from node.learning.partition import Shard
from node.learning.probe import OUTPUT_SAMPLES, LocalProbe
from node.learning.task import Task

DRAW = torch.Generator().manual_seed(5)
DATA = Dataset(torch.randint(0, 256, (300, 1, 12, 12), dtype=torch.uint8, generator=DRAW), torch.arange(300) % 4)
NOTHING = torch.empty(0, dtype=torch.int64)
SHARDS = (
    Shard(torch.arange(0, 100), torch.arange(100, 123)),
    Shard(torch.arange(123, 130), torch.tensor([131])),
    Shard(torch.arange(140, 150), NOTHING),
    Shard(torch.arange(150, 180), torch.arange(180, 300, 4)),
)
MODELS = {"softmax": softmax, "mlp": mlp, "lenet": lenet}


def setting(model="mlp", **options):
    learner = Learner(Task(lambda: MODELS[model]((1, 12, 12), 4), DATA, DATA, familiar=5, **options))
    own = torch.stack([learner.initial(seed) for seed in range(4)])
    params = 3 * torch.randn(4, 3, learner.dimension, generator=DRAW) * own.std()
    return learner, own, params


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_those_of_sklearn(model):
    learner, own, params = setting(model)
    scores = LocalProbe(learner, DATA, SHARDS, own).scores(params)
    assert scores.shape == (4, 3, 4)
    for node, shard in enumerate(SHARDS):
        for k in range(3):
            if len(shard.held_out) == 0:
                assert scores[node, k].tolist() == [0, 0, 0, 0]
                continue
            said = learner.predict(params[node, k], DATA.inputs[shard.held_out])
            wanted = f1_score(DATA.labels[shard.held_out], said, labels=range(4), average=None, zero_division=0)
            assert scores[node, k].tolist() == pytest.approx(wanted.tolist(), abs=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_one_node_alone_sees_what_it_sees_in_a_batch(model):
    learner, own, params = setting(model)
    batch = LocalProbe(learner, DATA, SHARDS, own)
    for node, shard in enumerate(SHARDS):
        alone = LocalProbe(learner, DATA, shard, own[node])
        assert torch.allclose(alone.scores(params[node]), batch.scores(params)[node], atol=1e-6)
        assert torch.allclose(alone.loss(params[node]), batch.loss(params)[node], atol=1e-4, rtol=1e-5)
        assert torch.equal(alone.familiar(), batch.familiar()[node])
        assert torch.allclose(alone.activity(), batch.activity()[node], atol=1e-6)
        mine = alone.outputs(params[node])
        assert torch.allclose(mine, batch.outputs(params)[node, :, : mine.shape[1]], atol=1e-4, rtol=1e-5)


def test_small_chunks_change_nothing(monkeypatch):
    learner, own, params = setting()
    probe = LocalProbe(learner, DATA, SHARDS, own)
    whole = [probe.scores(params), probe.loss(params), probe.outputs(params), probe.activity()]
    monkeypatch.setattr("node.learning.probe.CHUNK_FLOATS", 1)
    parts = [probe.scores(params), probe.loss(params), probe.outputs(params), probe.activity()]
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole, parts, strict=True))


def test_selected_nodes_keep_their_evidence():
    learner, own, params = setting()
    probe = LocalProbe(learner, DATA, SHARDS, own)
    some = torch.tensor([3, 1])
    picked = probe.select(some)
    assert torch.equal(picked.scores(params[some]), probe.scores(params)[some])
    assert torch.equal(picked.familiar(), probe.familiar()[some])
    assert torch.allclose(picked.activity(), probe.activity()[some])
    assert LocalProbe(learner, DATA, SHARDS).select(some).familiar().shape == (2, 4)


def test_familiar_classes_need_enough_held_out_samples():
    learner, _, _ = setting()
    familiar = LocalProbe(learner, DATA, SHARDS).familiar()
    assert familiar.tolist() == [[True] * 4, [False] * 4, [False] * 4, [True, False, False, False]]


def test_loss_is_the_mean_over_held_out_samples_or_else_training_samples():
    learner, _, params = setting()
    losses = LocalProbe(learner, DATA, SHARDS).loss(params)
    for node, rows in ((0, SHARDS[0].held_out), (2, SHARDS[2].train)):
        logits = learner.logits(params[node, 1], DATA.inputs[rows])
        assert float(losses[node, 1]) == pytest.approx(float(nn.functional.cross_entropy(logits, DATA.labels[rows])))


def test_a_loss_of_ones_own_is_asked_on_the_samples_that_are_there():
    learner, _, params = setting(loss=lambda logits, labels: (logits.mean() - labels.float().mean()) ** 2)
    shards = (*SHARDS[:3], Shard(NOTHING, NOTHING))
    losses = LocalProbe(learner, DATA, shards).loss(params)
    rows = SHARDS[0].held_out
    logits = learner.logits(params[0, 2], DATA.inputs[rows])
    wanted = (logits.mean() - DATA.labels[rows].float().mean()) ** 2
    assert float(losses[0, 2]) == pytest.approx(float(wanted), rel=1e-4)
    assert losses[3].tolist() == [0, 0, 0]


def test_outputs_are_logits_on_few_training_inputs_and_zeros_where_none_are():
    learner, _, params = setting()
    outputs = LocalProbe(learner, DATA, SHARDS).outputs(params)
    assert outputs.shape == (4, 3, OUTPUT_SAMPLES, 4)
    wanted = learner.logits(params[1], DATA.inputs[SHARDS[1].train])
    assert torch.allclose(outputs[1, :, :7], wanted, atol=1e-4)
    assert bool((outputs[1, :, 7:] == 0).all())
    assert bool((outputs[0] != 0).any(dim=-1).all())


def test_activity_belongs_to_the_own_model_given_last():
    learner, own, _ = setting()
    probe = LocalProbe(learner, DATA, SHARDS[0])
    with pytest.raises(ValueError, match="own model"):
        probe.activity()
    assert not torch.equal(probe.under(own[0]).activity(), probe.under(own[1]).activity())


def test_no_candidates_and_no_shards():
    learner, _, params = setting()
    assert LocalProbe(learner, DATA, SHARDS).scores(params[:, :0]).shape == (4, 0, 4)
    with pytest.raises(TaskError, match="at least one"):
        LocalProbe(learner, DATA, ())
