"""Checks a composed configuration before any work, from YAML and source alone: nothing heavy is imported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mlrun.config import aliases, catalogue, schema
from mlrun.config.catalogue import datasets_for
from mlrun.config.identity import FOLDING
from mlrun.config.signatures import Signature, signature
from mlrun.config.sources import NoSuchTarget
from mlrun.config.values import Kind, Text, describe, fits, options, shown

MISSING = "???"
UNRESOLVED = object()  # the value of an interpolation that failed, or that only Hydra can resolve

# Arguments that the runner gives to the target of a group, in addition to the dataset's spec.
OFFERED = {
    "model": {"target", "target_std", "seed", "inputs", "targets"},  # the last two for its preprocessor
    "dataset": {"seed", "data_dir", "name"},
}


def validate(cfg: DictConfig, overrides: list[str], config_dir: str | None = None) -> tuple[list[str], list[str]]:
    """Checks a configuration.

    Args:
        cfg: the composed configuration.
        overrides: the words of the command line, for warnings about those that have no effect.
        config_dir: of `--config-dir`, whose datasets are also suggested.

    Returns:
        All errors and all warnings, one line each: key, value, what is wrong, and the nearest valid name.
    """
    errors: list[str] = []
    copies: dict[str, str] = {}
    plain = _plain(cfg, errors, copies)
    plain.pop("hydra", None)
    errors += _top_level(plain)
    for group in schema.BELOW:
        if isinstance(node := plain.get(group), dict):
            errors += _group(group, node)
    chosen = {text.lstrip("+").partition("=")[0].partition("@")[0] for text in overrides}
    errors += _pairing(plain, config_dir, by_dataset="dataset" in chosen and "model" not in chosen)
    wrong = {_key_of(line) for line in errors}
    errors = [line for line in errors if copies.get(_key_of(line)) not in wrong]  # reported once, for the original
    return list(dict.fromkeys(errors)), _warnings(plain, overrides)


# --- reading -------------------------------------------------------------------------------------------------------


def _key_of(line: str) -> str:
    return line.partition(":")[0].partition("=")[0]


def _plain(cfg: DictConfig, errors: list[str], copies: dict[str, str]) -> dict:
    """The configuration as dicts and lists.

    Args:
        errors: interpolations that cannot be resolved are added.
        copies: keys that are written as `${another.key}` are added, with the other key.
    """

    def read(node: Any, path: str) -> Any:
        if OmegaConf.is_dict(node):
            return {key: read_item(node, key, f"{path}.{key}" if path else str(key)) for key in node.keys()}
        if OmegaConf.is_list(node):
            return [read_item(node, index, f"{path}[{index}]") for index in range(len(node))]
        return node

    def as_written(parent: Any, key: Any) -> str:
        container: Any = OmegaConf.to_container(parent, resolve=False)
        return str(container[key])

    def read_item(parent: Any, key: Any, path: str) -> Any:
        if OmegaConf.is_interpolation(parent, key):
            copies[path] = as_written(parent, key)[2:-1]
        try:
            if OmegaConf.is_missing(parent, key):
                return MISSING
            return read(parent[key], path)
        except OmegaConfBaseException as error:
            written = as_written(parent, key)
            if "${hydra:" not in written:
                reason = str(error).splitlines()[0]
                errors.append(f"{path}={written}: cannot be resolved: {reason[0].lower()}{reason[1:]}")
            return UNRESOLVED

    return {k: read_item(cfg, k, str(k)) for k in cfg.keys() if k != "hydra"}


def nearest(name: Any, known: Iterable[Any]) -> str:
    """` — did you mean 'lr'?`, or an empty string if no known name is near."""
    known = [str(k) for k in known]
    lower = {k.lower(): k for k in reversed(known)}
    near = get_close_matches(str(name), known, 1, 0.6) or [
        lower[k] for k in get_close_matches(str(name).lower(), lower, 1, 0.6)
    ]
    return did_you_mean(near[0] if near else None)


def nearest_choice(name: str, known: Sequence[str]) -> str:
    """As `nearest`, for a choice of a group, which may have another name (`rf`) or be spelled wrongly."""
    return did_you_mean(aliases.choice(name, known)) or nearest(name, known)


def did_you_mean(name: str | None) -> str:
    """` — did you mean 'lr'?`, or an empty string without a name."""
    return f" — did you mean '{name}'?" if name else ""


# --- keys ----------------------------------------------------------------------------------------------------------


def _top_level(plain: dict) -> Iterator[str]:
    for key, value in plain.items():
        if key not in schema.TOP:
            yield f"{key}: there is no such key{nearest(key, schema.TOP)} (keys are {', '.join(schema.TOP)})"
        elif value == MISSING:
            yield f"{key}: must be given, e.g. {key}=..."
        elif value is not UNRESOLVED and (problem := schema.key_problem(key, value)):
            yield f"{key}={shown(value)}: {problem}"
    for group in ("tracking", "augment"):
        if isinstance(node := plain.get(group), dict):
            yield from _known_keys(group, node)


def _known_keys(group: str, node: dict) -> Iterator[str]:
    """Problems of the keys that mlrun itself reads; in a closed group also of every other key."""
    names = schema.allowed(group)
    for key, value in node.items():
        path = f"{group}.{key}"
        if value == MISSING:
            yield f"{path}: must be given, e.g. {path}=..."
        elif key not in names:
            if group in schema.CLOSED and "_target_" not in node:
                yield f"{path}: there is no such key{nearest(key, names)}"
        elif value is not UNRESOLVED and (problem := schema.key_problem(path, value)):
            yield f"{path}={shown(value)}: {problem}{_near_option(value, schema.KEYS[path])}"


def _near_option(value: Any, kinds: Sequence[Kind]) -> str:
    return nearest(value, options(kinds)) if isinstance(value, str) else ""


def _group(group: str, node: dict) -> Iterator[str]:
    reported: set[str] = set()
    for line in _known_keys(group, node):
        reported.add(_key_of(line))
        yield line
    if group == "dataset" and (problem := schema.split_problem(_resolved(node.get("split")))):
        reported.add("dataset.split")
        yield f"dataset.split={shown(node['split'])}: {problem}"
    for line in _node(group, node, top=True):
        if _key_of(line) not in reported:
            yield line
    if group == "model" and "_target_" not in node:
        beside = [key for part, keys in schema.BESIDE.items() if part in node for key in keys]
        parts = [*schema.PARTS, *beside, *schema.METADATA, "defaults"]
        for key in node:
            if key not in parts and not (isinstance(node[key], dict) and "_target_" in node[key]):
                yield f"model.{key}: there is no such key{nearest(key, parts)}"


def _resolved(value: Any) -> Any:
    """The value; None if it, or a value in it, could not be resolved."""
    if value is UNRESOLVED or (isinstance(value, dict) and UNRESOLVED in value.values()):
        return None
    return value


def _node(path: str, node: Any, top: bool = False) -> Iterator[str]:
    """Problems of a node and of all nodes below it, each checked against the signature of its `_target_`."""
    if isinstance(node, list):
        for index, item in enumerate(node):
            yield from _node(f"{path}[{index}]", item)
    if not isinstance(node, dict):
        return
    target = node.get("_target_")
    takes: Signature | None = None
    if target is not None and target is not UNRESOLVED:
        if fits((Text(),), target) and target != MISSING:
            try:
                takes = signature(target)
            except NoSuchTarget as error:
                yield f"{path}._target_={target}: {error}"
        elif target != MISSING:
            yield f"{path}._target_={shown(target)}: must be the dotted name of a class or function"
    for key, value in node.items():
        if isinstance(key, str) and key.startswith("_") and key.endswith("_"):
            continue
        below = f"{path}.{key}"
        if value == MISSING:
            yield f"{below}: must be given, e.g. {below}=..."
            continue
        parameter = takes.by_name.get(key) if takes else None
        if takes and parameter is None and not takes.accepts_any and not (top and key in schema.METADATA):
            names = [p.name for p in takes.parameters if p.name not in ("params", "optimizer", "spec")]
            yield f"{below}: {target} does not accept '{key}'{nearest(key, names) or _listed(names)}"
            continue
        if _resolved(value) is not None or value is None:
            if parameter and not fits(parameter.kinds, value):
                note = " (a number in quotes is text)" if isinstance(value, str) and _is_number(value) else ""
                yield f"{below}={shown(value)}: must be {describe(parameter.kinds)}{_near_option(value, parameter.kinds)}{note}"
            elif problem := schema.out_of_range(key, value):
                yield f"{below}={shown(value)}: {problem}"
        yield from _node(below, value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _listed(names: list[str]) -> str:
    return f" (it takes {', '.join(names)})" if 0 < len(names) <= 12 else ""


# --- model and dataset ---------------------------------------------------------------------------------------------


def needs(model: Any) -> dict[str, str]:
    """What a model requires of the dataset's spec: name of the argument -> the target that takes it."""
    found: dict[str, str] = {}

    def visit(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                visit(item)
        if not isinstance(node, dict):
            return
        target = node.get("_target_")
        if isinstance(target, str) and target != MISSING and not node.get("_partial_"):
            try:
                takes = signature(target)
            except NoSuchTarget:
                takes = None
            for p in takes.parameters if takes else ():
                if p.required and p.name not in node and not node.get("_args_"):
                    found.setdefault(p.name, target)
        for value in node.values():
            visit(value)

    visit(model)
    return {name: target for name, target in found.items() if name not in OFFERED["model"]}


def _pairing(plain: dict, config_dir: str | None, by_dataset: bool) -> Iterator[str]:
    """Whether this model can learn from this dataset. by_dataset: the user has chosen only the dataset, so other models are suggested."""
    model, dataset = plain.get("model"), plain.get("dataset")
    if not isinstance(model, dict) or not isinstance(dataset, dict):
        return
    yield from _missing_arguments("dataset", dataset, OFFERED["dataset"])
    named, on = _name(model, "this model"), _name(dataset, "this dataset")
    suits, problem, spec = model.get("fits"), dataset.get("problem"), dataset.get("facts")
    suits = suits if isinstance(suits, list) else None
    spec = spec if isinstance(spec, list) else []
    if "_target_" not in model and not any(part in model for part in schema.PARTS):
        yield f"model={named}: names neither a `_target_` nor one of {', '.join(schema.PARTS)}"
        return
    wanted = _required(model)

    def others(problems: list[Any]) -> str:
        if by_dataset:
            return _that_fit("model", _models_for(str(problem), spec, config_dir))
        return _that_fit("dataset", [name for name in datasets_for(problems, set(wanted), config_dir) if name != on])

    if suits is not None and isinstance(problem, str) and problem != MISSING and not catalogue.suits(problem, suits):
        article = "an" if problem[0] in "aeiou" else "a"
        yield (
            f"model={named} dataset={on}: {named} is for {' or '.join(map(str, suits))}, and {on} is {article} {problem} dataset"
            f"{others(suits)}"
        )
        return
    absent = [name for name in wanted if name not in spec]
    if absent:
        target = wanted[absent[0]]
        yield (
            f"model={named} dataset={on}: {target} needs {', '.join(absent)}, which {on} does not provide"
            f" (it provides {', '.join(map(str, spec)) or 'nothing'}){others(suits or [problem])}"
        )
    if "_target_" not in model and problem in ("classification", "regression") and not suits:
        part = {"classification": "classifier", "regression": "regressor"}[problem]
        if not any(p in model for p in (part, "clusterer", "decomposer", "detector")):
            yield f"model={named} dataset={on}: {on} is a {problem} dataset, and {named} has no {part}"


def _missing_arguments(group: str, node: dict, offered: set[str]) -> Iterator[str]:
    target = node.get("_target_")
    if not isinstance(target, str) or target == MISSING or node.get("_partial_"):
        return
    try:
        takes = signature(target)
    except NoSuchTarget:
        return
    for p in takes.parameters if takes else ():
        if p.required and p.name not in node and p.name not in offered:
            yield f"{group}.{p.name}: {target} needs it, e.g. {group}.{p.name}=..."


def _required(model: dict) -> dict[str, str]:
    """As `needs`; scikit-learn's estimators take any table."""
    return needs(model) if "_target_" in model else needs(model.get("controller"))


def _models_for(problem: str, facts: Sequence[Any], config_dir: str | None) -> list[str]:
    return [
        entry.name
        for entry in catalogue.entries("model", config_dir)
        if catalogue.suits(problem, entry.get("fits") or []) and set(_required(entry.body)) <= set(facts)
    ]


def _that_fit(group: str, names: list[str]) -> str:
    return f". {group.capitalize()}s that fit: {', '.join(names)}" if names else f". No {group} in the catalogue fits"


def _name(node: Any, otherwise: str) -> str:
    return node["name"] if isinstance(node, dict) and isinstance(node.get("name"), str) else otherwise


# --- warnings ------------------------------------------------------------------------------------------------------


def _warnings(plain: dict, overrides: list[str]) -> list[str]:
    """Overrides that have no effect."""
    model, dataset = plain.get("model"), plain.get("dataset")
    if not isinstance(model, dict) or "_target_" in model:
        return []
    named = _name(model, "this model")
    problem = dataset.get("problem") if isinstance(dataset, dict) else None
    unused = {"regression": "classifier", "classification": "regressor"}.get(str(problem))
    found = []
    for override in overrides:
        key = override.lstrip("+~").partition("=")[0]
        head = key.partition(".")[0].partition("@")[0]
        if head in ("optim", "scheduler"):
            found.append(f"model {named} has no optimizer: {override} has no effect")
        elif head == "trainer" and override != "trainer=kfold" and key.partition(".")[2] not in FOLDING:
            found.append(f"model {named} is not trained by gradient descent: {override} has no effect")
        elif unused and key.startswith(f"model.{unused}"):
            on = _name(dataset, "this dataset")
            found.append(f"dataset {on} is for {problem}, where {named} uses no {unused}: {override} has no effect")
    return list(dict.fromkeys(found))
