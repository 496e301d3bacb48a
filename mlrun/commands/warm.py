"""`mlrun warm`: a server that has imported everything, from which later commands start immediately."""

from __future__ import annotations

import argparse
import time

SUMMARY = "start a server that makes later commands start immediately"


def run(argv: list[str]) -> int:
    """Starts or stops the server; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mlrun warm",
        description="Starts a server that imports everything once. Later `mlrun` commands of this user find it, are forked from it, and start "
        "immediately; their results are the same. It ends after 15 idle minutes, or when code, configuration files or packages change. "
        "MLRUN_WARM=0 starts a command without it.",
    )
    parser.add_argument(
        "--stop", action="store_true", help="stop the server; commands that are running are not affected"
    )
    arguments = parser.parse_args(argv)
    from mlrun.warm.daemon import is_running, start, stop

    if arguments.stop:
        print("mlrun warm: stopped" if stop() else "mlrun warm: there is no server for commands like this one")
        return 0
    begin = time.perf_counter()
    process = start()
    if process is None:
        print(f"mlrun warm: the server is {'already running' if is_running() else 'starting'}")
        return 0
    print(
        f"mlrun warm: ready after {time.perf_counter() - begin:.1f} s (process {process}). It ends after 15 idle minutes; "
        "to stop it now: mlrun warm --stop"
    )
    return 0
