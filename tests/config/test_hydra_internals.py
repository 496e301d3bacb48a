"""What mlrun uses of Hydra without documentation is still there and means the same; without it there is a replacement or a clear message."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
import yaml
from hydra.errors import HydraException
from omegaconf import OmegaConf, _utils
from yaml.cyaml import CParser

from mlrun.config import hydra_internals as internals
from mlrun.config.compose import compose
from mlrun.errors import UserError
from tests.conftest import REPOSITORY

DOCUMENTED = {
    "hydra.core.hydra_config": {"HydraConfig"},
    "hydra.core.config_store": {"ConfigStore"},
    "hydra.core.config_search_path": {"ConfigSearchPath"},
}
COMMAND_LINES = [
    ([], [], None, False, True),
    (["-m", "model=mlp", "seed=1,2"], ["model=mlp", "seed=1,2"], None, True, True),
    (["--multirun", "+a=1", "~b"], ["+a=1", "~b"], None, True, True),
    (["--cfg", "job", "model=mlp"], ["model=mlp"], None, False, False),
    (["-c", "all", "--resolve"], [], None, False, False),
    (["--info"], [], None, False, False),
    (["--info", "defaults"], [], None, False, False),
    (["--hydra-help"], [], None, False, False),
    (["--config-dir", "mine", "a=1"], ["a=1"], "mine", False, True),
    (["-cd", "mine", "-cn", "other", "a=1"], ["a=1"], "mine", False, True),
]


def without(monkeypatch, *modules):
    """As if this version of Hydra did not have the modules."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def imports_of(path: Path):
    """(module, names) of every import in a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            yield from ((alias.name, set()) for alias in node.names)


def test_no_other_file_uses_what_hydra_does_not_document():
    found = []
    for folder in ("mlrun", "hydra_plugins"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            if path == REPOSITORY / "mlrun" / "config" / "hydra_internals.py":
                continue
            for module, names in imports_of(path):
                if not module.startswith(("hydra._internal", "hydra.core", "hydra.grammar")):
                    continue
                if not names or not names <= DOCUMENTED.get(module, set()):
                    found.append(f"{path.relative_to(REPOSITORY)}: {module} {', '.join(sorted(names))}")
    assert not found


# --- the command line ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replaced", [False, True])
@pytest.mark.parametrize("argv, overrides, config_dir, multirun, runs", COMMAND_LINES)
def test_command_line(monkeypatch, replaced, argv, overrides, config_dir, multirun, runs):
    if replaced:
        without(monkeypatch, "hydra._internal.utils")
    plain = not any(word.startswith("-") for word in argv)
    assert internals.parse_command_line(argv) == internals.CommandLine(overrides, config_dir, multirun, runs, plain)


def test_a_composed_run_is_the_one_that_hydra_would_run(workplace, monkeypatch):
    """Directory, overrides and callbacks; without Hydra's parts, and for `hydra.mode=MULTIRUN`, `hydra.main` is left to run it."""
    from hydra.core.hydra_config import HydraConfig

    from mlrun.config.compose import compose_all

    seen = []

    def job(cfg):
        own = HydraConfig.get()
        seen.append((cfg.seed, "hydra" in cfg, own.runtime.output_dir, list(own.overrides.task), own.job.name))
        return 0.5

    composed = compose_all(["seed=7", "hydra.run.dir=here"])
    assert internals.run_composed(composed, job)
    assert seen == [(7, False, str(workplace / "here"), ["seed=7"], "mlrun")]
    assert (workplace / "here" / ".hydra" / "overrides.yaml").read_text() == "- seed=7\n"

    def failing(cfg):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        internals.run_composed(compose_all(["hydra.run.dir=here"]), failing)
    assert not internals.run_composed(compose_all(["hydra.mode=MULTIRUN"]), job)
    without(monkeypatch, "hydra._internal.callbacks")
    assert not internals.run_composed(compose_all([]), job)


@pytest.mark.parametrize("replaced", [False, True])
def test_an_unknown_option_prints_the_usage(monkeypatch, capsys, replaced):
    if replaced:
        without(monkeypatch, "hydra._internal.utils")
    with pytest.raises(SystemExit):
        internals.parse_command_line(["--nothing-such"])
    assert "usage:" in capsys.readouterr().err


def test_the_replacement_knows_every_option_of_hydra():
    from hydra._internal.utils import get_args_parser

    def options(parser):
        return {
            name: (action.nargs, action.const, action.choices and sorted(action.choices), action.dest)
            for action in parser._actions
            for name in action.option_strings
        }

    ours, theirs = options(internals._documented_options()), options(get_args_parser())
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name][0] == theirs[name][0] and ours[name][3] == theirs[name][3]


# --- overrides -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, key, value, kind",
    [
        ("a.b=1", "a.b", 1, ""),
        ("+a=x", "a", "x", "add"),
        ("++a='x y'", "a", "x y", "force_add"),
        ("~a", "a", None, "delete"),
        ("group@here=[1,2.5,null]", "group", [1, 2.5, None], ""),
    ],
)
def test_an_override(text, key, value, kind):
    override = internals.parse_override(text)
    assert override.key_or_group == key and override.input_line == text
    assert not override.is_sweep_override()
    kinds = {"add": override.is_add(), "force_add": override.is_force_add(), "delete": override.is_delete()}
    assert [name for name, applies in kinds.items() if applies] == ([kind] if kind else [])
    if kind != "delete":
        assert override.value() == value


def test_what_is_no_override_raises_hydras_exception():
    with pytest.raises(HydraException):
        internals.parse_override("a=[")


