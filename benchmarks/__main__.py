"""`python -m benchmarks [NAME ...]`: runs the comparisons and writes benchmarks/results.md and results.csv.

A name is a module, or one case of it: `training.lenet`.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import os
import platform
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path
from pkgutil import iter_modules

import benchmarks
from benchmarks.comparison import HEADER

HERE = Path(__file__).parent


def main() -> int:
    known = [module.name for module in iter_modules(benchmarks.__path__) if module.name != "__main__"]
    known = [name for name in known if hasattr(importlib.import_module(f"benchmarks.{name}"), "compare")]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(known)} (default: all)")
    names, failed = parser.parse_args().names or known, []
    if unknown := [name for name in names if name.partition(".")[0] not in known]:
        parser.error(f"no comparison {', '.join(unknown)}; there are {', '.join(known)}")
    for name in names:
        module, _, case = name.partition(".")
        try:
            rows = importlib.import_module(f"benchmarks.{module}").compare(*filter(None, [case]))
        except Exception as error:
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr, flush=True)
            continue
        for row in rows:
            print("  ".join(row.cells()), flush=True)
        _write(_read(HERE / "results.csv") | {row.name: row.cells() + _where() for row in rows})
    return 1 if failed else 0


def _where() -> list[str]:
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "lightning", "mlflow"))
    return [_processor(), date.today().isoformat(), versions]


def _processor() -> str:
    device = f"{os.cpu_count()} cores {platform.machine()}"
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        device += f", {sys.modules['torch'].cuda.get_device_name()}"
    return device


def _read(path: Path) -> dict[str, list[str]]:
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {row[0]: row for row in list(csv.reader(file))[1:]}


def _write(rows: dict[str, list[str]]) -> None:
    header = [*HEADER, "machine", "date", "versions"]
    header[header.index("")] = "verdict"
    with open(HERE / "results.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows.values()])
    lines = [
        "# Measured comparisons",
        "",
        "`python -m benchmarks`; A B A B in one process group, medians; a ratio below 1 means that mlrun is faster.",
        "",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows.values())]
    (HERE / "results.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
