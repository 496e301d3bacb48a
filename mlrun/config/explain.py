"""Says what is wrong with a command line that Hydra refuses (or that a sweep contains): all problems at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from mlrun.config import catalogue
from mlrun.config.compose import compose
from mlrun.config.signatures import signature
from mlrun.config.sources import NoSuchTarget
from mlrun.config.validate import nearest, validate

# What Hydra raises when it composes; a ValueError comes for a choice that is not a word (`model=3`).
_REFUSED = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError)
_ALTERNATIVES = 24  # of a sweep, that are composed and validated one by one


@dataclass
class _Given:
    """One override of the command line, and the alternatives that it stands for (one, unless it is a sweep)."""

    text: str
    parsed: Override
    alternatives: list[str]

    @property
    def key(self) -> str:
        return self.parsed.key_or_group

    @property
    def prefix(self) -> str:
        return {OverrideType.ADD: "+", OverrideType.FORCE_ADD: "++", OverrideType.DEL: "~"}.get(self.parsed.type, "")


def explain(overrides: list[str], config_dir: str | None = None, error: Exception | None = None) -> list[str]:
    """Problems of a command line, one line each. `error` is what Hydra said; it is shown where nothing better is found.
    Without `error` (a sweep before its start) the list may be empty: nothing is wrong."""
    if config_dir is not None and not Path(config_dir).is_dir():
        return [f"--config-dir {config_dir}: there is no such directory"]
    composition.cache_clear()  # files may have changed since the last call
    problems: list[str] = []
    given = list(_parsed(overrides, problems))
    groups = catalogue.groups(config_dir)
    chosen, values = [], []
    for one in given:
        (chosen if one.key in groups or "/" in one.key else values).append(one)
    for one in chosen:
        problems += _choices(one, config_dir)
    if isinstance(error, yaml.YAMLError):
        faulty = [entry for group in groups for entry in catalogue.entries(group, config_dir) if entry.fault]
        named = [entry for entry in faulty if any(one.text.endswith(f"{entry.group}={entry.name}") for one in chosen)]
        return problems + [entry.fault for entry in named or faulty] or _short_lines(error)
    chosen = [one for one in chosen if one.alternatives]
    base, chosen = _composed(chosen, config_dir, problems)
    if base is None:
        return problems or _short_lines(error)
    good = []
    for one in values:
        found = list(_key(one, base, groups))
        problems += found
        if not found:
            good.append(one)
    problems += _judged(chosen + good, chosen, config_dir)
    if error is not None and "--multirun" in str(error):
        problems += [
            f"{one.text}: several values; add -m to run each, or write {one.prefix}{one.key}=[...] for one list"
            for one in given
            if one.parsed.is_sweep_override()
        ]
    return list(dict.fromkeys(problems)) or _short_lines(error)


def quoted(text: str) -> str:
    """An override with quotation marks around words of other letters than a to z, which Hydra would not read."""
    head, equals, value = text.partition("=")
    if value.isascii() or "{" in value:  # Hydra takes no quoted keys
        return text

    def word(found):
        one = found[0]
        return one if one.isascii() or one[0] in "'\"" else one.replace(one.strip(), f"'{one.strip()}'")

    return head + equals + re.sub(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^][(),'"]+""", word, value)


def _parsed(overrides: list[str], problems: list[str]) -> Iterator[_Given]:
    parser = OverridesParser.create()
    for text in overrides:
        try:
            parsed = parser.parse_override(text)
        except HydraException as error:
            problems.append(f"{text}: cannot be read: {_short(error, text)}")
            continue
        if not parsed.key_or_group:
            problems.append(f"{text}: there is no key before the '='")
            continue
        yield _Given(text, parsed, _alternatives(text, parsed))


def _alternatives(text: str, parsed: Override) -> list[str]:
    """The single overrides that a sweep stands for; of an interval, its ends."""
    if not parsed.is_sweep_override():
        return [text]
    head = text.partition("=")[0]
    sweep = parsed.value()
    if isinstance(sweep, IntervalSweep):
        return [f"{head}={sweep.start}", f"{head}={sweep.end}"]
    found = []
    try:
        for value in parsed.sweep_iterator(transformer=Transformer.encode):
            found.append(f"{head}={value}")
            if len(found) >= _ALTERNATIVES:
                break
    except Exception:  # glob() needs Hydra's loader: all it can match exists
        return []
    return found


def _short(error: BaseException, text: str = "") -> str:
    """The reason in Hydra's message, without hints on its site and lists of tokens."""
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
    """Unknown choices of a group; they are taken out of the alternatives."""
    group = one.key
    if one.parsed.type == OverrideType.DEL or "/" in group:
        return
    names = [entry.name for entry in catalogue.entries(group, config_dir)]
    good = []
    for text in one.alternatives:
        choice = text.partition("=")[2]
        if choice.strip("'\"") in names or choice in ("null", ""):
            good.append(text)
            if choice == "":
                yield f"{text}: which {group}? ({_listed(group, names)})"
                good.pop()
            continue
        yield f"{text}: there is no {group} of that name{nearest(choice, names)} ({_listed(group, names)})"
    one.alternatives = good


def _listed(group: str, names: list[str]) -> str:
    if not names:
        return "there are none yet"
    if len(names) <= 40:
        return f"there are {', '.join(names)}"
    return f"`mlrun list {group}` shows all {len(names)}"


