"""Every model YAML, found by glob, at a size that takes a second or two."""

from __future__ import annotations

import pytest

from mlrun.config.compose import CONF, compose
from mlrun.experiment.run import run
from mlrun.report import silent
from tests.matrix.walk import walk

pytestmark = [pytest.mark.long, pytest.mark.renders]

MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
TEXT = ["dataset.split.train=0.02", "dataset.split.val=2000", "dataset.split.test=2000", "dataset.steps_per_epoch=3"]
GLYPHS = ["dataset.scripts=[GREEK]", "dataset.characters=20"]
PAIRS = ["dataset.rows=400", "dataset.split.val=50", "dataset.split.test=50"]
DOCS = ["dataset.packages=[filelock]"]
TINY_BERT = [f"model.network.encoder.{name}={value}" for name, value in {"width": 16, "heads": 2, "layers": 1}.items()]
TINY_BERT += ["model.preprocessor.tokenizer.size=400"]
MANUALS = ["dataset.packages=[joblib,networkx]", "dataset.split={train: 60, val: 20, test: 20}"]
ACTING = ["dataset.num_envs=2", "dataset.val_episodes=2", "dataset.test_episodes=2"]
DRAWN = ["dataset.split.train=200", "dataset.split.val=60", "dataset.split.test=60"]
TABLE = ["model.controller.epochs=1", "model.controller.steps_per_epoch=500", *ACTING[1:]]
SCENES = [
    "dataset.scenes=60",
    "dataset.split={train: 0.6, val: 0.2, test: 0.2}",
    "model.network.backbone.channels=[8,8,8,8]",
]
SIZES = {
    **dict.fromkeys(("localization", "yolo", "fcn"), SCENES),
    "unet": [*SCENES[:2], "model.network.backbone.channels=[8,8,8,8,8]"],
    "faster_rcnn": [*SCENES[:2], "model.network.backbone.channels=[8,8,8]"],
    **dict.fromkeys(("fast_rcnn", "rcnn"), [*SCENES[:2], "model.network.backbone.channels=[8,8,8]", "model.network.step=0.6"]),
    "multi_label": [*SCENES[:2], "model.network.channels=[8,8,8,8]"],
    "vit": ["model.network.width=16", "model.network.layers=2"],
    "captioning": [*SCENES[:2], "model.network.encoder.channels=[8,8,8,8]", "model.network.decoder.width=16"],
    "clip": [*SCENES[:2], "model.network.image_encoder.channels=[8,8,8,8]", "model.network.text_encoder.width=16"],
    "vlm": [*SCENES[:2], "model.network.encoder.channels=[8,8,8,8]", "model.network.language.width=16"],
    "landmarks": ["dataset.rows=60", "model.network.channels=[8,8,8,8]", "model.network.hidden=[16]"],
    "style_transfer": ["dataset.side=32", "dataset.steps_per_epoch=3", "model.network.channels=[8,8,8,8]"],
    "alexnet": ["model.network.channels=[8,8,8,8,8]", "model.network.hidden=32"],
    "vgg": ["model.network.width=0.03125"],
    "nin": ["model.network.widths=[[8,8],[8,8]]", "model.network.head_widths=[8]"],
    "googlenet": ["model.network.width=0.03125"],
    "resnet": ["model.network.depth=8", "model.network.width=4"],
    "densenet": ["model.network.blocks=[2,2]", "model.network.growth=4"],
    "cnn": ["model.network.channels=[8,8]", "model.network.hidden=[16]"],
    "series_fcn": ["model.network.channels=[4,4,4]", "dataset.rows=90"],
    "series_resnet": ["model.network.channels=[4,4,4]", "dataset.rows=90"],
    "cnn3d": ["model.network.channels=[4,4]", "dataset.rows=90"],
    **dict.fromkeys(("word2vec", "glove"), [*DOCS, "model.network.width=8"]),
    "elmo": [*DOCS, "dataset.steps_per_epoch=2", "model.network.elmo.width=8", "model.preprocessor.tokenizer.size=300"],
    "text_elmo": ["dataset.packages=[filelock,pooch]", "model.network.elmo.width=8", "model.network.hidden=8"],
    "one_hot": DOCS,
    **dict.fromkeys(("text_bag", "text_rnn", "text_cnn", "text_transformer"), ["dataset.languages=[de,fr,vi]"]),
    "tfidf_svd": [*DOCS, "model.decomposer.n_components=4"],
    **dict.fromkeys(("gpt", "lstm_lm", "gru_lm", "rnn_lm", "window_lm"), TEXT),
    "ngram": TEXT[:3],
    "transformer": [*PAIRS, "model.network.width=16"],
    **dict.fromkeys(("seq2seq", "seq2seq_attention"), [*PAIRS, "model.network.hidden=16"]),
    **dict.fromkeys(("dqn", "a2c", "ppo"), ["model.steps_per_epoch=512", *ACTING]),
    "reinforce": ["model.steps_per_epoch=200", *ACTING],
    **dict.fromkeys(("q_learning", "sarsa", "monte_carlo"), TABLE),
    "value_iteration": ACTING[1:],
    **dict.fromkeys(("autoencoder", "conv_autoencoder", "vae", "conditional_vae", "gan", "dcgan", "conditional_gan"), DRAWN),
    "diffusion": [*DRAWN, "model.steps=10"],
    "diffusion_2d": ["dataset.rows=300", "model.steps=10"],
    "bert_pretrain": ["dataset.packages=[pooch,joblib]", *TINY_BERT, "trainer.max_steps=3"],
    "bert_classifier": ["dataset.packages=[filelock,pooch]", *TINY_BERT],
    **dict.fromkeys(("bert_pair", "bert_tagger", "bert_qa", "text_encoder"), [*MANUALS, *TINY_BERT]),
    "rag": MANUALS,
    "nat": [*PAIRS, "model.network.width=16"],
    "seqgan": ["dataset.rows=200", "dataset.vocabulary=20", "dataset.length=5"],
    "text_reinforce": [*PAIRS, "model.network.width=16", "model.likelihood_epochs=0", "model.group=2", "dataset.split.train=64"],
    **dict.fromkeys(("siamese", "triplet", "verification"), GLYPHS),
    "dbscan": ["dataset.rows=600"],
    "tsne": ["dataset.split.train=200", "dataset.split.val=60", "dataset.split.test=60"],
    "cyclegan": [f"dataset.images.split.{part}={size}" for part, size in (("train", 60), ("val", 30), ("test", 30))],
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One working directory, with one database and one reference classifier."""
    folder = tmp_path_factory.mktemp("models")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setattr("mlrun.experiment.reference_classifier.EPOCHS", 1)
        yield folder


@pytest.mark.parametrize("name", [name for name in MODELS if name != "prompting"])
def test_every_model_goes_all_the_way(name, place):
    walk(place / name, f"model={name}", *SIZES.get(name, []))


def test_prompting_goes_all_the_way(place):
    """It needs the run of a language model."""
    overrides = [
        "model=gpt",
        *TEXT,
        "model.network.width=16",
        "model.network.heads=2",
        "trainer.max_epochs=1",
        "trainer.threads=1",
    ]
    run(compose(overrides), place / "language_model", overrides, report=silent)
    few = [
        "dataset.packages=[filelock,pooch]",
        "model.evaluators=[classification]",
        "dataset.split={train: 20, val: 4, test: 4}",
    ]
    walk(place / "prompting", "model=prompting", f"model.prompting.weights={place / 'language_model'}", *few)
