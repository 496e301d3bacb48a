"""BERT: word pieces, masked pairs, the encoder against transformers', pre-training, and fine-tuning from a run."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from mlrun.cli import dispatch
from mlrun.config.compose import compose
from mlrun.data.masked_pairs import Documents, MaskedPairs
from mlrun.data.preprocess.text import IGNORED
from mlrun.data.preprocess.wordpiece import SPECIAL, WordPiece
from mlrun.errors import ConfigError, UserError
from mlrun.experiment.run import run
from mlrun.networks.text.bert import Bert
from mlrun.predictions.learner import load_learner, make_learner
from mlrun.report import silent
from tests.test_models import prepared

SIZES = {"width": 32, "heads": 2, "layers": 1, "positions": 64}
ENCODER = [f"model.network.encoder.{name}={value}" for name, value in SIZES.items()]
COLOURS, FRUITS, TOOLS = "red green blue".split(), "apple pear plum".split(), "saw drill file".split()


def story(random, words, count):
    """Sentences in which the first word determines the third one, each text about one of two things."""
    return " ".join(f"the {words[at]} is {COLOURS[at]} and {words[at]} ." for at in random.integers(0, 3, count))


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(0)
    return [story(random, (FRUITS, TOOLS)[at % 2], 6) for at in range(300)]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory, texts):
    """(directory, metrics) of a pre-training on the stories, in a working directory of its own."""
    folder = tmp_path_factory.mktemp("bert")
    with open(folder / "stories.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *((text, "ab"[at % 2]) for at, text in enumerate(texts))])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        overrides = [
            "model=bert_pretrain", "dataset=labelled_text", "dataset.path=stories.csv", *ENCODER, "dataset.batch_size=16", "optim.lr=0.01",
            "trainer.max_epochs=30", "trainer.threads=1", "model.preprocessor.max_length=48", "model.preprocessor.tokenizer.size=100",
        ]  # fmt: skip
        result = run(compose(overrides), folder / "run", overrides, report=silent)
        yield folder, result.metrics


# --- word pieces ---------------------------------------------------------------------------------------------------


def test_training_again_gives_the_same_vocabulary():
    random = np.random.default_rng(0)
    texts = [" ".join("".join(random.choice(list("abcdefgh"), 4)) for _ in range(20)) for _ in range(50)]
    assert len({tuple(WordPiece.train(texts, size=150).vocabulary) for _ in range(4)}) == 1


def test_word_pieces_are_restored_and_know_their_places():
    tokenizer = WordPiece.train(["the arrays and the array", "an arrayed arrangement"] * 5, size=60)
    text = "The Array, arrangéd"
    ids, offsets = tokenizer.encode_with_offsets(text)
    assert ids.tolist() == tokenizer.encode(text).tolist() == next(tokenizer.encode_all([text])).tolist()
    assert tokenizer.decode(tokenizer.encode("the arrayed arrays")) == "the arrayed arrays"
    assert text[offsets[0, 0] : offsets[0, 1]] == "The" and offsets[-1, 1] == len(text)
    assert [len(pieces) > 0 for pieces in tokenizer.encode_words(["the", "\u200d"])] == [True, True]
    assert WordPiece.from_state(json.loads(json.dumps(tokenizer.state))).encode(text).tolist() == ids.tolist()
    assert tokenizer.mask not in tokenizer.encode("the [MASK] array")
    assert (tokenizer.encode_masked("the [MASK] array [MASK]") == tokenizer.mask).sum() == 2


# --- masked pairs --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(texts):
    tokenizer = WordPiece.train(texts, size=100)
    return MaskedPairs(Documents.of(texts, tokenizer), tokenizer, 40, 64, shuffle=True, seed=1)


def test_a_published_vocabulary_has_a_token_per_line(tmp_path):
    tokens = [*SPECIAL, "\u2028", "\x85", "cat"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    assert WordPiece.from_file(tmp_path / "vocab.txt").encode("cat").tolist() == [7]


def test_masking_replaces_80_percent_and_keeps_10(pairs):
    tokenizer, counts = pairs.tokenizer, np.zeros(4)
    for batch in pairs:
        ids, labels = batch["input_ids"], batch["labels"]
        chosen = labels != IGNORED
        plain = batch["attention_mask"] & (ids != tokenizer.cls) & (ids != tokenizer.sep)
        assert not (chosen & ~plain).any()  # special tokens are never predicted
        counts += [
            plain.sum(),
            chosen.sum(),
            (ids[chosen] == tokenizer.mask).sum(),
            (ids[chosen] == labels[chosen]).sum(),
        ]
    assert counts[1] / counts[0] == pytest.approx(0.15, abs=0.01)
    assert counts[2] / counts[1] == pytest.approx(0.8, abs=0.03)
    assert counts[3] / counts[1] == pytest.approx(0.1, abs=0.03)  # random tokens can be the same


def test_each_epoch_is_drawn_anew_and_a_validation_is_not(pairs, texts):
    first, second = ([batch["labels"] for batch in pairs] for _ in range(2))
    assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(first, second))
    fixed = MaskedPairs(pairs.documents, pairs.tokenizer, 40, 64, seed=1)
    once, again = ([batch["input_ids"] for batch in fixed] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(once, again))


def test_the_second_segment_follows_the_first_or_is_from_elsewhere(pairs, texts):
    tokenizer = pairs.tokenizer
    whole = [" " + " ".join(map(str, tokenizer.encode(text))) + " " for text in texts]
    seen = {0: [], 1: []}
    for batch in pairs:
        for row, mark in enumerate(batch["next_sentence_label"].tolist()):
            ids = torch.where(batch["labels"][row] != IGNORED, batch["labels"][row], batch["input_ids"][row])
            present, segment = batch["attention_mask"][row], batch["token_type_ids"][row]
            kept = ids[present].tolist()
            first = [one for one, part in zip(kept, segment[present]) if part == 0]
            second = [one for one, part in zip(kept, segment[present]) if part == 1]
            assert first[0] == tokenizer.cls and first[-1] == second[-1] == tokenizer.sep and len(kept) <= 40
            joined = " " + " ".join(map(str, [*first[1:-1], *second[:-1]])) + " "
            seen[mark].append(any(joined in text for text in whole))
    assert all(seen[0]) and np.mean(seen[1]) < 0.5
    assert len(seen[1]) / (len(seen[0]) + len(seen[1])) == pytest.approx(0.5, abs=0.06)


# --- the network ---------------------------------------------------------------------------------------------------


@pytest.fixture
def bert():
    torch.manual_seed(0)
    return Bert(30, **{**SIZES, "layers": 2}).eval()


def test_padding_changes_nothing_and_segments_do(bert):
    ids, mask = torch.tensor([[2, 7, 9, 3]]), torch.ones(1, 4, dtype=torch.bool)
    padded = torch.tensor([[2, 7, 9, 3, 0, 0]])
    plain = bert(ids, mask)
    torch.testing.assert_close(bert(padded, padded != 0)[:, :4], plain)
    assert not torch.allclose(bert(padded, None)[:, :4], plain)  # without the mask padding is read
    assert not torch.allclose(bert(ids, mask, torch.tensor([[0, 0, 1, 1]])), plain)
    assert not torch.allclose(bert(ids[:, [0, 2, 1, 3]], mask)[:, 0], plain[:, 0])  # the order counts


def published_weights(vocabulary=20, width=8, layers=2, hidden=16, positions=12):
    """Tensors under transformers' names, each a sine of its own frequency."""
    shapes = {
        "embeddings.word_embeddings.weight": (vocabulary, width),
        "embeddings.position_embeddings.weight": (positions, width),
    }
    shapes["embeddings.token_type_embeddings.weight"] = (2, width)
    norms = ["embeddings.LayerNorm"]
    linear = {"pooler.dense": (width, width)}
    for at in range(layers):
        layer = f"encoder.layer.{at}"
        linear |= {f"{layer}.attention.self.{name}": (width, width) for name in ("query", "key", "value")}
        linear |= {f"{layer}.attention.output.dense": (width, width), f"{layer}.intermediate.dense": (hidden, width)}
        linear[f"{layer}.output.dense"] = (width, hidden)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    for name in norms:
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    return {
        name: 0.5 * torch.sin((1 + at) * 0.7 * torch.arange(np.prod(shape), dtype=torch.float64)).float().reshape(shape)
        for at, (name, shape) in enumerate(sorted(shapes.items()))
    }