@lru_cache(maxsize=64)
def composition(overrides: tuple[str, ...], config_dir: str | None) -> DictConfig:
    """Composing takes most of the time of an answer, so nothing is composed twice for one."""
    return compose(list(overrides), config_dir)


def _composed(chosen: list[_Given], config_dir, problems: list[str]) -> tuple[DictConfig | None, list[_Given]]:
    """The configuration of all choices that compose, and those choices."""
    first = [one.alternatives[0] for one in chosen]
    try:
        return composition(tuple(first), config_dir), chosen
    except _REFUSED as error:
        whole = error
    good: list[_Given] = []
    cfg = None
    for one in chosen:
        try:
            cfg = compose([g.alternatives[0] for g in good] + [one.alternatives[0]], config_dir)
            good.append(one)
        except _REFUSED as error:
            problems.append(f"{one.text}: {_choice_refused(one, error, config_dir)}")
    if cfg is None:
        try:
            cfg = compose([], config_dir)
        except _REFUSED:
            problems[:] = [_short(whole)]
    return cfg, good


def _choice_refused(one: _Given, error: Exception, config_dir: str | None) -> str:
    if one.prefix in ("+", "++") and "/" not in one.key:
        return f"{one.key} is chosen already: write {one.text.lstrip('+')}"
    if isinstance(error, yaml.YAMLError):
        name = one.alternatives[0].partition("=")[2]
        faults = [entry.fault for entry in catalogue.entries(one.key, config_dir) if entry.fault and entry.name == name]
        return (faults or [_short(error)])[0]
    return _short(error)


# --- keys ----------------------------------------------------------------------------------------------------------


def _key(one: _Given, cfg: DictConfig, groups: list[str]) -> Iterator[str]:
    """Is there such a key, and may it be changed, added or deleted?"""
    key = one.key
    if key.partition(".")[0] == "hydra":
        return
    there = _exists(cfg, key)
    if one.parsed.type == OverrideType.CHANGE and not there:
        yield _no_such_key(one, cfg, groups)
    elif one.parsed.type == OverrideType.DEL and not there:
        yield f"{one.text}: there is no {key} to delete{nearest(key, [*_keys(cfg), *groups])}"
    elif one.parsed.type == OverrideType.ADD and there and not isinstance(one.parsed.value(), (dict, list)):
        yield f"{one.text}: {key} is there already: write {one.text[1:]}"


def _no_such_key(one: _Given, cfg: DictConfig, groups: list[str]) -> str:
    key = one.key
    parent, _, last = key.rpartition(".")
    node = _select(cfg, parent) if parent else None
    if parent and OmegaConf.is_dict(node) and isinstance(node.get("_target_"), str):
        target = node["_target_"]
        try:
            takes = signature(target)
        except NoSuchTarget as error:
            return f"{parent}._target_={target}: {error}"
        if takes and last in takes.by_name:
            return f"{key}: {target} takes '{last}', which the YAML does not list; add it: +{one.text}"
        names = [p.name for p in takes.parameters if p.name not in ("params", "optimizer")] if takes else []
        near = nearest(last, [*node.keys(), *names])
        return f"{key}: {target} takes no '{last}'{near.replace(chr(39), chr(39) + parent + '.', 1) if near else ''}"
    if parent and OmegaConf.is_dict(node):
        near = nearest(last, node.keys())
        near = near.replace("'", f"'{parent}.", 1) if near else nearest(key, _keys(cfg))
        return f"{key}: there is no such key{near}"
    near = nearest(key, [*groups, *cfg.keys()] if not parent else _keys(cfg)) or nearest(key, _keys(cfg))
    hint = "" if near or parent else f" (groups are {', '.join(groups)})"
    return f"{key}: there is no such {'key' if parent else 'group or key'}{near}{hint}"


def _select(cfg: DictConfig, key: str) -> Any:
    try:
        return OmegaConf.select(cfg, key)
    except OmegaConfBaseException:
        return None


def _exists(cfg: Any, key: str) -> bool:
    """Also true for a key whose value is null, missing or an interpolation."""
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
    for key in cfg.keys():
        found.append(f"{prefix}{key}")
        node = None if OmegaConf.is_missing(cfg, key) or OmegaConf.is_interpolation(cfg, key) else cfg[key]
        if OmegaConf.is_dict(node):
            found += _keys(node, f"{prefix}{key}.")
    return found


# --- the rest is up to validation ----------------------------------------------------------------------------------


def _judged(good: list[_Given], chosen: list[_Given], config_dir: str | None) -> list[str]:
    """Errors of the configuration of all good overrides, and of each further alternative of a sweep in turn."""
    good = [one for one in good if one.alternatives]
    first = [one.alternatives[0] for one in good]
    combinations = [first]
    for index, one in enumerate(good):
        combinations += [first[:index] + [other] + first[index + 1 :] for other in one.alternatives[1:]]
    problems: list[str] = []
    for texts in combinations[:_ALTERNATIVES]:
        choices = [text for one, text in zip(good, texts, strict=True) if one in chosen]
        values = [text for one, text in zip(good, texts, strict=True) if one not in chosen]
        try:
            cfg = _overridden(composition(tuple(choices), config_dir), values)
            problems += validate(cfg, texts, config_dir)[0]
        except _REFUSED as error:
            problems.append(_short(error))
    return problems


def _overridden(base: DictConfig, texts: list[str]) -> DictConfig:
    """`base` with keys changed as Hydra would; composing anew for each value would take most of the time of an answer."""
    cfg = base.copy()
    for override in OverridesParser.create().parse_overrides(texts):
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
