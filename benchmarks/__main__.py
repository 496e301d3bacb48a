"""`python -m benchmarks [NAME ...]`: runs the comparisons and writes benchmarks/results.md and results.csv.

A name is a module, or one case of it: `training.lenet`.
"""

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


def main(names: "list[str]") -> None:
    known = [module.name for module in iter_modules(benchmarks.__path__)]
    rows = {}
    for name in names or known:
        module, _, case = name.partition(".")
        if name != "__main__" and hasattr(module := importlib.import_module(f"benchmarks.{module}"), "compare"):
            for row in module.compare(*filter(None, [case])):
                rows[row.name] = row.cells()
                print("  ".join(row.cells()), flush=True)
    old = _read(HERE / "results.csv")
    where = [
        _processor(),
        date.today().isoformat(),
        f"torch {version('torch')}, lightning {version('lightning')}, mlflow {version('mlflow')}",
    ]
    merged = {**old, **{name: cells + where for name, cells in rows.items()}}
    _write(merged)


def _processor() -> str:
    device = f"{os.cpu_count()} cores {platform.machine()}"
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        device += f", {sys.modules['torch'].cuda.get_device_name()}"
    return device


def _read(path: Path) -> "dict[str, list[str]]":
    if not path.is_file():
        return {}
    with open(path, newline="", encoding="utf-8") as file:
        return {row[0]: row for row in list(csv.reader(file))[1:]}


def _write(rows: "dict[str, list[str]]") -> None:
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
    main(sys.argv[1:])
