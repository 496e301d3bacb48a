"""Language models: no look ahead, a carried state, cached writing, samples, and that they learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlrun.data.inputs import as_examples
from mlrun.generation.decoding import sample
from mlrun.networks.text.gpt import GPT
from mlrun.networks.text.language_models import FixedWindow, RecurrentLanguageModel
from mlrun.predictions.learner import load_learner
from mlrun.report.views.continuations import Continuations
from mlrun.tasks.language_modeling import CachedDecoder
from tests.test_models import trained

NETWORKS = {
    "window": lambda: FixedWindow(11, window=4, embedding=5, hidden=7, direct=True),
    "rnn": lambda: RecurrentLanguageModel(11, 5, 7, "rnn", num_layers=2),
    "gru one-hot": lambda: RecurrentLanguageModel(11, None, 7, "gru"),
    "lstm tied": lambda: RecurrentLanguageModel(11, 5, 7, "lstm", tied=True),
    "gpt": lambda: GPT(11, 12, width=8, heads=2, layers=2),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    made = NETWORKS[request.param]()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return made.eval()


def test_a_later_token_never_changes_an_earlier_logit(network):
    tokens = torch.randint(4, 11, (3, 12))
    logits, _ = network(tokens)
    for at in range(1, 12):
        changed = tokens.clone()
        changed[:, at] = 4 + (changed[:, at] - 3) % 7
        other, _ = network(changed)
        torch.testing.assert_close(other[:, :at], logits[:, :at])
        assert not torch.allclose(other[:, at], logits[:, at])


def test_a_text_in_pieces_is_the_text(network):
    tokens = torch.randint(4, 11, (3, 12))
    whole, _ = network(tokens)
    state, pieces = network.start() if hasattr(network, "start") else None, []
    for piece in tokens.split([5, 1, 1, 5], dim=1):
        logits, state = network(piece, state)
        pieces.append(logits)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-5, rtol=1e-4)


def test_generation_continues_past_the_context():
    torch.manual_seed(0)
    network = NETWORKS["gpt"]().eval()
    written = sample(
        CachedDecoder(network), None, torch.tensor([[5] * 10]), 30, generator=torch.Generator().manual_seed(0)
    )
    assert 0 < written.tokens.shape[1] <= 30
    state = CachedDecoder(network).start()
    for token in range(40):  # the logits are those of a window that begins again
        logits, state = CachedDecoder(network).step(torch.tensor([[4 + token % 7]]), state)
    held = state[1]
    window = torch.tensor([[4 + token % 7 for token in range(40)][-held:]])
    torch.testing.assert_close(logits, network(window)[0][:, -1], atol=1e-5, rtol=1e-4)


def test_tied_weights_are_one():
    network = RecurrentLanguageModel(11, 5, 7, tied=True)
    assert network.head.weight is network.embedding.weight
    with pytest.raises(ValueError, match="embedding"):
        RecurrentLanguageModel(11, None, 7, tied=True)


def test_gpt_refuses_more_than_its_context():
    with pytest.raises(ValueError, match="context holds 12"):
        NETWORKS["gpt"]()(torch.zeros(1, 13, dtype=torch.long))


def test_gpt_equals_transformers_gpt2():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=11,
        n_positions=12,
        n_embd=8,
        n_layer=2,
        n_head=2,
        activation_function="gelu",
        attn_pdrop=0,
        embd_pdrop=0,
        resid_pdrop=0,
    )
    theirs, ours = (
        transformers.GPT2LMHeadModel(config).eval(),
        GPT(11, 12, width=8, heads=2, layers=2, bias=True).eval(),
    )
    source = theirs.transformer
    with torch.no_grad():
        ours.embedding.weight.copy_(source.wte.weight), ours.positions.weight.copy_(source.wpe.weight)
        ours.norm.load_state_dict(source.ln_f.state_dict())
        for block, other in zip(ours.blocks, source.h, strict=True):
            block.norm_attention.load_state_dict(other.ln_1.state_dict())
            block.norm_feed_forward.load_state_dict(other.ln_2.state_dict())
            pairs = (block.attention.project, other.attn.c_attn), (block.attention.output, other.attn.c_proj)
            for mine, its in (
                *pairs,
                (block.feed_forward[0], other.mlp.c_fc),
                (block.feed_forward[-1], other.mlp.c_proj),
            ):
                mine.weight.copy_(its.weight.T), mine.bias.copy_(its.bias)
        tokens = torch.randint(11, (3, 12))
        torch.testing.assert_close(ours(tokens)[0], theirs(tokens).logits, atol=1e-5, rtol=1e-4)


# Halfway between the worst of five seeds and 27, the perplexity of the frequencies of the characters alone.
LIMITS = {"window_lm": 19.5, "gru_lm": 18.5, "gpt": 22.7}
SMALL = {
    "window_lm": ["model.network.hidden=64", "optim.lr=3e-3"],
    "gru_lm": ["model.network.hidden=64", "model.network.embedding=32", "optim.lr=1e-2"],
    "gpt": ["model.network.width=32", "model.network.layers=1", "optim.lr=1e-2"],
}


@pytest.mark.parametrize("name", SMALL)
def test_they_learn_continue_prompts_and_are_saved(name, tmp_path):
    options = [
        "trainer.max_epochs=2",
        "dataset.steps_per_epoch=100",
        "dataset.context_length=32",
        "dataset.batch_size=16",
    ]
    options += ["dataset.split={train: 100000, val: 8000, test: 8000}"]
    learner, data = trained(tmp_path, f"model={name}", "model.sample_length=20", *options, *SMALL[name])
    metrics = learner.evaluate(data, "test").metrics
    assert metrics["perplexity"] < LIMITS[name]
    assert metrics["bits_per_character"] == pytest.approx(np.log2(metrics["perplexity"]))
    assert (tmp_path / "figures" / "samples.txt").read_text().count("--- epoch") == 2
    kept = learner.evaluate(data, "val").metrics
    best = learner.training.best_epoch
    for metric, value in kept.items():  # the task measures it while it trains, the evaluator afterwards
        assert dict(learner.training.history[f"val/{metric}"])[best] == pytest.approx(value, rel=1e-5), metric
    learner.save(tmp_path / "model")
    again, prompts = load_learner(tmp_path / "model"), data.sample("test")
    expected = learner.predict(prompts).texts
    assert again.predict(prompts).texts == expected
    assert again.predict(as_examples(list(prompts["text"]), again.inputs)).texts == expected
    alone = as_examples([prompts["text"][3]], again.inputs)
    assert again.predict(alone).texts == expected[3:4]  # whatever else is asked
    assert again.predict(as_examples(["The ", ""], again.inputs)).texts[0]


def test_a_text_is_measured_from_its_beginning(tmp_path):
    """The state that training or another evaluation left is forgotten, and that of training survives a validation."""
    options = ["dataset.split={train: 20000, val: 3000, test: 3000}", "trainer.max_epochs=1", "model.sample_length=1"]
    learner, data = trained(tmp_path, "model=gru_lm", "model.network.hidden=16", *options)
    task = learner.task
    first = learner.evaluate(data, "test").metrics
    assert task._state is not None and learner.evaluate(data, "test").metrics == first
    kept = task._state
    task.on_validation_epoch_start()
    assert task._state is None
    task.loss(next(iter(data.loader("val", learner.preprocessor))))
    task._trainer, task.log_dict = None, lambda *_, **__: None
    task.on_validation_epoch_end()
    assert task._state is kept


def test_samples_are_kept_across_an_interruption(tmp_path):
    view, metrics = Continuations(), {}
    learner, _ = trained(tmp_path, "model=window_lm", "trainer=debug", "model.sample_length=5")
    task = learner.task.train()

    class Trainer:
        callback_metrics = metrics

    task._trainer = Trainer
    found = []
    for epoch, perplexity in enumerate((9.0, 10.0, 8.0, float("nan")), 1):
        if epoch == 3:
            view, state = Continuations(), view.state
            view.restore(state)
        metrics["val/perplexity"] = torch.tensor(perplexity)
        found.append(dict(view.epoch(task, epoch, last=False)))
    assert [bool(one) for one in found] == [True, False, True, False]
    path = found[2]["samples"].save(tmp_path / "samples.png")
    assert path == tmp_path / "samples.txt"
    headings = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("--- ")]
    assert headings == ["--- epoch 1, validation perplexity 9.000", "--- epoch 3, validation perplexity 8.000"]
    assert task.training and task.network.training


def test_weight_decay_spares_biases_and_gains(tmp_path):
    learner, _ = trained(
        tmp_path,
        "model=gpt",
        "optim=adamw",
        "optim.weight_decay=0.1",
        "trainer=debug",
        "model.sample_length=1",
        "model.network.bias=true",
    )
    groups = learner.trainer.optimizers[0].param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert all(weight.ndim >= 2 for weight in groups[0]["params"]) and all(
        weight.ndim == 1 for weight in groups[1]["params"]
    )
