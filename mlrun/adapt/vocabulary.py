"""Comparing the vocabularies of two preprocessors: weights of embeddings and output layers belong to particular tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlrun.adapt.by_word import is_vector_file, offered_words
from mlrun.adapt.sources import TORCHVISION, Find, find_weights, recipe_beside
from mlrun.data.published import directory_of, is_published, published_tokenizer
from mlrun.data.readers.trust import check_code, has_signature

LEARNED = "learned"  # the key of a text encoder's state with the number of tokens of the training texts
VOCABULARY = "vocabulary"  # the key of a tokenizer's state that lists its tokens in the order of their ids


def source_preprocessor(
    source: str,
    find: Find | None = None,
    key: str = "model.init_from",
    trust: bool = False,
    weights_policy: str = "offline",
) -> dict[str, Any] | None:
    """The state of the preprocessor with which the weights of `source` were trained; None where it is not stored with them.

    Args:
        source, find, key: see `find_weights`, which may raise, too.
        trust: also a state of somebody else that names code of its own.
        weights_policy: "offline" or "fetch", see `mlrun.data.published`.

    Raises:
        UserError: for such a state that is not trusted.
    """
    if source.startswith(TORCHVISION):
        return None
    if is_published(source):
        tokenizer = published_tokenizer(directory_of(source, weights_policy, key))
        return None if tokenizer is None else {"tokenizer": tokenizer.state}
    if is_vector_file(source):
        return offered_words(source)
    weights = find_weights(source, find, key)
    recipe = recipe_beside(weights)
    state = preprocessor_of(recipe)
    check_code(state, f"{key}={source}: the recipe of its preprocessor", has_signature(recipe), trust)
    return state


def preprocessor_of(recipe: Mapping[str, Any]) -> dict[str, Any] | None:
    """The preprocessor state in a saved recipe; earlier versions stored it as `transform`."""
    return recipe.get("preprocessor", recipe.get("transform"))


def vocabularies(state: Any) -> list[list[str]]:
    """The vocabularies in a preprocessor state, in the order in which it holds them; a shared one counts once."""
    return list(_walk(state))


def _walk(node: Any) -> Iterator[list[str]]:
    if isinstance(node, Mapping):
        tokens = node.get(VOCABULARY)
        if isinstance(tokens, Mapping):  # token -> id
            yield [str(token) for token, _ in sorted(tokens.items(), key=lambda item: item[1])]
        elif isinstance(tokens, (list, tuple)):
            yield [str(token) for token in tokens]
        for name, value in node.items():
            if name != VOCABULARY:
                yield from _walk(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _walk(value)


def learned_tokens(state: Any, words: list[str]) -> int:
    """How many of the tokens of a vocabulary come from the training texts; the others came with word vectors, and follow them."""
    if isinstance(state, Mapping):
        if LEARNED in state and list(state.get("tokenizer", {}).get(VOCABULARY, [])) == words:
            return int(state[LEARNED])
        return min((learned_tokens(value, words) for value in state.values()), default=len(words))
    return len(words)


def same_vocabulary(one: Any, other: Any) -> bool:
    """Whether two preprocessor states give every token the same id. True where neither has a vocabulary."""
    return vocabularies(one) == vocabularies(other)


def misleading_sizes(own: Any, source: Any) -> list[int]:
    """Sizes of vocabularies in `own` for which `source` has one of the same size with other tokens.

    A tensor of that size would fit by its shape, and give each token the weights of another one.
    """
    mine, theirs = vocabularies(own), vocabularies(source)
    if len(mine) == len(theirs):
        return [len(a) for a, b in zip(mine, theirs) if a != b and len(a) == len(b)]
    return [len(a) for a in mine if a not in theirs and any(len(a) == len(b) for b in theirs)]
