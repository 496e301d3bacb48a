"""`mlrun warm`: a server that has imported everything, in which later commands start at once."""

from __future__ import annotations

import argparse
import time

SUMMARY = "start later commands at once: a server that has imported everything"


def run(argv: list[str]) -> int:
    """Starts or stops the server; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mlrun warm",
        description="Imports everything once, in a process from which later `mlrun` commands of this user are forked. Their results are the "
        "same, and nothing else has to be done: every command finds it. It ends after 15 idle minutes, or when code, configuration files or "
        "packages change. MLRUN_WARM=0 makes a command start without it.",
    )
    parser.add_argument("--stop", action="store_true", help="end it now; commands that run in it are not affected")
    arguments = parser.parse_args(argv)
    from mlrun.warm.daemon import is_running, start, stop

    if arguments.stop:
        print("mlrun warm: ended" if stop() else "mlrun warm: there is no server for commands like this one")
        return 0
    begin = time.perf_counter()
    process = start()
    if process is None:
        print(f"mlrun warm: the server {'runs' if is_running() else 'is starting'} already")
        return 0
    print(
        f"mlrun warm: ready after {time.perf_counter() - begin:.1f} s (process {process}). It ends after 15 idle minutes; "
        "to end it now: mlrun warm --stop"
    )
    return 0
