"""What is wrong with a command line, or with a job of a sweep: all problems at once, with the nearest valid names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mlrun.config import aliases, catalogue
from mlrun.config.compose import compose, compose_all, without_hydra
from mlrun.config.hydra_internals import interval_ends, parse_override, parse_overrides, sweep_values
from mlrun.config.signatures import signature
from mlrun.config.sources import NoSuchTarget
from mlrun.config.validate import did_you_mean, nearest, nearest_choice, validate

if TYPE_CHECKING:
    from mlrun.config.hydra_internals import Composed, Override

# Raised by Hydra when it composes; a ValueError for a choice that is not a word (`model=3`).
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)
_OF_SWEEPS, _SELECT = ("hydra.launcher.", "hydra.sweeper."), "hydra.sweeper.select"
_MOST_ALTERNATIVES = 24  # alternatives of a sweep that are composed and validated one by one


@dataclass
class _Given:
    """One override of the command line, and its alternatives: several if it is a sweep, else one."""

    text: str
    parsed: Override
    alternatives: list[str]

    @property
    def key(self) -> str:
        return self.parsed.key_or_group

    @property
    def prefix(self) -> str:
        if self.parsed.is_delete():
            return "~"
        return "+" if self.parsed.is_add() else "++" if self.parsed.is_force_add() else ""


def explain(
    overrides: list[str],
    config_dir: str | None = None,
    error: Exception | None = None,
    warnings: list[str] | None = None,
) -> list[str]:
    """Problems of a command line, one line each.

    Args:
        overrides: the words of the command line that are not options.
        config_dir: of `--config-dir`.
        error: what Hydra raised; its message is shown where nothing better is found. Without it, as before the start of
            a sweep, the list is empty if nothing is wrong.
        warnings: receives what is valid but probably not meant.
    """
    if config_dir is not None and not Path(config_dir).is_dir():
        return [f"--config-dir {config_dir}: there is no such directory"]
    _composition.cache_clear()
    _whole_composition.cache_clear()  # files may have changed since the last call
    problems: list[str] = []
    given = list(_parsed(overrides, problems))
    groups = catalogue.groups(config_dir)
    chosen: list[_Given] = []
    values: list[_Given] = []
    for one in given:
        (chosen if one.key in groups or "/" in one.key else values).append(one)
    problems += _repeated(chosen)
    for one in chosen:
        problems += _choices(one, config_dir)
    if isinstance(error, yaml.YAMLError):
        faulty = [entry for group in groups for entry in catalogue.entries(group, config_dir) if entry.fault]
        named = [entry for entry in faulty if any(one.text.endswith(f"{entry.group}={entry.name}") for one in chosen)]
        return problems + [str(entry.fault) for entry in named or faulty] or _short_lines(error)
    chosen = [one for one in chosen if one.alternatives]
    base, chosen = _composed(chosen, config_dir, problems)
    if base is None:
        return problems or _short_lines(error)
    whole = _whole_composition(tuple(one.alternatives[0] for one in chosen), config_dir).config
    valid = []
    for one in values:
        of_sweep = one.key.startswith(_OF_SWEEPS)
        if of_sweep and problems:  # the launcher may be the one that could not be composed
            continue
        found = list(_key_problems(one, whole if of_sweep else base, groups))
        problems += found
        if not found:
            valid.append(one)
    problems += _validated(chosen + valid, chosen, config_dir, [] if warnings is None else warnings)
    if error is not None and "--multirun" in str(error):
        problems += [
            f"{one.text}: several values; add -m to run each, or write {one.prefix}{one.key}=[...] for one list"
            for one in given
            if one.parsed.is_sweep_override()
        ]
    return list(dict.fromkeys(problems)) or _short_lines(error)


def quoted(text: str) -> str:
    """An override with quotation marks around words that are not ASCII, which Hydra's grammar rejects without them."""
    head, equals, value = text.partition("=")
    if value.isascii() or "{" in value:  # Hydra permits no quoted keys in a mapping
        return text

    def in_quotes(match: re.Match[str]) -> str:
        word = match[0]
        return word if word.isascii() or word[0] in "'\"" else word.replace(word.strip(), f"'{word.strip()}'")

    return head + equals + re.sub(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^][(),'"]+""", in_quotes, value)


def _parsed(overrides: list[str], problems: list[str]) -> Iterator[_Given]:
    for text in overrides:
        try:
            parsed = parse_override(text)
        except HydraException as error:
            problems.append(f"{text}: cannot be read: {_short(error, text)}")
            continue
        if not parsed.key_or_group:
            problems.append(f"{text}: there is no key before the '='")
            continue
        alternatives = _alternatives(text, parsed)
        if alternatives == []:
            problems.append(f"{text}: there is no value after the '='")
            continue
        yield _Given(text, parsed, alternatives or [])


def _repeated(chosen: list[_Given]) -> Iterator[str]:
    """Groups that are chosen twice: Hydra would take the last choice and say nothing."""
    first: dict[str, str] = {}
    for one in chosen:
        key = one.parsed.get_key_element().lstrip("+")  # with its package
        if key in first:
            yield f"{one.text}: {one.key} is already chosen ({first[key]}); give it once"
        first.setdefault(key, one.text)


def _alternatives(text: str, parsed: Override) -> list[str] | None:
    """The overrides of a sweep's jobs; of an interval, both ends. None if they are not known here."""
    if not parsed.is_sweep_override():
        return [text]
    head = text.partition("=")[0]
    if parsed.is_interval_sweep():
        return [f"{head}={end}" for end in interval_ends(parsed)]
    found = []
    try:
        for value in sweep_values(parsed):
            found.append(f"{head}={value}")
            if len(found) >= _MOST_ALTERNATIVES:
                break
    except Exception:  # glob() needs Hydra's loader, and everything that it can match exists
        return None
    return found


def _short(error: BaseException, text: str = "") -> str:
    """The reason in Hydra's message, without links to its site and lists of tokens."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and "https://" not in line]
    reason = lines[0] if lines else type(error).__name__
    reason = re.sub(r"^Error parsing override '.*?'\s*", "", reason) or (lines[1] if len(lines) > 1 else "")
    reason = re.sub(r"expecting \{.*?\}+$", "", reason).strip().rstrip(".")
    if text and any(text.count(a) != text.count(b) for a, b in ("[]", "{}", "()")) or text.count("'") % 2:
        return "a bracket or a quote is not closed"
    if text and ("=" not in text or not reason or "<EOF>" in reason):
        return "an override is written key=value, and text with special characters in quotes"
    return (reason[0].lower() + reason[1:]) if reason else "Hydra refuses it"


def _short_lines(error: BaseException | None) -> list[str]:
    return [] if error is None else [_short(error)]


# --- choices of a group --------------------------------------------------------------------------------------------


def _choices(one: _Given, config_dir: str | None) -> Iterator[str]:
    """Unknown choices of a group; removes them from the alternatives."""
    group = one.key
    if one.parsed.is_delete() or "/" in group:
        return
    names = [entry.name for entry in catalogue.entries(group, config_dir)]
    valid = []
    for text in one.alternatives:
        choice = text.partition("=")[2]
        several = [name.strip(" '\"") for name in choice.strip("[]").split(",")]
        unknown = [name for name in several if name not in names and choice != "null"]
        if choice == "":
            yield f"{text}: which {group}? ({_listed(group, names)})"
        elif unknown:
            near = nearest_choice(unknown[0], names)
            yield f"{text}: there is no {group} of that name{near} ({_listed(group, names)})"
        elif same := _set_twice(group, several, config_dir):
            yield f"{text}: {same}; choose one of them"
        else:
            valid.append(text)
    one.alternatives = valid


def _set_twice(group: str, names: list[str], config_dir: str | None) -> str | None:
    """Which two of several choices set the same key, of which Hydra would take the last and say nothing; None if no two do."""
    first: dict[str, str] = {}
    for name in names if len(names) > 1 else ():
        for key in catalogue.find(group, name, config_dir).body:
            if key in first:
                return f"{first[key]} and {name} both set '{key}'"
            first[key] = name
    return None


def _listed(group: str, names: list[str]) -> str:
    if not names:
        return "there are none yet"
    if len(names) <= 40:
        return f"there are {', '.join(names)}"
    return f"`mlrun list {group}` shows all {len(names)}"


@lru_cache(maxsize=64)
def _composition(overrides: tuple[str, ...], config_dir: str | None) -> DictConfig:
    return without_hydra(_whole_composition(overrides, config_dir).config)


@lru_cache(maxsize=64)
def _whole_composition(overrides: tuple[str, ...], config_dir: str | None) -> Composed:
    """The composed configuration, kept: composing takes most of the time of an answer."""
    return compose_all(list(overrides), config_dir)


def checked_composition(overrides: list[str]) -> Composed:
    """The configuration of a command line that `explain` has found valid. It is for one run, whose directory it names."""
    found = _whole_composition(tuple(overrides), None)
    _whole_composition.cache_clear()
    return found


def _composed(
    chosen: list[_Given], config_dir: str | None, problems: list[str]
) -> tuple[DictConfig | None, list[_Given]]:
    """The configuration of all choices that compose, and those choices; what Hydra says of the others is added to `problems`."""
    first = [one.alternatives[0] for one in chosen]
    try:
        return _composition(tuple(first), config_dir), chosen
    except COMPOSITION_ERRORS as error:
        first_error = error
    valid: list[_Given] = []
    cfg = None
    for one in chosen:
        try:
            cfg = compose([other.alternatives[0] for other in valid] + [one.alternatives[0]], config_dir)
            valid.append(one)
        except COMPOSITION_ERRORS as error:
            problems.append(f"{one.text}: {_why_choice_fails(one, error, config_dir)}")
    if cfg is None:
        try:
            cfg = compose([], config_dir)
        except COMPOSITION_ERRORS:
            problems[:] = [_short(first_error)]
    return cfg, valid


def _why_choice_fails(one: _Given, error: Exception, config_dir: str | None) -> str:
    if one.prefix in ("+", "++") and "/" not in one.key:
        return f"{one.key} is already chosen: write {one.text.lstrip('+')}"
    if isinstance(error, yaml.YAMLError):
        name = one.alternatives[0].partition("=")[2]
        faults = [entry.fault for entry in catalogue.entries(one.key, config_dir) if entry.fault and entry.name == name]
        return (faults or [_short(error)])[0]
    return _short(error)


# --- keys ----------------------------------------------------------------------------------------------------------


def _key_problems(one: _Given, cfg: DictConfig, groups: list[str]) -> Iterator[str]:
    """Whether the key exists, and can be changed, added or deleted."""
    key = one.key
    if key.partition(".")[0] == "hydra" and not _is_ours(cfg, key):
        return
    exists = _exists(cfg, key)
    if one.prefix == "" and not exists:
        yield _no_such_key(key, one.text, cfg, groups)
    elif one.prefix == "~" and not exists:
        yield f"{one.text}: there is no {key} to delete{nearest(key, [*_keys(cfg), *groups])}"
    elif one.prefix == "+" and exists and not isinstance(one.parsed.value(), (dict, list)):
        yield f"{one.text}: {key} already exists: write {one.text[1:]}"
    elif one.prefix == "" and isinstance(value := one.parsed.value(), dict):
        for name in value if isinstance(_select(cfg, key), DictConfig) else ():
            if not _exists(cfg, f"{key}.{name}"):
                yield _no_such_key(f"{key}.{name}", one.text, cfg, groups)


def _is_ours(cfg: DictConfig, key: str) -> bool:
    """Whether the key of Hydra's configuration belongs to a launcher or sweeper of this project: others accept what their YAML does not list."""
    node = _select(cfg, ".".join(key.split(".")[:2]))
    is_ours = isinstance(node, DictConfig) and str(node.get("_target_")).startswith("hydra_plugins.mlrun_")
    return is_ours or key == _SELECT


def _no_such_key(key: str, text: str, cfg: DictConfig, groups: list[str]) -> str:
    if key == _SELECT:
        return "select.… is for a search: add hydra/sweeper=optuna; of a finished sweep: mlrun leaderboard select.…"
    parent, _, last = key.rpartition(".")
    group = parent.replace(".", "/") if key.startswith(_OF_SWEEPS) else parent
    owners = [f"{group}={entry.name}" for entry in catalogue.entries(group) if last in entry.body] if group else []
    only = f"this key exists only with {' or '.join(owners)}; add {'it' if len(owners) == 1 else 'one of them'}"
    if owners and group != parent:
        return f"{key}: {only}"
    node = _select(cfg, parent) if parent else None
    if isinstance(node, DictConfig) and isinstance(node.get("_target_"), str):
        target = node["_target_"]
        try:
            takes = signature(target)
        except NoSuchTarget as error:
            return f"{parent}._target_={target}: {error}"
        if takes and last in takes.by_name:
            return f"{key}: {target} takes '{last}', which the YAML does not list; add it: +{text}"
        names = [p.name for p in takes.parameters if p.name not in ("params", "optimizer")] if takes else []
        near = nearest(last, [*node.keys(), *names])
        return f"{key}: {target} does not accept '{last}'{near.replace(chr(39), chr(39) + parent + '.', 1) if near else ''}"
    if isinstance(node, DictConfig) and not node:  # a mapping of the user's own keys
        return f"{key}: there is no such key; to add it: +{text}"
    near = nearest(last, node.keys()) if isinstance(node, DictConfig) else ""
    if owners and parent in groups and not near:
        return f"{key}: {only}"
    if isinstance(node, DictConfig):
        near = near.replace("'", f"'{parent}.", 1) if near else nearest(key, _keys(cfg))
        return f"{key}: there is no such key{near}"
    near = did_you_mean(aliases.key(key, _keys(cfg), groups)) if not parent else ""
    near = near or nearest(key, [*groups, *cfg.keys()] if not parent else _keys(cfg)) or nearest(key, _keys(cfg))
    hint = "" if near or parent else f" (groups are {', '.join(groups)})"
    return f"{key}: there is no such {'key' if parent else 'group or key'}{near}{hint}"


def _select(cfg: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException:
        return None


def _exists(cfg: Any, key: str) -> bool:
    """Whether the key is there, also if its value is null, missing or an interpolation."""
    parts = re.findall(r"[^.\[\]]+", key)
    for position, part in enumerate(parts):
        if OmegaConf.is_dict(cfg):
            names = {str(k): k for k in cfg.keys()}
            if part not in names:
                return False
            part = names[part]
        elif OmegaConf.is_list(cfg):
            if not part.isdigit() or int(part) >= len(cfg):
                return False
            part = int(part)
        else:
            return False
        if position + 1 < len(parts):
            try:
                cfg = cfg[part]
            except OmegaConfBaseException:
                return False
    return True


def _keys(cfg: DictConfig, prefix: str = "") -> list[str]:
    """All dotted keys."""
    found = []
    keys: Iterable[Any] = cfg.keys()
    for key in keys:
        found.append(f"{prefix}{key}")
        node = None if OmegaConf.is_missing(cfg, key) or OmegaConf.is_interpolation(cfg, key) else cfg[key]
        if isinstance(node, DictConfig):
            found += _keys(node, f"{prefix}{key}.")
    return found


# --- validation ----------------------------------------------------------------------------------------------------


def _validated(given: list[_Given], chosen: list[_Given], config_dir: str | None, warnings: list[str]) -> list[str]:
    """Errors of the configuration of these overrides, and of each further alternative of a sweep in turn.

    Args:
        given: overrides that Hydra accepts one by one.
        chosen: those of them that choose from a group.
        config_dir: of `--config-dir`.
        warnings: receives the warnings of all these configurations.
    """
    given = [one for one in given if one.alternatives]
    first = [one.alternatives[0] for one in given]
    combinations = [first]
    for index, one in enumerate(given):
        combinations += [first[:index] + [other] + first[index + 1 :] for other in one.alternatives[1:]]
    problems: list[str] = []
    for texts in combinations[:_MOST_ALTERNATIVES]:
        choices = [text for one, text in zip(given, texts, strict=True) if one in chosen]
        values = [text for one, text in zip(given, texts, strict=True) if one not in chosen]
        try:
            cfg = _overridden(_composition(tuple(choices), config_dir), values)
            wrong, doubtful = validate(cfg, texts, config_dir)
            problems += wrong
            warnings += doubtful
        except COMPOSITION_ERRORS as error:
            problems.append(_short(error))
    return problems


def _overridden(base: DictConfig, texts: list[str]) -> DictConfig:
    """`base` with keys changed as Hydra changes them: faster than composing once per value."""
    cfg = base.copy()
    for override in parse_overrides(texts):
        key = override.key_or_group
        if key.partition(".")[0] == "hydra":
            continue
        with open_dict(cfg):
            if override.is_delete():
                parent, _, last = key.rpartition(".")
                (OmegaConf.select(cfg, parent) if parent else cfg).pop(last, None)
            else:
                OmegaConf.update(cfg, key, override.value(), merge=True, force_add=True)
    return cfg
