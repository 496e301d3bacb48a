"""The `mlrun` command: a verb of `mlrun.commands`, or a Hydra application that runs experiments. Imports nothing heavy."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import traceback
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import version


def main(argv: list[str] | None = None) -> None:
    """Entry point of the console script. Exits 0 when done, 1 when a run failed, 2 when the user has something to mend, 130 after Ctrl-C."""
    from mlrun.errors import UserError

    argv = sys.argv[1:] if argv is None else list(argv)
    if os.getcwd() not in sys.path:
        # users keep Python beside their conf/; at the end, so that it never hides an installed package
        sys.path.append(os.getcwd())
    try:
        sys.exit(_dispatch(argv))
    except UserError as error:
        print(_message(str(error)), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("mlrun: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `mlrun list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception:  # a defect of ours, or of the user's own Python
        traceback.print_exc()
        sys.exit(1)


def _message(text: str) -> str:
    lines = text.splitlines() or ["unknown error"]
    return (
        f"mlrun: {lines[0]}"
        if len(lines) == 1
        else "mlrun: there are problems:\n" + "\n".join(f"  - {line}" for line in lines)
    )


def _dispatch(argv: list[str]) -> int:
    word = argv[0] if argv else ""
    if word == "--version":
        print(f"mlrun {version('mlrun')} (Hydra {version('hydra-core')})")
        return 0
    if {"--help", "-h"} & set(argv) and (not word or word.startswith("-") or "=" in word):
        word, argv = "help", ["help"]
    if word and not word.startswith(("-", "+", "~")) and "=" not in word:
        from mlrun.commands import verbs

        if word not in verbs():
            from mlrun.errors import UserError

            near = get_close_matches(word, verbs(), n=1)
            hint = (
                f"did you mean '{near[0]}'?"
                if near
                else f"commands are {', '.join(verbs())}; a run takes overrides such as model=mlp."
            )
            raise UserError(f"unknown command '{word}': {hint}")
        return import_module(f"mlrun.commands.{word}").run(argv[1:])
    return hydra_application(argv)


def hydra_application(argv: list[str]) -> int:
    """Runs the Hydra application. What Hydra would print as an error of composition is explained, all problems at once."""
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from mlrun.config.compose import CONF, CONFIG_NAME, register_resolvers
    from mlrun.config.explain import explain, quoted
    from mlrun.errors import ConfigError, SweepFailed, UserError

    register_resolvers()
    automatic = "resume=auto" in argv
    argv = [quoted(word) for word in _resumed(_selected(argv))]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of Hydra's printer
    sys.argv[1:] = argv
    arguments = _parse(argv)

    # as Ctrl-C: the run is closed before the end
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    follows = int(os.environ.get("LOCAL_RANK", 0)) > 0  # a further process of a distributed run, started by the first
    if follows:
        from mlrun.experiment.processes import die_with_parent

        die_with_parent(os.getppid())
    failures, unrecorded = [], []

    def job(cfg):
        import logging

        from hydra.core.hydra_config import HydraConfig

        from mlrun.experiment.run import run
        from mlrun.report import silent, terminal
        from mlrun.sweep import worker

        logging.captureWarnings(True)  # into the run's log, not between the lines of the report
        hydra_cfg = HydraConfig.get()
        if "MLRUN_SWEEP" in os.environ:  # so is this, in the hands of another launcher
            from mlrun.sweep import remote

            return remote.run(cfg, hydra_cfg)
        if worker.current is not None:  # this is a job's process of a sweep, which reports for it
            return worker.current.run(cfg, hydra_cfg)
        told = silent if follows else terminal
        try:
            result = run(cfg, hydra_cfg.runtime.output_dir, list(hydra_cfg.overrides.task), report=told)
        except Exception as error:  # kept from Hydra, which would print it in its own way and end a sweep
            failures.append(error)
            return None
        unrecorded.extend([] if result.recorded else [result])
        return result.objective

    try:
        if arguments.runs:
            _check(arguments)
            if automatic and not arguments.multirun and (begun := _begun(arguments)):
                from mlrun.experiment.resuming import find, resume_run

                # what the further processes of a distributed run are started with
                sys.argv[1:] = ["resume", str(begun)]
                return resume_run(find(str(begun)), [])
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=CONFIG_NAME)(job)()
    except SweepFailed:  # which job and why was said
        return 1
    except (
        HydraException,
        OmegaConfBaseException,
        YAMLError,
        ValueError,
    ) as error:  # of composition, some an OSError too: the job's own are kept above
        if "hydra.sweeper.select" in str(error):
            raise UserError(
                "select.… is for a search: add hydra/sweeper=optuna; of a finished sweep: mlrun leaderboard select.…"
            ) from None
        problems = explain(arguments.overrides, arguments.config_dir, error)
        if not problems:
            raise
        raise ConfigError(problems) from None
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"cannot write here: {error}. Go to another directory, or set hydra.run.dir=DIRECTORY."
        ) from None
    if failures:
        raise failures[0]
    return 1 if unrecorded else 0


def _selected(argv: list[str]) -> list[str]:
    """`select.maximize=…`, `select.subject_to=…` of a search as its sweeper has them: a limit is no value that Hydra could read."""
    words = [word for word in argv if word.startswith("select.")]
    if words and not {"-m", "--multirun"} & set(argv):
        from mlrun.errors import UserError

        raise UserError(
            f"{words[0]}: one run leaves nothing to choose from; give it to a search (mlrun -m hydra/sweeper=optuna ...) or to mlrun leaderboard"
        )
    written = ",".join(json.dumps(word.removeprefix("select.")) for word in words)
    return [word for word in argv if word not in words] + [f"hydra.sweeper.select=[{written}]"] * bool(words)


def _resumed(argv: list[str]) -> list[str]:
    """The command line without `resume=...`. `mlrun -m ... resume=true` goes on with the sweep in hydra.sweep.dir, else with the newest one
    of the same command; `resume=auto` does so if there is one."""
    given = [argument for argument in argv if argument in ("resume=true", "resume=auto")]
    if not given:
        return argv
    from mlrun.errors import UserError
    from mlrun.sweep.journal import latest

    argv = [argument for argument in argv if argument not in given]
    if not {"-m", "--multirun"} & set(argv):
        if "resume=true" in given:
            raise UserError(
                "resume=true is for sweeps (-m); one run is gone on with by mlrun resume RUN, or by resume=auto if there is one"
            )
        return argv
    if not any(argument.startswith("hydra.sweep.dir=") for argument in argv):
        directory = latest(argv)
        if directory is None and "resume=auto" in given:
            return argv
        if directory is None:
            raise UserError(
                "resume=true: no sweep of this command in ./outputs; give its directory: hydra.sweep.dir=DIR"
            )
        argv = [*argv, f"hydra.sweep.dir={directory}"]
    return [*argv, "hydra.sweeper.resume=true"]


def _begun(arguments) -> str | None:
    """The directory of an unfinished run of this very configuration: hydra.run.dir where that is given, else the newest in ./outputs."""
    from mlrun.config.explain import composition
    from mlrun.config.identity import identity
    from mlrun.config.instantiate import plain
    from mlrun.experiment.state import newest_unfinished
    from mlrun.tracking.run_directory import read_record

    wanted = identity(plain(composition(tuple(arguments.overrides), arguments.config_dir)))
    chosen = [
        text.partition("=")[2].strip("'\"")
        for text in arguments.overrides
        if text.lstrip("+").startswith("hydra.run.dir=")
    ]
    if not chosen:
        return newest_unfinished(wanted, "outputs")
    record = read_record(chosen[-1])
    unfinished = record.get("identity") == wanted and record.get("status") != "FINISHED"
    return chosen[-1] if unfinished else None


def _parse(argv: list[str]):
    from hydra._internal.utils import get_args_parser  # the only reader of Hydra's own options

    arguments = get_args_parser().parse_args(argv)
    shows = arguments.help or arguments.hydra_help or arguments.cfg or arguments.info or arguments.shell_completion
    arguments.runs = not shows
    return arguments


def _check(arguments) -> None:
    """Refuses a wrong configuration before any work: no directory, no heavy import. Warnings go to stderr."""
    from mlrun.config.catalogue import hidden
    from mlrun.config.explain import composition, explain
    from mlrun.config.validate import validate
    from mlrun.errors import ConfigError

    if arguments.config_dir and not os.path.isdir(arguments.config_dir):
        raise ConfigError(f"--config-dir {arguments.config_dir}: there is no such directory")
    # of a sweep its alternatives one by one; the launcher checks every job
    errors = explain(arguments.overrides, arguments.config_dir)
    if not errors and not arguments.multirun:
        cfg = composition(tuple(arguments.overrides), arguments.config_dir)
        errors, warnings = validate(cfg, arguments.overrides, arguments.config_dir)
        warnings += [
            f"conf/{name} has no effect: mlrun has a file of that name; give yours another" for name in hidden()
        ]
        for line in warnings:
            print(f"mlrun: warning: {line}", file=sys.stderr)
    if errors:
        raise ConfigError(errors)
