"""Prompting: prompts, likelihoods of class words, calibration, numbers of examples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mlrun.data.features import Label, Text
from mlrun.errors import ConfigError
from mlrun.estimators.causal_models import CausalModel
from mlrun.estimators.prompting import PromptLearner, Settings
from mlrun.evaluation.evaluator import Subject
from mlrun.evaluation.shots import Shots
from tests.test_models import prepared


class Echo(CausalModel):
    """A language model of characters that repeats: the next character is likely one that occurred, the more often the likelier."""

    limit = 400

    def encode(self, text):
        return [ord(letter) % 128 for letter in text]

    def decode(self, ids):
        return "".join(map(chr, ids))

    def logits(self, ids, mask):
        counts = torch.nn.functional.one_hot(ids, 128).cumsum(1).float()
        return (1 + counts).log()


@pytest.fixture
def learner():
    label = Label(["x", "y"])
    recipe = {
        "model": {"evaluators": [], "figures": [], "monitor": "accuracy"},
        "inputs": {"text": Text().state()}, "targets": {"label": label.state()},
    }  # fmt: skip
    settings = Settings(weights="run", template="Text: {text}\nClass: {label}", words={"x": "xxx", "y": "yyy"})
    shots = Shots(shots=[0, 2], draws=2, rows=10)
    return PromptLearner(
        settings, Echo(), label, [["x one", "x two"], ["y one", "y two"]], [shots, _accuracy()], recipe
    )


def _accuracy():
    from mlrun.evaluation.classification import Classification

    return Classification()


def test_a_prompt_ends_where_the_class_stands(learner):
    shots = [("first", "xxx")]
    assert learner.settings.prompt("a  b", shots) == "Text: first\nClass: xxx\n\nText: a b\nClass:"
    assert learner.settings.prompt("b", [("a {label}", "xxx")]).startswith("Text: a {label}\nClass: xxx\n")


def test_a_prompt_that_is_cut_is_told_once(learner, capsys):
    learner.model.limit = 30
    learner.probabilities(["x" * 40], 0, 0)
    learner.probabilities(["x" * 40], 0, 0)
    assert capsys.readouterr().err.count("a prompt has 57 tokens, and the model reads 30") == 1


def test_a_stored_model_uses_the_examples_and_words_of_its_run(tmp_path, monkeypatch):
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(f"text {at},{at % 2}\n" for at in range(40)))
    monkeypatch.setattr("mlrun.estimators.prompting.open_causal_model", lambda *_: Echo())
    cfg, data = prepared(
        "model=prompting", "dataset=labelled_text", f"dataset.path={tmp_path / 'rows.csv'}", "model.prompting.weights=run", "seed=7",
        "model.prompting.words={0: zero, 1: one}",
    )  # fmt: skip
    learner = PromptLearner.from_config(cfg, data)
    stored = PromptLearner.load(tmp_path, learner.recipe)
    assert stored.words == learner.words == ["zero", "one"] and stored.settings.seed == learner.settings.seed == 7


def test_likelihoods_are_those_of_the_tokens_of_the_ending():
    model = Echo()
    sums, counts = model.continuations(["ab", "abcab"], ["a", "zz"])
    assert counts.tolist() == [1, 2]
    # after "ab" each of a and b has the weight 2 of 130; after "abcab" an unseen letter 1 of 133, then 2 of 134
    np.testing.assert_allclose(sums, [np.log(2 / 130), np.log(1 / 133) + np.log(2 / 134)], rtol=1e-5)


def test_endings_of_one_token_share_one_reading_of_their_prompt():
    model, read = Echo(), []
    logits = model.logits
    model.logits = lambda ids, mask: read.extend(ids.tolist()) or logits(ids, mask)
    together, counts = model.continuations(["ab"] * 3, ["a", "b", "z"])
    assert len(read) == 1 and counts.tolist() == [1, 1, 1]
    np.testing.assert_allclose(together, [model.continuations(["ab"], [ending])[0][0] for ending in "abz"], rtol=1e-6)


def test_the_first_token_of_all_has_no_probability():
    sums, counts = Echo().continuations(["", "a"], ["a", "b"])
    assert sums[0] == 0 and counts.tolist() == [1, 1] and sums[1] < 0


def test_the_class_whose_words_are_likely_is_chosen(learner):
    shares = learner.probabilities(["xxxx xxxx", "yyyy yyyy"], 0, 0)
    assert shares.argmax(1).tolist() == [0, 1] and np.allclose(shares.sum(1), 1)
    learner.settings.answer = "generation"
    learner.words = ["T", "e"]
    assert set(np.unique(learner.probabilities(["TTTTTTTTTTTT"], 0, 0))) <= {0.0, 0.5, 1.0}


def test_calibration_divides_by_what_an_empty_text_says(learner):
    learner.settings.template = "xxxxxx {text}\n{label}"  # the template prefers one class
    assert learner.probabilities(["one y y y", "one x"], 0, 0).argmax(1).tolist() == [0, 0]
    learner.settings.calibrated = True
    assert learner.probabilities(["one y y y", "one x"], 0, 0).argmax(1).tolist() == [1, 0]


def test_examples_are_drawn_by_seed_and_cover_the_classes(learner):
    first, again, other = learner.shots(4, 0), learner.shots(4, 0), [learner.shots(4, seed) for seed in range(1, 6)]
    assert first == again and any(one != first for one in other)
    assert sorted(words for _, words in first) == ["xxx", "xxx", "yyy", "yyy"] and len({text for text, _ in first}) == 4


def test_accuracy_by_the_number_of_examples(learner):
    class Data:
        inputs, targets = ("text",), ("label",)

    evaluator = learner.evaluators[0]
    evaluator.begin(Subject(learner, Data(), "test"))
    evaluator.update({}, {"text": ["xxxx", "yyyy"], "label": np.array([0, 1])}, None)
    measured = evaluator.compute()
    assert measured["accuracy_0_shots"] == 1.0 and set(measured) == set(evaluator.metrics)
    assert set(evaluator.metrics) == {"accuracy_0_shots", "accuracy_2_shots", "deviation_2_shots"}


def test_faulty_settings_are_refused():
    from mlrun.predictions.learner import make_learner

    few = ["model=prompting", "dataset=docstring_packages", "dataset.packages=[pooch,filelock]"]
    for setting, message in (
        ("model.prompting.weights=null", "give a language model"),
        ("model.prompting.weights=nowhere", "no such file"),
        ("model.prompting.template=classify", "must hold {text} once"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_learner(*prepared(*few, "model.prompting.weights=nowhere", setting))


def test_logits_are_those_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the extra [hub]")
    from mlrun.estimators.causal_models import PublishedModel

    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=32
    )  # fmt: skip
    torch.manual_seed(0)
    published = transformers.LlamaForCausalLM(config).eval()
    published.save_pretrained(tmp_path)
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({f"w{at}": at for at in range(64)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path)
    model = PublishedModel(tmp_path, "model.prompting.weights")
    ids = torch.tensor([model.encode("w3 w5 w7")])
    with torch.inference_mode():
        torch.testing.assert_close(model.logits(ids, torch.ones_like(ids).bool()), published(ids).logits)
    sums, counts = model.continuations(["w3 w5", "w3"], [" w7", " w5 w7"])
    assert counts.tolist() == [1, 2] and sums[1] < sums[0] < 0
