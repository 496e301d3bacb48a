"""Everything that mlrun uses of Hydra without Hydra documenting it: the only file that a change inside Hydra can break.

Each function states what is needed and why. Where Hydra lacks the part, it does without, or raises a UserError that names
the part. `tests/config/test_hydra_internals.py` fails when Hydra changes one of them.

Documented, and used elsewhere: `hydra.main`, `compose`, `initialize_config_dir`, `instantiate`, `HydraConfig`,
`ConfigStore`, `ConfigSearchPath`, `hydra.errors`, `hydra.types`, and the base classes in `hydra.plugins`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import version
from itertools import product
from typing import TYPE_CHECKING, Any

from mlrun.errors import UserError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from hydra.core.utils import JobReturn
    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


# --- the command line ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CommandLine:
    """A command line as Hydra reads it.

    Args:
        overrides: the words that are not options.
        config_dir: of `--config-dir`.
        multirun: a sweep (`-m`).
        runs: whether jobs run; False for options that only print, such as `--cfg` and `--help`.
        plain: whether there are overrides only, and no option of Hydra's.
    """

    overrides: list[str]
    config_dir: str | None
    multirun: bool
    runs: bool
    plain: bool = True


def parse_command_line(argv: list[str]) -> CommandLine:
    """Separates overrides from Hydra's options, to check the overrides before Hydra does anything.

    Hydra documents its options, but only `hydra.main` reads them, together with running the job. Without Hydra's own
    parser the documented options are parsed here.

    Raises:
        SystemExit: an option that Hydra does not have; the usage is printed.
    """
    try:
        from hydra._internal.utils import get_args_parser
    except ImportError:
        get_args_parser = _documented_options
    given = get_args_parser().parse_args(argv)
    shows = given.help or given.hydra_help or given.cfg or given.info or given.shell_completion
    plain = not any(value for option, value in vars(given).items() if option != "overrides")
    return CommandLine(list(given.overrides), given.config_dir, bool(given.multirun), not shows, plain)


def _documented_options() -> argparse.ArgumentParser:
    """https://hydra.cc/docs/advanced/hydra-command-line-flags"""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("overrides", nargs="*")
    for names in (("--help", "-h"), ("--hydra-help",), ("--resolve",), ("--run", "-r"), ("--multirun", "-m")):
        parser.add_argument(*names, action="store_true")
    parser.add_argument("--version", action="version", version=f"Hydra {version('hydra-core')}")
    parser.add_argument("--shell-completion", "-sc", action="store_true")
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--info", "-i", nargs="?", const="all")
    for names in (("--package", "-p"), ("--config-path", "-cp"), ("--config-name", "-cn"), ("--config-dir", "-cd")):
        parser.add_argument(*names)
    parser.add_argument("--experimental-rerun")
    return parser


# --- overrides -----------------------------------------------------------------------------------------------------


def parse_override(text: str) -> Override:
    """One override as an object with `key_or_group`, `value()`, `is_add()`, `is_delete()`, `is_sweep_override()` ...

    Hydra documents the grammar of overrides but not its parser. mlrun needs it to judge overrides one by one.

    Raises:
        hydra.errors.HydraException: the text is not an override.
    """
    return _overrides_parser(None).parse_override(text)


def parse_overrides(texts: Sequence[str], config_loader: Any = None) -> list[Override]:
    """All overrides of a command line; `config_loader` (of a HydraContext) is needed to expand `glob(...)`."""
    return _overrides_parser(config_loader).parse_overrides(list(texts))


def _overrides_parser(config_loader: Any) -> Any:
    return _part("hydra.core.override_parser.overrides_parser", "OverridesParser").create(config_loader=config_loader)


def sweep_values(override: Override) -> Iterator[Any]:
    """The values of a discrete sweep as they are written in overrides, quoted where they must be."""
    return override.sweep_iterator(transformer=_part("hydra.core.override_parser.types", "Transformer").encode)


def interval_ends(override: Override) -> tuple[Any, Any]:
    """Both ends of `interval(a, b)`."""
    interval: Any = override.value()
    return interval.start, interval.end


