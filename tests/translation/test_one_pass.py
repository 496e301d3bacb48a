"""One-pass decoding: all tokens at once, the length from a predictor, targets from a teacher."""

from __future__ import annotations

import pytest
import torch

from mlrun.config.compose import compose
from mlrun.data.preprocess.tokenizer import EOS, PAD
from mlrun.errors import UserError
from mlrun.experiment.distillation import distil
from mlrun.experiment.run import run
from mlrun.experiment.stored import open_run
from mlrun.networks.text.nat import NonAutoregressiveTransformer
from mlrun.report import silent
from mlrun.tasks.nat import NonAutoregressiveTranslation
from tests.test_models import prepared, trained
from tests.translation.test_translation import REVERSAL

SMALL = [
    "model.network.width=32",
    "model.network.hidden=64",
    "model.network.layers=1",
    "dataset.batch_size=32",
    "optim.lr=0.01",
]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return NonAutoregressiveTransformer(9, 9, 6, width=16, heads=2, layers=1, dropout=0.0).eval()


def test_padding_of_source_and_target_changes_nothing(network):
    source, padded = torch.tensor([[4, 5, 3]]), torch.tensor([[4, 5, 3, 0, 0], [4, 5, 6, 7, 3]])
    alone = network(*network.encode(source), torch.tensor([2]))
    both = network(*network.encode(padded), torch.tensor([2, 6]))
    torch.testing.assert_close(both[:1, :2], alone)
    torch.testing.assert_close(
        network.length_scores(*network.encode(padded))[:1], network.length_scores(*network.encode(source))
    )


def test_the_length_of_the_best_text_is_its_own(network):
    task = NonAutoregressiveTranslation(network, "exact_match", length_beam=2).eval()
    memory, mask = network.encode(torch.tensor([[4, 5, 3], [6, 3, 0]]))
    tokens, totals = task.decode(memory, mask, torch.tensor([[1, 4], [3, 2]]))
    assert tokens.shape == (2, 2, 4)
    for row, lengths in enumerate([[1, 4], [3, 2]]):
        for beam, length in enumerate(lengths):
            made = tokens[row, beam]
            assert (made[:length] > EOS).all() and (made[length:] == EOS).all()
            shares = network(memory[row : row + 1], mask[row : row + 1], torch.tensor([length]))[0]
            shares[:, : EOS + 1] = shares[:, : EOS + 1].masked_fill(torch.arange(EOS + 1) != 1, -torch.inf)
            assert float(totals[row, beam]) == pytest.approx(
                float(shares.log_softmax(-1).max(-1).values.sum()), abs=1e-5
            )


def test_a_predicted_length_is_no_worse_than_the_maximum(tmp_path):
    found = {}
    for length in ("predicted", "maximum"):
        overrides = ["model=nat", *REVERSAL, *SMALL, f"model.network.length={length}", "trainer.max_epochs=8"]
        learner, data = trained(tmp_path / length, *overrides)
        found[length] = learner.evaluate(data, "test").metrics["exact_match"]
        first = learner.task.predict(next(iter(learner.task.loader(data, "test", torch.device("cpu"), (0, 1)))))
        assert not (first["sequences"] == PAD).any()
    assert found["predicted"] > 0.8 and found["predicted"] >= found["maximum"] - 0.05


def test_a_teacher_replaces_the_training_targets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    few = [
        *REVERSAL[:3],
        "dataset.rows=200",
        "dataset.split.val=40",
        "dataset.split.test=40",
        "dataset.measure=exact_match",
    ]
    teacher = ["model=transformer", *few, *SMALL, "trainer.max_epochs=1", "trainer.threads=1"]
    run(compose(teacher), tmp_path / "teacher", teacher, report=silent)
    cfg, data = prepared("model=nat", *few, "dataset.teacher=teacher")
    before = {part: [row[0] for row in data.examples(part)["target"]] for part in ("train", "test")}
    distil(data, cfg)
    after = {part: [row[0] for row in data.examples(part)["target"]] for part in ("train", "test")}
    _, learner = open_run("teacher")
    expected = learner.predict(data.examples("train").only(["source"])).answers()
    assert after["train"] == list(expected) != before["train"] and after["test"] == before["test"]
    data.teacher = "elsewhere"
    with pytest.raises(UserError, match="elsewhere"):
        distil(data, cfg)
