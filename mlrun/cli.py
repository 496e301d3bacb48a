"""The `mlrun` command: a command of `mlrun.commands`, or the Hydra application, which runs experiments. Imports nothing heavy."""

from __future__ import annotations

import gc
import os
import signal
import sys
from importlib import import_module

from mlrun.config.passwords import masked
from mlrun.errors import UserError
from mlrun.report.console import drop_output, guard_streams, show_status
from mlrun.warm.client import run_in_server


def main(argv: list[str] | None = None) -> None:
    """Entry point of the console script. A command of this process runs in the warm server, where there is one (`mlrun warm`).

    Args:
        argv: words after `mlrun`; default: those of this process.

    Exits with 0 when done, 1 when a run failed, 2 for an invalid command or data, 130 after Ctrl-C.
    """
    guard_streams()
    # Imports create half a million objects, and no garbage: collecting after every 700 takes a seventh of their time.
    gc.set_threshold(100_000)
    try:
        if argv is None and (status := run_in_server()) is not None:
            sys.exit(status)
        if os.getcwd() not in sys.path:
            # Users keep Python files beside their conf/. Last, so that these never hide an installed package.
            sys.path.append(os.getcwd())
        sys.exit(dispatch(sys.argv[1:] if argv is None else list(argv)))
    except UserError as error:
        print(error_message(error), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("mlrun: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # `mlrun list | head`
        drop_output()
        sys.exit(128 + signal.SIGPIPE)
    except Exception:  # a bug in mlrun, or in the user's own Python
        import traceback

        print(masked(traceback.format_exc()), end="", file=sys.stderr)
        sys.exit(1)


def error_message(error: UserError) -> str:
    """What is printed of an error: one line, or a list of all problems."""
    lines = masked(str(error)).splitlines() or ["unknown error"]
    if len(lines) == 1:
        return f"mlrun: {lines[0]}"
    return "mlrun: there are problems:\n" + "\n".join(f"  - {line}" for line in lines)


def dispatch(argv: list[str]) -> int:
    """Runs the command that the first word names, else the Hydra application; returns the exit status.

    Raises:
        UserError: there is no such command, or it raised it.
    """
    word = argv[0] if argv else ""
    if word == "--version":
        from importlib.metadata import version

        print(f"mlrun {version('mlrun')} (Hydra {version('hydra-core')})")
        return 0
    if {"--help", "-h"} & set(argv) and (not word or word.startswith("-") or "=" in word):
        word, argv = _help(argv)
    if word and not word.startswith(("-", "+", "~")) and "=" not in word:
        from mlrun.commands import verbs

        if word not in verbs():
            from difflib import get_close_matches

            near = get_close_matches(word, verbs(), n=1)
            hint = (
                f"did you mean '{near[0]}'?"
                if near
                else f"commands are {', '.join(verbs())}; a run takes overrides such as model=mlp."
            )
            raise UserError(f"unknown command '{word}': {hint}")
        return _command(word, argv[1:])
    if not {"--cfg", "-c", "--info", "-i", "--hydra-help", "--shell-completion", "-sc"} & set(argv):
        show_status("reading the configuration …")
    from mlrun.commands._application import hydra_application

    return hydra_application(argv)


def _command(name: str, argv: list[str]) -> int:
    """Runs a command of `mlrun.commands`. What fails because a file of a run has been damaged is a UserError that names the file."""
    command = import_module(f"mlrun.commands.{name}")
    try:
        return command.run(argv)
    except UserError:
        raise
    except Exception as error:
        from mlrun.experiment.stored import changed_files

        changed = [str(path) for word in argv for path in changed_files(word)]
        if not changed:
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(
            f"{changed[0]} has changed since mlrun wrote it, and cannot be used ({reason}). Restore the file, or start the run again"
        ) from error


def _help(argv: list[str]) -> tuple[str, list[str]]:
    """The command for `--help` among overrides: `mlrun model=svm --help` shows the choice, `mlrun --help` the overview."""
    from mlrun.config.catalogue import groups

    known = groups()
    chosen = [word for word in argv if "=" in word and word.partition("=")[0] in known]
    return ("show", ["show", *chosen]) if chosen else ("help", ["help"])
