"""The state of environments as plain containers and tensors, so that checkpoints load with `weights_only=True`.

Saved are numbers, text, arrays, sequences and random generators among the attributes of an environment, of its wrappers, and of
the environments of a vector. Everything else (spaces, functions, windows, dicts whose keys are not text) is assumed to be
constant: an environment that changes such an attribute during an episode resumes with the value that a new one has.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

_SKIP = object()


def capture(environment: Any) -> dict[str, Any]:
    """State of a gymnasium environment, wrapper or vector environment."""
    kept: dict[str, Any] = {}
    for name, value in vars(environment).items():
        if name == "env":
            kept[name] = capture(value)
        elif name == "envs":
            kept[name] = [capture(child) for child in value]
        elif (encoded := encode(value)) is not _SKIP:
            kept[name] = encoded
    return kept


def restore(environment: Any, state: dict[str, Any]) -> None:
    """Restores what `capture` returned, in an environment of the same kind."""
    for name, value in state.items():
        if name == "env":
            restore(environment.env, value)
        elif name == "envs":
            for child, kept in zip(environment.envs, value, strict=True):
                restore(child, kept)
        else:
            vars(environment)[name] = decode(value, vars(environment).get(name))


def encode(value: Any) -> Any:
    """A value as plain containers and tensors; `_SKIP` for a value of a kind that is not saved."""
    if isinstance(value, np.generic):  # first, because np.float64 is a subclass of float
        return {"scalar": torch.from_numpy(np.array([value]))} if value.dtype.kind in "biuf" else _SKIP
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"plain": value}
    if isinstance(value, np.ndarray):
        return {"array": torch.from_numpy(np.array(value))} if value.dtype.kind in "biuf" else _SKIP
    if isinstance(value, np.random.Generator):
        return {"generator": value.bit_generator.state}
    if isinstance(value, (list, tuple)):
        items = [encode(item) for item in value]
        return _SKIP if _SKIP in items else {type(value).__name__: items} if type(value) in (list, tuple) else _SKIP
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        named = {key: encode(item) for key, item in value.items()}
        return _SKIP if _SKIP in named.values() else {"dict": named}
    return _SKIP


def decode(encoded: dict[str, Any], present: Any) -> Any:
    """The value that `encode` was given; an array or generator of the same form as `present` is changed in place."""
    ((kind, value),) = encoded.items()
    if kind == "plain":
        return value
    if kind == "scalar":
        return value.numpy()[0]
    if kind == "array":
        array = value.numpy().copy()
        if isinstance(present, np.ndarray) and present.shape == array.shape and present.dtype == array.dtype:
            present[...] = array  # other attributes may be views of it
            return present
        return array
    if kind == "generator":
        generator = present if isinstance(present, np.random.Generator) else np.random.default_rng()
        generator.bit_generator.state = value
        return generator
    if kind == "dict":
        present = present if isinstance(present, dict) else {}
        return {key: decode(item, present.get(key)) for key, item in value.items()}
    return {"list": list, "tuple": tuple}[kind](decode(item, None) for item in value)
