"""The one wrapper around Hydra's `instantiate`: objects from YAML, with arguments that only the data determine filled in by name."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mlrun.config import schema
from mlrun.config.constructor_errors import describe_failure, place_of, reason_of
from mlrun.config.signatures import signature
from mlrun.errors import ConfigError, UserError

# What a YAML states about its model or dataset. A dataset takes its problem as an argument; training reads the interval.
METADATA = schema.METADATA - {"problem", "interval"}
_RESERVED = ("_target_", "_args_", "_partial_", "_recursive_", "_convert_")
_BEGINS_WITH_KEY = re.compile(rf"({'|'.join(schema.TOP)})[.\[=:]")


def plain(node: Any) -> Any:
    """A node as dicts and lists, interpolations resolved: what may be stored in a checkpoint."""
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def without_metadata(node: DictConfig | dict) -> dict:
    """The arguments of a model or dataset, without what its YAML states about it."""
    return {key: value for key, value in plain(node).items() if key not in METADATA}


def fill(node: Any, spec: Mapping[str, Any], path: str = "") -> Any:
    """A plain copy of `node` in which every required argument that it does not give is taken from `spec` by name.

    Args:
        node: a node of the configuration.
        spec: values by name: the spec of the dataset, and what the runner adds.
        path: key of the node, for messages.

    Raises:
        ConfigError: neither the node nor the spec gives a required argument.
    """
    node = plain(node)
    if isinstance(node, list):
        return [fill(item, spec, f"{path}[{index}]") for index, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    filled = {key: fill(value, spec, _below(path, key)) for key, value in node.items()}
    if not isinstance(node.get("_target_"), str):
        return filled
    arguments = signature(node["_target_"])
    missing = [p.name for p in arguments.parameters if p.required and p.name not in filled] if arguments else []
    absent = [name for name in missing if name not in spec]
    if absent and not node.get("_partial_"):
        raise ConfigError(
            f"{path or 'config'}: {node['_target_']} needs {', '.join(absent)}, which neither the YAML nor the dataset provides "
            f"(the dataset provides {', '.join(sorted(spec)) or 'nothing'})."
        )
    filled.update((name, spec[name]) for name in missing if name in spec)
    return filled


def build(node: DictConfig | dict | None, spec: Mapping[str, Any] | None = None, path: str = "") -> Any:
    """`instantiate(fill(node, spec))`; None for an empty node or one whose `_target_` is null."""
    if not node or node.get("_target_") is None:
        return None
    return instantiate(fill(without_metadata(node), spec or {}, path), path)


def instantiate(node: Any, path: str = "") -> Any:
    """The object that a node describes; the nodes inside it are built first.

    `_target_`, `_args_`, `_partial_` and `_recursive_` mean what they mean to Hydra. Containers reach a constructor as
    new dicts and lists (Hydra's `_convert_: all`), tuples as lists. `_partial_: true` gives a `Factory` of a class.

    Args:
        node: plain or OmegaConf containers, all required arguments given.
        path: key of the node in the configuration, for messages.

    Raises:
        ConfigError: a target cannot be imported, or its constructor raised. The message begins with the key of that node.
        UserError: a constructor raised it.
    """
    node = plain(node)
    if isinstance(node, (list, tuple)):
        return [instantiate(item, f"{path}[{index}]") for index, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {key: instantiate(value, _below(path, key)) for key, value in node.items()}
    below = instantiate if node.get("_recursive_", True) else lambda value, path: value
    keywords = {key: below(value, _below(path, key)) for key, value in node.items() if key not in _RESERVED}
    positional = below(node.get("_args_", []), _below(path, "_args_"))
    target = node["_target_"]
    make = _resolved(target, path)
    if not node.get("_partial_", False):
        return construct(path, target, make, *positional, **keywords)
    if isinstance(make.func, type):
        return Factory(path, target, make, *positional, **keywords)
    return functools.partial(make, *positional, **keywords)


class Factory(functools.partial):
    """A class and some of its arguments (`_partial_: true`), constructed when called with the others.

    An exception of the constructor becomes a ConfigError, as in `instantiate`. `func` is the class, `keywords` what the
    configuration gives.
    """

    path: str
    target: str
    make: functools.partial

    def __new__(cls, path: str, target: str, make: functools.partial, /, *arguments: Any, **keywords: Any) -> Factory:
        factory = super().__new__(cls, make.func, *arguments, **keywords)
        factory.path, factory.target, factory.make = path, target, make
        return factory

    def __call__(self, /, *arguments: Any, **keywords: Any) -> Any:
        return construct(self.path, self.target, self.make, *self.args, *arguments, **{**self.keywords, **keywords})


def construct(path: str, target: str, make: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
    """Calls a constructor; an exception that it raises becomes a ConfigError.

    Args:
        path: key of its node, with which the message begins.
        target: its dotted name.
        make: the constructor, called with the other arguments.

    Raises:
        ConfigError: for any exception that is not a UserError. A ConfigError of the constructor gains the key if it has none.
        UserError: the constructor raised it.
    """
    try:
        return make(*arguments, **keywords)
    except ConfigError as error:
        if all(_BEGINS_WITH_KEY.match(problem) for problem in error.problems):
            raise
        problems = [p if _BEGINS_WITH_KEY.match(p) else _with_key(path, p) for p in error.problems]
        raise ConfigError(problems) from error
    except UserError:
        raise
    except Exception as error:
        inside = error.__traceback__.tb_next if error.__traceback__ else None
        raise ConfigError(_with_key(path, describe_failure(target, keywords, error, inside))) from error


def _resolved(target: Any, path: str) -> functools.partial:
    """A `_target_` as Hydra's partial, which refuses what Hydra does not permit; `func` is the class or function."""
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as hydra_instantiate

    if target is None:
        raise ConfigError(_with_key(path, "_target_ must be the dotted name of a class or function, not null"))
    try:
        return hydra_instantiate({"_target_": target, "_partial_": True})
    except InstantiationException as error:
        cause: BaseException = error
        while cause.__cause__ is not None:  # below Hydra's exceptions lies that of the module
            cause = cause.__cause__
        if cause is error:  # not permitted, or not callable
            raise ConfigError(_with_key(path, " ".join(str(error).split()))) from error
        reason = f"{reason_of(cause)}{place_of(cause.__traceback__)}"
        raise ConfigError(_with_key(path, f"{target} cannot be imported: {reason}")) from error


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _with_key(path: str, message: str) -> str:
    return f"{path}: {message}" if path else message