def combinations(overrides: Sequence[Override]) -> list[list[str]]:
    """Overrides of every job of a grid, the last key varying fastest; a key that is given twice counts once, the last time.

    As Hydra's `BasicSweeper.split_arguments`, which is private. Needed to check all jobs before the first one starts.

    Raises:
        UserError: a continuous interval has no finite number of values.
    """
    alternatives: dict[str, list[str]] = {}
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            alternatives[key] = [f"{key}={override.get_value_element_as_str()}"]
        elif override.is_discrete_sweep():
            alternatives[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        else:
            raise UserError(
                f"{override.input_line}: a grid needs single values; add hydra/sweeper=optuna to search an interval"
            )
    return [list(job) for job in product(*alternatives.values())]


# --- composition ---------------------------------------------------------------------------------------------------


@contextmanager
def own_composition() -> Iterator[None]:
    """Permits `initialize_config_dir` while Hydra runs a job, and puts Hydra's state back afterwards.

    Hydra keeps one global state and refuses to initialize it twice. mlrun composes further configurations in the middle
    of a run: the reference classifier's, and those of a sweep's jobs.
    """
    try:
        from hydra.core.global_hydra import GlobalHydra
    except ImportError:  # then there is no global state to put aside
        yield
        return
    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None
    try:
        with _libyaml():
            yield
    finally:
        GlobalHydra.set_instance(state)  # `initialize_config_dir` leaves a copy in its place
        state.hydra = before


@contextmanager
def _libyaml() -> Iterator[None]:
    """OmegaConf reads YAML with libyaml's parser, which takes a fifth off a composition; without libyaml, as ever."""
    loader = _libyaml_loader()
    if loader is None:
        yield
        return
    from omegaconf import _utils

    before = _utils.get_yaml_loader
    _utils.get_yaml_loader = lambda: loader
    try:
        yield
    finally:
        _utils.get_yaml_loader = before


@cache
def _libyaml_loader() -> type | None:
    """OmegaConf's loader, which refuses duplicate keys, with libyaml's parser in the place of PyYAML's."""
    try:
        from omegaconf._utils import get_yaml_loader
        from yaml.constructor import SafeConstructor
        from yaml.cyaml import CParser
        from yaml.resolver import Resolver
    except ImportError:
        return None

    class Loader(CParser, get_yaml_loader()):  # type: ignore[misc]
        def __init__(self, stream: Any):
            CParser.__init__(self, stream)
            SafeConstructor.__init__(self)
            Resolver.__init__(self)

    return Loader


def replace_values(config: DictConfig, overrides: Sequence[Override], values: Sequence[Override]) -> bool:
    """Makes the configuration of one job that of another, whose overrides differ only in values.

    Hydra composes each job anew, which takes a quarter of a second. Besides the values, it writes the overrides into the node `hydra`.

    Args:
        config: with the node `hydra`; changed in place.
        overrides: all of the other job.
        values: those of them that replace a value.

    Returns:
        Whether it could: False for a value that cannot be set, and where Hydra lacks a part. Then Hydra must compose the job.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    task = [override for override in overrides if not override.is_hydra_override()]
    job = config.hydra.job
    try:
        from hydra._internal.config_loader_impl import get_overrides_dirname

        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        config.hydra.overrides.task = [override.input_line for override in task]
        job.override_dirname = get_overrides_dirname(task, **job.config.override_dirname)
    except (ImportError, TypeError, OmegaConfBaseException):
        return False
    return True


@dataclass(frozen=True)
class Composed:
    """A composed configuration with the node `hydra`, and what composed it; context: None where Hydra does not give it."""

    config: DictConfig
    context: HydraContext | None


def context_of(config: DictConfig) -> HydraContext | None:
    """What a job needs besides its configuration, while `initialize_config_dir` is in force. None where Hydra lacks a part."""
    try:
        from hydra._internal.callbacks import Callbacks
        from hydra.core.global_hydra import GlobalHydra
        from hydra.types import HydraContext

        return HydraContext(GlobalHydra.instance().hydra.config_loader, Callbacks(config))
    except (ImportError, AttributeError, TypeError):
        return None


def run_composed(composed: Composed, task_function: Callable[[DictConfig], Any]) -> bool:
    """Runs a single job from its configuration. `hydra.main` would compose that twice more, which takes a fifth of a second.

    Args:
        task_function: returns the objective, and does not raise.

    Returns:
        Whether it ran: False for a sweep (`hydra.mode=MULTIRUN`), and where Hydra lacks a part. `hydra.main` is for these.
    """
    from hydra.types import RunMode

    config, context = composed.config, composed.context
    if context is None or config.hydra.mode not in (None, RunMode.RUN):
        return False
    register_hydra_resolvers()
    config.hydra.mode = RunMode.RUN
    context.callbacks.on_run_start(config=config, config_name=config.hydra.job.config_name)
    done = run_hydra_job(context, task_function, config)
    context.callbacks.on_run_end(config=config, config_name=config.hydra.job.config_name, job_return=done)
    if (failure := failure_of(done)) is not None:
        raise failure
    return True


def discover_plugins() -> None:
    """Imports Hydra's plugins, which it otherwise looks for when it composes for the first time. Without that part nothing is lost but time."""
    with suppress(ImportError):
        from hydra.core.plugins import Plugins

        Plugins.instance()


# --- jobs of a sweep -----------------------------------------------------------------------------------------------


def instantiate_launcher(hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> Launcher:
    """The configured launcher, set up: every sweeper needs it. Hydra shows this only in its example of a sweeper."""
    try:
        from hydra.core.plugins import Plugins
    except ImportError:
        from hydra.utils import instantiate

        launcher = instantiate(config.hydra.launcher)
        launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)
        return launcher
    return Plugins.instance().instantiate_launcher(
        hydra_context=hydra_context, task_function=task_function, config=config
    )


def register_hydra_resolvers() -> None:
    """Makes `${hydra:...}` and `${now:...}` known in this process. Hydra does it in `hydra.main`, which a launcher's processes never call."""
    _part("hydra.core.utils", "setup_globals")()


def version_base() -> str:
    """The version of Hydra whose behaviour the application asks for. `hydra.main` keeps it in its process only, not in those of a launcher."""
    return str(_part("hydra.version", "VersionBase").instance().getbase())


def set_version_base(text: str) -> None:
    """Asks for the behaviour of a version of Hydra, as `hydra.main(version_base=...)` does: whether a job changes its working directory depends on it."""
    from packaging.version import Version

    _part("hydra.version", "VersionBase").instance().setbase(Version(text))


def run_hydra_job(
    hydra_context: HydraContext, task_function: Callable[[DictConfig], Any], config: DictConfig
) -> JobReturn:
    """Runs a job in its own directory with Hydra's logging, callbacks and `.hydra` folder, as `hydra.main` does for a single run.

    Hydra shows this only in its example of a launcher. What the task function raises is in the result: see `failure_of`.
    """
    run_job = _part("hydra.core.utils", "run_job")
    return run_job(
        hydra_context=hydra_context,
        task_function=task_function,
        config=config,
        job_dir_key="hydra.run.dir",
        job_subdir_key=None,
    )


def failure_of(done: JobReturn) -> BaseException | None:
    """The exception of a job; None if it completed. `JobReturn.return_value` would print before it raises."""
    status = _part("hydra.core.utils", "JobStatus")
    return None if done.status == status.COMPLETED else done._return_value


@cache
def _quiet_job_return() -> type[JobReturn]:
    def return_value(self: Any) -> Any:
        if (failure := failure_of(self)) is not None:
            raise failure
        return self._return_value

    base = _part("hydra.core.utils", "JobReturn")
    return type("Return", (base,), {"return_value": property(return_value)})


def job_return(value: Any, failure: BaseException | None = None, **fields: Any) -> JobReturn:
    """What a launcher returns of a job: its value, or the exception that it ended with.

    Args:
        value: the objective.
        failure: raised when `return_value` is read, without Hydra's message on stderr.
        fields: overrides, cfg, hydra_cfg, working_dir and task_name.
    """
    status = _part("hydra.core.utils", "JobStatus")
    done = _quiet_job_return()(**fields)
    done.status, done._return_value = (status.COMPLETED, value) if failure is None else (status.FAILED, failure)
    return done


def _part(module: str, name: str) -> Any:
    """An undocumented part of Hydra that nothing can replace. Raises UserError where this Hydra does not have it."""
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        raise UserError(
            f"Hydra {version('hydra-core')} has no {module}.{name}, which mlrun needs: pip install 'hydra-core>=1.3.8,<1.4'"
        ) from None
