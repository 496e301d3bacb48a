"""Translation from command to answers: it learns, what is broken is noticed, what is saved answers the same."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mlrun.config.compose import CONF, compose
from mlrun.config.validate import validate
from mlrun.data.batches import whole_batch
from mlrun.data.inputs import as_examples
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Subject
from mlrun.predictions.learner import load_learner, make_learner
from mlrun.report import silent
from mlrun.report.views.attention import look, various
from mlrun.tasks.translation import guided_attention_loss
from mlrun.tasks.validation import Validation
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
    return learner.evaluate(data, part).metrics["exact_match"]


def figures(learner, data, evaluation):
    return dict(one for view in learner.views for one in view.draw(learner, data, evaluation))


@pytest.mark.parametrize("name", ["recurrent", "transformer"])
def test_it_learns(name, request):
    learner, data = request.getfixturevalue(name)
    assert exact(learner, data) >= 0.5  # the worst of five seeds 0.925, broken as below 0
    points = dict(learner.training.history["val/exact_match"])
    assert exact(learner, data, "val") == pytest.approx(points[learner.training.best_epoch])
    measured = learner.evaluate(data, "val").metrics
    assert set(measured) == {"exact_match", "loss", "token_accuracy"} and measured["token_accuracy"] > 0.9
    assert measured["loss"] == pytest.approx(
        dict(learner.training.history["val/loss"])[learner.training.best_epoch], rel=1e-4
    )


@pytest.mark.parametrize("overrides", [RECURRENT, TRANSFORMER])
def test_targets_of_other_sources_are_noticed(overrides, tmp_path):
    cfg, data = prepared(*overrides, "trainer.max_epochs=3")
    targets, rows = data.content.columns["target"], data.rows("train")
    shuffled = np.random.default_rng(0).permutation(rows)
    for row, text in zip(rows, [targets[other] for other in shuffled]):
        targets[row] = text
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
    examples = data.examples("test")
    learner.save(tmp_path / "model")
    loaded = load_learner(tmp_path / "model")
    inputs = examples.only(["source"])
    predictions = learner.predict(inputs)
    answers = predictions.answers()
    assert predictions.texts == loaded.predict(inputs).texts and answers.dtype == object
    assert 1 - predictions.mistakes(examples["target"]).mean() == pytest.approx(exact(learner, data))
    evaluation = loaded.evaluate(data, "test")
    assert evaluation.predictions.texts == predictions.texts  # in the order of the examples
    texts = list(examples["source"][:7])
    for form in (
        texts,
        np.array(texts),
        pd.DataFrame({"text": texts}),
        pd.DataFrame({"number": range(7), "source": texts}),
        pd.Series(texts),
    ):
        assert list(loaded.predict(as_examples(form, loaded.inputs)).answers()) == list(answers[:7])
    for given in ([], ["", "never seen"]):
        assert len(loaded.predict(as_examples(given, loaded.inputs))) == len(given)


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
    texts = data.sample("test")
    assert learner.predict(texts).texts == load_learner(tmp_path / "model").predict(texts).texts


def test_one_vocabulary_of_subwords_for_both_sides(tmp_path):
    learner, data = trained(
        tmp_path, "model=transformer", "dataset=dates", "dataset.rows=400", "dataset.split.val=50", "dataset.split.test=50", "trainer.max_epochs=1",
        "dataset.source_tokenizer={kind: bpe, size: 300}", "dataset.target_tokenizer=null", "model.network.shared=true",
    )  # fmt: skip
    network = learner.task.network
    assert network.encoder.embedding.tokens.weight is network.decoder.output.weight
    learner.save(tmp_path / "model")
    texts = data.sample("test")
    assert learner.predict(texts).texts == load_learner(tmp_path / "model").predict(texts).texts
    with pytest.raises(ConfigError, match="vocabularies differ"):
        make_learner(*prepared("model=transformer", "model.network.shared=true"))


def test_a_beam_and_its_errors(transformer, monkeypatch):
    learner, data = transformer
    greedy = learner.evaluate(data, "test")
    assert "beam_errors" not in figures(learner, data, greedy)
    monkeypatch.setattr(learner.task, "beam_width", 3)
    wide = learner.evaluate(data, "test")
    assert wide.metrics["exact_match"] >= greedy.metrics["exact_match"] - 0.02
    assert wide.metrics["loss"] == greedy.metrics["loss"]
    drawn, examples, predictions = figures(learner, data, wide), wide.examples, wide.predictions
    mistakes = predictions.mistakes(examples["target"])
    assert len(drawn["beam_errors"].rows) == np.count_nonzero(mistakes) > 0
    for source, written, reference, score, best, fault in drawn["beam_errors"].rows:
        place = list(examples["source"]).index(source)
        assert written == predictions.texts[place] and reference == examples["target"][place][0]
        assert score == f"{predictions.scores[place]:.4f}"
        assert score == best or fault == ("search" if float(best) > float(score) else "model")
    encoded = whole_batch(learner.preprocessor.encode(examples))
    best = learner.task.score(encoded["input_ids"], encoded["labels"])
    for score, other, mistake in zip(predictions.scores, best.tolist(), mistakes):
        assert mistake or score == pytest.approx(other, abs=1e-4)
    assert "attention" in drawn and len(drawn["translations"].rows) == data.sizes["test"]


def test_validation_is_greedy_and_predictions_use_the_beam(transformer, monkeypatch):
    learner, data = transformer
    widths, task = [], learner.task
    monkeypatch.setattr(task, "beam_width", 3)
    generate = task.generate
    monkeypatch.setattr(task, "generate", lambda source, width=None: widths.append(width) or generate(source, width))
    monkeypatch.setattr(task, "validation", Validation(task, learner.evaluators[:1], Subject(learner, data, "val")))
    batch = next(iter(data.loader("val", learner.preprocessor)))
    task.on_validation_epoch_start()
    task.validation_step(batch, 0)
    learner.predict(data.sample("test"))
    assert widths == [1, 3]


def test_attention_looks_at_the_token_that_is_written(recurrent):
    learner, data = recurrent
    agree = []
    for source, written, weights in look(learner, various(list(data.examples("test")["source"]), 4)):
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
        batch = next(iter(data.loader("val", learner.preprocessor)))
        with torch.no_grad():
            network = learner.task.network.eval()
            weights = network(batch["input_ids"], batch["decoder_input_ids"], with_attention=True)[1]
        return guided_attention_loss(weights, batch["attention_mask"], batch["labels"] != 0, 0.2).item()

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