# transformers 5.24, BertModel(BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
# max_position_embeddings=12)), of the weights and inputs below: the vectors of the first token and the pooled ones
RECORDED = [
    [0.0, -0.773567, -0.534473, 0.097602, 0.973698, -0.176063, -0.867986, 0.10072],
    [0.0, -0.782752, -0.50493, 0.176267, 1.001121, -0.17505, -0.820987, 0.099264],
    [0.199108, 0.726772, -0.048637, -0.725215, -0.101835, 0.710754, 0.241011, -0.682568],
    [0.208195, 0.703963, -0.063611, -0.7032, -0.081655, 0.68906, 0.216949, -0.66088],
]


@pytest.mark.parametrize("width, deviation", [(768, 0.02), (192, 0.04)])
def test_narrow_networks_start_with_larger_weights(width, deviation):
    bert = Bert(100, width=width, heads=2, layers=1)
    for layer in (bert.tokens, bert.blocks[0].attention.project, bert.blocks[0].feed_forward[0], bert.pooler):
        assert layer.weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_the_encoder_equals_transformers(tmp_path):
    bert = Bert(20, 8, 2, 2, 16, positions=12).eval()
    missing = bert.load_state_dict(bert.translate(published_weights()))
    assert not missing.missing_keys and not missing.unexpected_keys
    ids = torch.tensor([[2, 5, 9, 3, 7, 3], [2, 11, 3, 4, 0, 0]])
    segments = torch.tensor([[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 0]])
    vectors = bert(ids, ids != 0, segments)
    found = torch.cat([vectors[:, 0], bert.pool(vectors)])
    torch.testing.assert_close(found, torch.tensor(RECORDED), atol=1e-5, rtol=0)


