"""Encoders of texts for retrieval: the model of a run, or a published checkpoint of BERT's family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mlrun.data.examples import Examples
from mlrun.data.features import Text
from mlrun.data.predictions import VectorPredictions
from mlrun.errors import ConfigError
from mlrun.predictions.learner import Learner, load_learner

TASK = "mlrun.tasks.contrastive.Contrastive"
NETWORK = "mlrun.networks.text.bert.TextEncoder"
BERT = "mlrun.networks.text.bert.Bert"
# settings of config.json
SIZES = (
    "vocab_size",
    "hidden_size",
    "num_attention_heads",
    "num_hidden_layers",
    "intermediate_size",
    "max_position_embeddings",
)
PUBLISHED_LENGTH = 256  # tokens of a text, at most


class TextEncoder:
    """A learner that answers a text with a vector, as a function of texts."""

    def __init__(self, learner: Learner):
        self.learner = learner

    def __call__(self, texts: list[str]) -> np.ndarray:
        """(texts, width) float32."""
        ((name, _),) = self.learner.inputs.items()
        column = np.empty(len(texts), dtype=object)
        column[:] = texts
        found: Any = self.learner.predict(Examples({name: column}, self.learner.inputs))
        return np.asarray(found.values, dtype=np.float32)


def open_encoder(source: str, policy: str, trust: bool, key: str) -> TextEncoder:
    """The encoder that a source of weights names.

    Args:
        source: directory or MLflow id of a run; a published checkpoint, see `mlrun.data.published`.
        policy: see there.
        trust: see `load_learner`.
        key: the configuration key that error messages name.

    Raises:
        ConfigError: there is none, or its model does not answer one text with a vector.
    """
    from mlrun.adapt.sources import find_weights
    from mlrun.data.published import is_published
    from mlrun.training.adapting import find_run

    if is_published(source):
        return TextEncoder(published_encoder(source, policy, trust, key))
    learner = load_learner(find_weights(source, find_run, key).parent, trust)
    if [type(one) for one in learner.inputs.values()] != [Text]:
        raise ConfigError(f"{key}={source}: this model does not read one text ({', '.join(learner.inputs)})")
    if not isinstance(_answer_to(learner), VectorPredictions):
        raise ConfigError(
            f"{key}={source}: this model does not answer a text with a vector; give a run of text_encoder or bert_pretrain"
        )
    return TextEncoder(learner)


def _answer_to(learner: Learner) -> Any:
    """What a learner answers to a text of one word."""
    ((name, _),) = learner.inputs.items()
    return learner.predict(Examples({name: np.array(["text"], dtype=object)}, learner.inputs))


def published_encoder(source: str, policy: str, trust: bool, key: str) -> Learner:
    """A published checkpoint of BERT's family as a learner that answers a text with the mean of its tokens' vectors. Raises ConfigError."""
    from mlrun.adapt.names import some
    from mlrun.config.instantiate import instantiate
    from mlrun.data.preprocess.pieces import CorpusPreprocessor
    from mlrun.data.published import directory_of, published_config, published_tensors, published_tokenizer
    from mlrun.training.learner import NetworkLearner

    folder = directory_of(source, policy, key)
    config, tokenizer = published_config(folder), published_tokenizer(folder)
    if config.get("model_type") != "bert" or tokenizer is None:
        raise ConfigError(f"{key}={source}: is not of BERT's family (model_type {config.get('model_type')})")
    absent = [name for name in SIZES if not isinstance(config.get(name), int)]
    if absent:
        raise ConfigError(f"{key}={source}: its config.json is damaged: it lacks {', '.join(absent)}")
    encoder = {
        "_target_": BERT,
        "vocab_size": config["vocab_size"],
        "width": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "layers": config["num_hidden_layers"],
        "hidden": config["intermediate_size"],
        "positions": config["max_position_embeddings"],
        "dropout": 0.0,
        "eps": config.get("layer_norm_eps", 1e-12),
    }
    model = {"_target_": TASK, "network": {"_target_": NETWORK, "encoder": encoder}, "evaluators": [], "figures": []}
    length = min(PUBLISHED_LENGTH, config["max_position_embeddings"])
    inputs = {"text": Text()}
    preprocessor = CorpusPreprocessor(inputs, {}, max_length=length)
    preprocessor.tokenizer = tokenizer
    task: Any = instantiate(
        {key: value for key, value in model.items() if key not in ("evaluators", "figures")}, "model"
    )
    tensors, own = task.network.translate(published_tensors(folder, trust)), task.network.state_dict()
    wrong = [name for name, one in own.items() if name not in tensors or tensors[name].shape != one.shape]
    wrong = [
        name for name in wrong if not name.startswith("encoder.pooler.")
    ]  # the mean of the tokens needs no pooling layer
    if wrong:
        raise ConfigError(
            f"{key}={source}: its weights lack {some(wrong)}, or have them in another size than its config.json says"
        )
    task.network.load_state_dict({name: one for name, one in tensors.items() if name in own}, strict=False)
    recipe = {
        "model": model,
        "preprocessor": preprocessor.state,
        "inputs": {name: feature.state() for name, feature in inputs.items()},
        "targets": {},
        "channels_last": False,
    }
    return NetworkLearner(task.eval(), preprocessor, [], recipe)


def load_encoder(directory: Path, trust: bool) -> TextEncoder:
    """The encoder that was saved there."""
    return TextEncoder(load_learner(directory, trust))
