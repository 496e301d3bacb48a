"""Starting from word vectors: the rows of an embedding are matched by word, not by their number."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mlrun.adapt.sources import recipe_beside
from mlrun.adapt.target import Target
from mlrun.config.instantiate import instantiate
from mlrun.data.preprocess.preprocessor import OFFERS_WORDS
from mlrun.data.preprocess.tokenizer import SPECIAL
from mlrun.data.readers.tensors import load_tensors
from mlrun.data.readers.trust import check_code, has_signature
from mlrun.data.word_vectors import SUFFIXES, WordVectors, read_vectors
from mlrun.errors import ConfigError

PREFIX = "network."  # of the tensors of a task's only network


def is_vector_file(source: str) -> bool:
    """Whether a source is a file of word vectors in text format."""
    path = Path(source).expanduser()
    return path.suffix.lower() in SUFFIXES and path.is_file()


def file_vectors(source: str) -> WordVectors:
    """The vectors of a file in text format; the last file is kept. Raises DataError."""
    path = Path(source).expanduser()
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _read(path: Path, modified: int) -> WordVectors:
    return read_vectors(path)


def run_vectors(weights: Path, trust: bool = False) -> WordVectors | None:
    """The word vectors of a run whose network has a method `vectors`, from the file with its weights; None for any other run.

    Raises:
        UserError: a file is damaged, or can run code and is not trusted.
    """
    recipe = recipe_beside(weights)
    state = recipe.get("preprocessor") or {}
    if not state.get(OFFERS_WORDS):
        return None
    check_code(recipe["model"]["network"], f"{weights}: its recipe", has_signature(recipe), trust)
    network = instantiate(recipe["model"]["network"], "model.network")
    content = load_tensors(weights, trust)
    tensors = content.get("state_dict", content)
    network.load_state_dict(
        {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    )
    matrix = network.vectors().detach().float().cpu().numpy()
    return WordVectors(state["tokenizer"]["vocabulary"][len(SPECIAL) :], matrix[len(SPECIAL) :])


@torch.no_grad()
def copy_by_word(vectors: WordVectors, target: Target, words: list[str], learned: int, where: str) -> str:
    """Copies the vectors into the embedding of a task's vocabulary. Words without a vector keep their random initialization. A word without a vector
    of its own gets that of its lower-case form; a word in lower case, such as those of a tokenizer that lowercases, that of the first other spelling.

    The vectors as a whole are scaled to the variance of that initialization, for which the learning rate and the other layers were chosen.
    Kim 2014, arXiv:1408.5882, section 3.1, gives both the same variance, too.

    Args:
        vectors: the source.
        target: the task.
        words: its vocabulary, special tokens first.
        learned: number of these that come from the training texts, the first ones.
        where: key and source, for messages.

    Returns:
        A line for the user, with the share of words found.

    Raises:
        ConfigError: there is no embedding of these words, or it has another width, or no word is found.
    """
    found = [(name, m) for name, m in target.named_modules() if isinstance(m, nn.Embedding) and m.num_embeddings == len(words)]  # fmt: skip
    if not found:
        raise ConfigError(f"{where}: word vectors need a model with a word embedding, and this one has none")
    name, embedding = next((one for one in found if one[0].endswith("embedding")), found[0])
    width = vectors.matrix.shape[1]
    if embedding.embedding_dim != width:
        raise ConfigError(
            f"{where}: the vectors have {width} dimensions, and {name} has {embedding.embedding_dim}: set model.network.embedding={width}"
        )
    own, any_case = vectors.index, vectors.lowercase_index
    rows = [own.get(word, own.get(word.lower(), any_case.get(word, -1))) for word in words[len(SPECIAL) :]]
    there = torch.tensor([False] * len(SPECIAL) + [row >= 0 for row in rows])
    if not there.any():
        raise ConfigError(
            f"{where}: it has no vector for any of the {len(rows):,} tokens of this model; are they words?"
        )
    chosen = torch.from_numpy(vectors.matrix[[row for row in rows if row >= 0]])
    weight = embedding.weight
    spread = chosen.std()
    weight[there] = (chosen * (weight[there].std().cpu() / spread if spread > 0 else 1.0)).to(weight)
    known, from_texts = int(there[:learned].sum()), learned - len(SPECIAL)
    return (
        f"{known:,} of {from_texts:,} words of the training texts ({known / max(1, from_texts):.1%}) have a vector in {where.partition('=')[2]}"
        + (f"; {len(words) - learned:,} further words added from it" if len(words) > learned else "")
    )


def offered_words(source: str) -> dict[str, Any]:
    """The words of a file of vectors, in the form of the state of the preprocessor of a run."""
    return {OFFERS_WORDS: True, "tokenizer": {"vocabulary": list(file_vectors(source).words)}}
