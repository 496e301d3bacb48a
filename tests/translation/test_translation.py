"""Translation from command to answers: it learns, what is broken is noticed, what is saved answers the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mlrun.config.compose import CONF, compose
from mlrun.config.validate import validate
from mlrun.errors import ConfigError
from mlrun.predictions.learner import load_learner, make_learner
from mlrun.report import silent
from mlrun.tasks.translation import guided_attention_loss
from tests.test_models import Nobody, prepared, trained

REVERSAL = [
    "dataset=reverse", "dataset.symbols=8", "dataset.max_symbols=5", "dataset.rows=3000", "dataset.split.val=200", "dataset.split.test=200",
    "dataset.measure=exact_match", "optim.lr=0.02",
]  # fmt: skip
RECURRENT = [
    "model=seq2seq_attention",
    *REVERSAL,
    "dataset.batch_size=64",
    "model.network.hidden=32",
    "trainer.max_epochs=8",
]
SMALL = ["model.network.width=32", "model.network.hidden=64", "model.network.layers=1", "dataset.batch_size=32"]
TRANSFORMER = ["model=transformer", *REVERSAL, *SMALL, "optim.lr=0.005", "trainer.max_epochs=10"]
MODELS = [
    path.stem for path in sorted((CONF / "model").glob("*.yaml"))
    if "translation" in (yaml.safe_load(path.read_text(encoding="utf-8")).get("fits") or [])
]  # fmt: skip


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("recurrent"), *RECURRENT)


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("transformer"), *TRANSFORMER)


def exact(learner, data, part="test"):
    return learner.evaluate(data, part)["exact_match"]


@pytest.mark.parametrize("name", ["recurrent", "transformer"])
def test_it_learns(name, request):
    learner, data = request.getfixturevalue(name)
    assert exact(learner, data) >= 0.9
    points = dict(learner.training.history["val/exact_match"])
    assert exact(learner, data, "val") == pytest.approx(points[learner.training.best_epoch])
    measured = learner.evaluate(data, "val")
    assert measured["loss"] == pytest.approx(
        dict(learner.training.history["val/loss"])[learner.training.best_epoch], rel=1e-4
    )


@pytest.mark.parametrize("overrides", [RECURRENT, TRANSFORMER])
def test_targets_of_other_sources_are_noticed(overrides, tmp_path):
    cfg, data = prepared(*overrides, "trainer.max_epochs=3")
    content, rows = data.content, data.rows("train")
    shuffled = np.random.default_rng(0).permutation(rows)
    mixed = dict(zip(rows.tolist(), [content.target[row] for row in shuffled]))
    content.target = [mixed.get(row, text) for row, text in enumerate(content.target)]
    learner = make_learner(cfg, data)
    learner.fit(data, Nobody(), tmp_path, silent.Progress())
    assert exact(learner, data) < 0.1


def test_without_a_look_at_the_source_nothing_is_known(transformer):
    learner, data = transformer
    network = learner.task.network
    encode = network.encode
    network.encode = lambda source: (torch.zeros_like(encode(source)[0]), source != 0)
    assert exact(learner, data) < 0.1
    network.encode = encode


def test_a_saved_model_answers_the_same(recurrent, tmp_path):
    learner, data = recurrent
    texts, references = data.references("test")
    learner.save(tmp_path / "model")
    loaded = load_learner(tmp_path / "model")
    answers = learner.predict(texts)
    assert list(answers) == list(loaded.predict(texts)) and answers.dtype == object
    assert np.mean([answer in expected for answer, expected in zip(answers, references)]) == pytest.approx(
        exact(learner, data)
    )
    for form in (np.array(texts[:7]), pd.DataFrame({"text": texts[:7]}), pd.Series(texts[:7])):
        assert list(loaded.predict(form)) == list(answers[:7])
    assert len(loaded.predict([])) == 0 and len(loaded.predict(["", "never seen"])) == 2


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_saved_with_all_it_needs(name, tmp_path):
    learner, data = trained(
        tmp_path,
        f"model={name}",
        "dataset=dates",
        "dataset.rows=400",
        "dataset.split.val=50",
        "dataset.split.test=50",
        "trainer.max_epochs=1",
    )
    learner.evaluate(data, "test")
    learner.save(tmp_path / "model")
    texts = data.example("test")
    assert list(learner.predict(texts)) == list(load_learner(tmp_path / "model").predict(texts))


def test_one_vocabulary_of_subwords_for_both_sides(tmp_path):
    learner, data = trained(
        tmp_path, "model=transformer", "dataset=dates", "dataset.rows=400", "dataset.split.val=50", "dataset.split.test=50", "trainer.max_epochs=1",
        "dataset.source_tokenizer={kind: bpe, size: 300}", "dataset.target_tokenizer=null", "model.network.shared=true",
    )  # fmt: skip
    network = learner.task.network
    assert network.encoder.embedding.tokens.weight is network.decoder.output.weight
    learner.save(tmp_path / "model")
    assert list(learner.predict(data.example("test"))) == list(
        load_learner(tmp_path / "model").predict(data.example("test"))
    )
    with pytest.raises(ConfigError, match="vocabularies differ"):
        make_learner(*prepared("model=transformer", "model.network.shared=true"))


def test_a_beam_and_its_errors(transformer):
    learner, data = transformer
    greedy, task = learner.evaluate(data, "test"), learner.task
    scores = task.outcome.scores
    task.beam_width = 3
    wide = learner.evaluate(data, "test")
    outcome = task.outcome
    figures = dict(learner.figures(data, "test"))
    task.beam_width = 1
    assert scores is None and wide["exact_match"] >= greedy["exact_match"] - 0.02
    right = [written in expected for written, expected in zip(outcome.written, outcome.references)]
    assert len(figures["beam_errors"].rows) == right.count(False)
    for score, best, good in zip(outcome.scores, outcome.reference_scores, right):
        assert not good or score == pytest.approx(best, abs=1e-4)
    assert "attention" in figures and len(figures["translations"].rows) == data.sizes["test"]


def test_attention_looks_at_what_is_written(recurrent):
    learner, data = recurrent
    learner.evaluate(data, "test")
    agree = []
    for source, written, weights in learner.task._attention_maps(data):
        looked = [source[place] for place in weights.argmax(1)]
        agree += [one == other for one, other in zip(looked, written[:-1])]
        assert written[-1] == "<eos>" and "<pad>" not in written
        assert weights.shape == (len(written), len(source)) and np.allclose(weights.sum(1), 1, atol=1e-5)
    assert np.mean(agree) >= 0.5  # the fed state is one step behind


def test_guided_attention():
    ones = torch.ones(1, 4, dtype=torch.bool)
    diagonal, across = torch.eye(4)[None, None], torch.eye(4).flip(1)[None, None]
    assert guided_attention_loss(diagonal, ones, ones, 0.2) == 0
    expected = torch.tensor([1 - np.exp(-(distance**2) / 0.08) for distance in (0.75, 0.25, 0.25, 0.75)]).mean()
    assert guided_attention_loss(across, ones, ones, 0.2).item() == pytest.approx(expected.item(), abs=1e-6)
    half = torch.tensor([[True, True, False, False]])
    assert guided_attention_loss(diagonal, half, half, 0.2) == 0  # padding does not count


@pytest.mark.parametrize("model", ["seq2seq_attention", "transformer"])
def test_guided_attention_and_scheduled_sampling_in_training(model, tmp_path):
    few = [
        "dataset.rows=600",
        "dataset.split.val=50",
        "dataset.split.test=50",
        "trainer.max_epochs=2",
        "trainer.keep=last",
        "dataset=dates",
        "optim.lr=0.01",
    ]
    sampled, data = trained(
        tmp_path,
        f"model={model}",
        *few,
        "model.teacher_forcing={_target_: mlrun.generation.annealing.Linear, start: 1.0, end: 0.3, fraction: 0.5}",
        "model.guided_attention=10.0",
    )
    plain, _ = trained(tmp_path, f"model={model}", *few)

    def off_diagonal(learner):
        source, target = next(iter(data.loader("val")))
        with torch.no_grad():
            weights = learner.task.network.eval()(source, target[:, :-1], with_attention=True)[1]
        return guided_attention_loss(weights, source != 0, target[:, 1:] != 0, 0.2).item()

    assert off_diagonal(sampled) < 0.7 * off_diagonal(plain)


def test_no_attention_to_guide():
    with pytest.raises(ConfigError, match="no attention"):
        make_learner(*prepared("model=seq2seq", *REVERSAL, "model.guided_attention=1.0"))


def problems(*overrides):
    return " ".join(validate(compose(list(overrides)), list(overrides))[0])


def test_the_check_knows_translation():
    assert not problems("model=transformer", "optim=adam")
    said = problems("model=transformer", "dataset=iris")
    assert "translation" in said and "dates" in said and "multi30k" in said
    assert "translation dataset" in problems("model=mlp", "dataset=dates")
    assert "encoder_layers" in problems("model=transformer", "+model.network.encoder_layers=2")
    assert "must be" in problems("model=seq2seq", "model.network.attention=dott")
    with pytest.raises(ConfigError, match="multiple of heads"):
        make_learner(
            *prepared(
                "model=transformer",
                "model.network.heads=5",
                "dataset.rows=300",
                "dataset.split.val=10",
                "dataset.split.test=10",
            )
        )