def test_a_directory_of_a_published_checkpoint_is_a_source_of_weights(tmp_path, monkeypatch):
    folder = tmp_path / "published"
    folder.mkdir()
    torch.save(published_weights(), folder / "pytorch_model.bin")
    sizes = {
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 16,
        "max_position_embeddings": 12,
    }
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "vocab_size": 20, **sizes}))
    (folder / "vocab.txt").write_text("\n".join([*SPECIAL, *"abcdefghijklmno"]))
    monkeypatch.chdir(tmp_path)
    with open("letters.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *(("a b c" if at % 2 else "m n o", at % 2) for at in range(40))])
    own = ["model=bert_classifier", "dataset=labelled_text", "dataset.path=letters.csv", f"model.init_from={folder}"]
    with pytest.raises(
        ConfigError, match=r"set model.network.encoder.width=8 model.network.encoder.heads=2 .*positions=12"
    ):
        make_learner(*prepared(*own, *ENCODER))
    fitting = {"width": 8, "heads": 2, "layers": 2, "hidden": 16, "positions": 12}
    learner = make_learner(
        *prepared(
            *own,
            *(f"{'+' * (k == 'hidden')}model.network.encoder.{k}={v}" for k, v in fitting.items()),
            "model.preprocessor.max_length=12",
        )
    )
    assert learner.preprocessor.tokenizer.vocabulary == [*SPECIAL, *"abcdefghijklmno"]
    assert torch.equal(
        learner.task.network.encoder.tokens.weight, published_weights()["embeddings.word_embeddings.weight"]
    )
    for source, message in (
        ("package:no-such-package", "no installed package"),
        ("hub:nobody/nothing", "huggingface_hub|is not among"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_learner(*prepared(*own[:-1], f"model.init_from={source}"))


# --- pre-training and what follows ---------------------------------------------------------------------------------


def test_pretraining_learns_both_tasks(pretrained):
    _, metrics = pretrained
    # the noun of a sentence determines its colour; segments of two stories differ in their nouns
    assert metrics["test/masked_accuracy"] > 2 * metrics["test/baseline_masked_accuracy"]
    assert metrics["test/next_sentence_accuracy"] > 0.6


def test_gaps_are_filled(pretrained, capsys):
    folder, _ = pretrained
    assert (
        dispatch(["predict", str(folder / "run"), "--fill", "the apple is [MASK] and apple .", "--choices", "3"]) == 0
    )
    said = capsys.readouterr().out
    assert said.startswith("[MASK] 1: ") and {one.split()[0] for one in said[10:].split(", ")} == set(COLOURS)
    with pytest.raises(UserError, match="has no .MASK."):
        dispatch(["predict", str(folder / "run"), "--fill", "no gap"])


def test_fine_tuning_takes_encoder_and_vocabulary(pretrained):
    folder, _ = pretrained
    source = load_learner(folder / "run" / "model")
    learner = make_learner(
        *prepared(
            "model=bert_classifier",
            "dataset=labelled_text",
            "dataset.path=stories.csv",
            *ENCODER,
            f"model.init_from={folder / 'run'}",
        )
    )
    assert learner.preprocessor.tokenizer.vocabulary == source.preprocessor.tokenizer.vocabulary
    for name, tensor in source.task.network.encoder.state_dict().items():
        assert torch.equal(learner.task.network.encoder.state_dict()[name], tensor), name
