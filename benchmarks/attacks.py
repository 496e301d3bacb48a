"""Faulty command lines and tables without end: one message each, no traceback, no hang.

    python -m benchmarks.attacks [command lines, 1000] [tables, 300] [seed, 1]

The generator is that of `tests/practice/test_faulty_input.py`, which tries the first of another seed.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mlrun.config.compose import register_resolvers
from tests.practice.faults import corrupted, faults_of_a_message, good_table, judge, mutated, prepare

LIMIT = 60  # seconds of one answer


def main(command_lines: int = 1000, tables: int = 300, seed: int = 1) -> int:
    register_resolvers()
    os.chdir(tempfile.mkdtemp())
    found = [*_command_lines(command_lines, random.Random(seed)), *_tables(tables, random.Random(seed))]
    print(*found, sep="\n")
    print(f"{command_lines} command lines and {tables} tables: {len(found)} not answered with one message")
    return 1 if found else 0


def _command_lines(count: int, generator: random.Random) -> Iterator[str]:
    Path("table.csv").write_bytes(good_table())
    for _ in range(count):
        argv = mutated(generator)
        message, failure = _answer(lambda: judge(argv))
        failures = faults_of_a_message(message) if message else []
        if failure or failures:
            yield f"mlrun {' '.join(argv)}: {failure or failures}"


def _tables(count: int, generator: random.Random) -> Iterator[str]:
    good = good_table()
    for number in range(count):
        content = corrupted(generator, good)
        path = Path(f"файл {number}.{'csv.gz' if content.startswith(bytes([0x1F, 0x8B])) else 'csv'}").absolute()
        path.write_bytes(content)
        message, failure = _answer(lambda: prepare("dataset=csv", f"dataset.path='{path}'"))
        if failure or message and (len(message.splitlines()) != 1 or path.name not in message):
            yield f"{path}: {failure or message}"


def _answer(ask: Callable[[], str | None]) -> tuple[str | None, str]:
    """What the program says, and what went wrong with that."""
    began = time.monotonic()
    try:
        message = ask()
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"
    seconds = time.monotonic() - began
    return message, f"took {seconds:.0f} s" if seconds > LIMIT else ""


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