def test_values_of_a_sweep_are_quoted_as_overrides_need_it():
    assert list(internals.sweep_values(internals.parse_override("a=1,x,'b, c'"))) == [1, "x", "'b, c'"]
    assert list(internals.sweep_values(internals.parse_override("a=range(1,4)"))) == [1, 2, 3]
    interval = internals.parse_override("a=interval(1,4)")
    assert interval.is_interval_sweep() and (interval.value().start, interval.value().end) == (1, 4)


def test_combinations_are_those_of_hydras_own_sweeper():
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    texts = ["a=1,2", "b.c=x,'y z'", "+d=range(0,3)", "~e", "f={g: 1, h: [2, null]}", "a=3,4", "k=choice(true,false)"]
    overrides = internals.parse_overrides(texts)
    ours = internals.combinations(overrides)
    assert ours == BasicSweeper.split_arguments(overrides, None)[0]
    assert len(ours) == 2 * 2 * 3 * 2
    assert ours[0][:2] == ["a=3", "b.c=x"] and ours[1][-1] == "k=False"


def test_a_grid_has_no_intervals():
    with pytest.raises(UserError, match=r"optim.lr=interval\(0.1,1\): .*hydra/sweeper=optuna"):
        internals.combinations(internals.parse_overrides(["optim.lr=interval(0.1,1)"]))


# --- composition ---------------------------------------------------------------------------------------------------


def test_composing_in_the_middle_of_a_run_leaves_hydra_as_it_was():
    from hydra.core.global_hydra import GlobalHydra

    with internals.own_composition():
        state = GlobalHydra.instance()
        state.hydra = running = object()
        assert compose(["model=linear"]).model.name == "linear"
        assert GlobalHydra.instance() is state and state.hydra is running


@pytest.mark.parametrize("libyaml", [True, False])
def test_yaml_is_read_as_omegaconf_reads_it(libyaml, monkeypatch):
    """A composition reads with libyaml's parser where it is installed; what it reads is the same."""
    monkeypatch.setattr(internals, "_libyaml_loader", internals._libyaml_loader if libyaml else lambda: None)
    text = '{rate: 1e-3, on: yes, date: 2024-01-31, text: "${a.b}", list: [0o7, .5, ~], path: !!python/object/apply:pathlib.Path [a, b]}'
    slow = OmegaConf.create(text)
    with internals.own_composition(), internals.own_composition():
        assert OmegaConf.create(text) == slow
        with pytest.raises(yaml.YAMLError, match="duplicate key a"):
            OmegaConf.create("{a: 1, a: 2}")
    with internals.own_composition():
        loader = _utils.get_yaml_loader()
        assert issubclass(loader, CParser) == libyaml
    assert not issubclass(_utils.get_yaml_loader(), CParser)


def test_composing_without_a_global_state(monkeypatch):
    without(monkeypatch, "hydra.core.global_hydra")
    with internals.own_composition():
        pass


# --- jobs ----------------------------------------------------------------------------------------------------------


def test_a_launcher(monkeypatch):
    from hydra.core.plugins import Plugins

    Plugins.instance()  # finds the plugins, before the module goes away
    config = OmegaConf.create(
        {"hydra": {"launcher": {"_target_": "hydra_plugins.mlrun_pool.PoolLauncher", "slots": 3}}}
    )
    for replaced in (False, True):
        if replaced:
            without(monkeypatch, "hydra.core.plugins")
        launcher = internals.instantiate_launcher("context", "function", config)
        assert launcher.settings["slots"] == 3
        assert (launcher.hydra_context, launcher.task_function, launcher.config) == ("context", "function", config)


def test_a_job_runs_in_its_directory_and_keeps_its_failure(tmp_path):
    from hydra import initialize
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import HydraContext, RunMode

    def task(cfg):
        if cfg.fails:
            raise KeyError("lost")
        return 7

    with internals.own_composition(), initialize(None, version_base="1.3"):
        loader = GlobalHydra.instance().hydra.config_loader
        config = loader.load_configuration(
            None, [f"hydra.run.dir={tmp_path / 'job'}", "+fails=false"], run_mode=RunMode.RUN
        )
        internals.register_hydra_resolvers()
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        done = internals.run_hydra_job(context, task, config)
        assert internals.failure_of(done) is None and done.return_value == 7
        assert (tmp_path / "job" / ".hydra" / "config.yaml").is_file()
        OmegaConf.set_readonly(config, False)
        config.fails = True
        failed = internals.run_hydra_job(context, task, config)
        assert isinstance(internals.failure_of(failed), KeyError)


def test_what_a_launcher_returns(capsys):
    done = internals.job_return(0.5, overrides=["a=1"], working_dir="/somewhere")
    assert done.return_value == 0.5 and done.overrides == ["a=1"] and internals.failure_of(done) is None
    failed = internals.job_return(None, ValueError("not one"), overrides=["a=2"])
    with pytest.raises(ValueError, match="not one"):
        _ = failed.return_value
    assert isinstance(internals.failure_of(failed), ValueError)
    assert capsys.readouterr().err == ""  # Hydra's own would print


@pytest.mark.parametrize(
    "call, part",
    [
        (lambda: internals.parse_override("a=1"), "hydra.core.override_parser.overrides_parser"),
        (internals.register_hydra_resolvers, "hydra.core.utils"),
        (lambda: internals.run_hydra_job(None, None, None), "hydra.core.utils"),
    ],
)
def test_a_part_that_nothing_can_replace_is_named(monkeypatch, call, part):
    without(monkeypatch, part)
    with pytest.raises(UserError, match=rf"has no {part}\..*pip install 'hydra-core"):
        call()


def test_the_version_base_of_an_application_is_passed_on():
    from hydra.version import base_at_least

    before = internals.version_base()
    try:
        for base in ("1.1", "1.3"):
            internals.set_version_base(base)
            assert internals.version_base() == base and base_at_least("1.3") == (base == "1.3")
    finally:
        internals.set_version_base(before)
