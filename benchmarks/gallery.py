"""`python -m benchmarks.gallery [NAME ...]`: every model's default run with three seeds, from real runs to docs/gallery.md and .csv.

NAME: model names, or commands in quotes such as "model=cnn dataset=fashion_mnist"; none for all models and the comparisons below.
A run whose configuration was measured before is not repeated (docs/gallery_runs.csv), so an interrupted gallery continues where
it stopped; --again repeats it. Each run is a process of its own in an empty directory.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS, CSV, MARKDOWN = (ROOT / "docs" / name for name in ("gallery_runs.csv", "gallery.csv", "gallery.md"))
RUN_HEADER = (
    "command",
    "seed",
    "config",
    "dataset",
    "metric",
    "value",
    "parameters",
    "fit_seconds",
    "seconds",
    "device",
    "date",
    "metrics",  # all of the test split
    "val",  # the same metric on the validation split, of the epoch that was tested
)
HEADER = (
    "model",
    "command",
    "dataset",
    "metric",
    "mean",
    "std",
    "val",
    "seeds",
    "parameters",
    "fit_seconds",
    "seconds",
    "device",
    "others",  # means of the other metrics of the test split
    "reference",
)
FEW = (  # 1,000 labelled images, where augmentation shows
    "model=cnn dataset=fashion_mnist dataset.split.train=1000 dataset.split.val=1000 trainer.max_epochs=80 scheduler=cosine "
    "scheduler.interval=step model.network.channels=[16,32] model.network.hidden=[64] optim.lr=0.002"
)
COMPARISONS = (  # beyond the default runs: what a setting changes
    "experiment=fashion_mnist/softmax",
    "experiment=fashion_mnist/mlp",
    "experiment=fashion_mnist/lenet",
    FEW,
    f"{FEW} augment=crop_flip",
    f"{FEW} augment=strong",
    f"{FEW} augment=mixup",
    f"{FEW} augment=cutmix",
    "model=cnn3d dataset=moving_squares",
    "model=multinomial_nb dataset=language_id",
    "model=softmax_regression dataset=language_id",
    *[f"experiment=tinyshakespeare/{name}" for name in ("ngram", "window", "rnn", "gru", "lstm", "gpt_cpu")],
    "experiment=rt_polarity/text_cnn trainer=kfold trainer.folds=10",
    "model=multinomial_nb dataset=rt_polarity trainer=kfold trainer.folds=10",
    "experiment=arithmetic/lstm",
    "experiment=arithmetic/transformer",
    "experiment=reverse/transformer",
    *[f"experiment=fra_eng/{name}" for name in ("transformer", "gru_attention", "gru")],
    "experiment=grid25",
    "experiment=digits/siamese",
    "model=triplet model.mining=random",
    "model=verification model.head=chi_square",
    "model=vlm model.network.blind=true",
)
OF_CLASS = re.compile("AP50_|average_precision_|iou_|recall_(?!at_)")
NEEDS_FILES = ("fashion_mnist", "tinyshakespeare", "rt_polarity", "fra_eng")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gallery", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--again", action="store_true", help="repeat runs that were measured before")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds after which a run counts as failed")
    parser.add_argument("--only-write", action="store_true", help="write the tables from what was measured")
    # the child process: a command, its result as JSON on the last line
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.one is not None:
        print(json.dumps(measure(arguments.one)))
        return 0
    commands = [name if "=" in name else f"model={name}" for name in arguments.names] or [*defaults(), *COMPARISONS]
    failed = [] if arguments.only_write else measure_all(commands, arguments)
    write()
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def defaults() -> list[str]:
    from mlrun.config.catalogue import entries

    return [f"model={entry.name}" for entry in entries("model") if not entry.own and "experiment" not in entry.body]


def measure_all(commands, arguments) -> list[str]:
    rows, failed = read_runs(), []
    for command in commands:
        for seed in arguments.seeds:
            known = rows.get((command, seed))
            if known is not None and not arguments.again and known["config"] == config_hash(f"{command} seed={seed}"):
                continue
            result, error = in_a_process(command, seed, arguments.timeout)
            if result is None:
                failed.append(f"{command} seed={seed}: {error}")
                print(failed[-1], flush=True)
                if any(files in command for files in NEEDS_FILES):
                    break
                continue
            rows[command, seed] = {"command": command, "seed": seed, **result, "date": date.today().isoformat()}
            save_runs(rows)
            print(
                f"{command} seed={seed}: {result['metric']} {float(result['value']):.4f}, {float(result['seconds']):.1f} s",
                flush=True,
            )
    return failed


def config_hash(command: str) -> str:
    from mlrun.config.compose import compose
    from mlrun.config.instantiate import plain
    from mlrun.experiment.run import identity

    return identity(plain(compose(command.split())))


def in_a_process(command: str, seed: int, timeout: float) -> tuple[dict | None, str]:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        if "MLRUN_DATA_DIR" not in environment and (ROOT.parent / "shared" / "data").is_dir():
            environment["MLRUN_DATA_DIR"] = str(ROOT.parent / "shared" / "data")
        call = [sys.executable, "-m", "benchmarks.gallery", "--one", f"{command} seed={seed}"]
        try:
            done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            return None, f"took more than {timeout:g} s"
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return None, (done.stderr.strip().splitlines() or ["no output"])[-1]
    return json.loads(lines[-1]), ""


def measure(command: str) -> dict:
    from mlrun.config.compose import compose
    from mlrun.experiment.run import run
    from mlrun.report import silent

    cfg = compose(command.split())
    result = run(cfg, "outputs", command.split(), report=silent)
    watched = result.monitor
    tested = f"test/{watched.rpartition('/')[2]}"
    metric = (
        tested if tested in result.metrics else watched if watched in result.metrics else next(iter(result.metrics))
    )
    return {
        "config": config_hash(command),
        "dataset": result.dataset,
        "metric": metric,
        "value": result.metrics[metric],
        "parameters": result.parameters or "",
        "fit_seconds": round(result.seconds["fit"], 2),
        "seconds": round(sum(result.seconds.values()), 2),
        "device": device(),
        "val": result.metrics.get(f"val/{metric.removeprefix('test/')}", "") if metric.startswith("test/") else "",
        "metrics": " ".join(
            f"{name[5:].replace(' ', '_')}={value:.5g}"
            for name, value in sorted(result.metrics.items())
            if name.startswith("test/")
        ),
    }


def device() -> str:
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        return sys.modules["torch"].cuda.get_device_name()
    cores = len(os.sched_getaffinity(0))
    return f"CPU, {cores} core{'s' * (cores != 1)}"


def read_runs() -> dict[tuple[str, int], dict]:
    if not RUNS.is_file():
        return {}
    with open(RUNS, newline="", encoding="utf-8") as file:
        return {(row["command"], int(row["seed"])): row for row in csv.DictReader(file)}


def save_runs(rows: dict) -> None:
    RUNS.parent.mkdir(exist_ok=True)
    with open(RUNS, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, RUN_HEADER, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[key] for key in sorted(rows))


def summarize() -> list[dict]:
    """A row per command, its seeds together."""
    from mlrun.config.catalogue import find

    groups: dict[str, list[dict]] = {}
    for (command, _), row in sorted(read_runs().items()):
        groups.setdefault(command, []).append(row)
    table = []
    for command, rows in groups.items():
        values = [float(row["value"]) for row in rows]
        first = command.split()[0].partition("=")
        entry = find(first[0], first[2])
        if entry is None:  # a model that is no more
            continue
        lines = entry.head.splitlines()
        table.append({
            "model": first[2],
            "command": f"mlrun {command}",
            "dataset": rows[0]["dataset"],
            "metric": rows[0]["metric"],
            "mean": statistics.fmean(values),
            "std": statistics.stdev(values) if len(values) > 1 else "",
            "val": mean_of(rows, "val"),
            "seeds": len(rows),
            "parameters": rows[0]["parameters"],
            "fit_seconds": round(statistics.fmean(float(row["fit_seconds"]) for row in rows), 1),
            "seconds": round(statistics.fmean(float(row["seconds"]) for row in rows), 1),
            "device": rows[0]["device"],
            "others": others(rows),
            "reference": lines[1] if len(lines) > 1 else "",
        })  # fmt: skip
    return table


def mean_of(rows: list[dict], name: str) -> float | str:
    """The mean of a column over the seeds; empty if a run does not have it."""
    values = [row.get(name) for row in rows]
    return statistics.fmean(map(float, values)) if all(value not in (None, "") for value in values) else ""


def others(rows: list[dict]) -> str:
    """The means over the seeds of what else was measured on the test split, without the metrics of single classes."""
    from mlrun.report.numbers import number

    measured = [dict(part.split("=") for part in (row.get("metrics") or "").split()) for row in rows]
    names = [
        name
        for name in measured[0]
        if f"test/{name}" != rows[0]["metric"] and not OF_CLASS.match(name) and all(name in one for one in measured)
    ]
    return ", ".join(f"{name} {number(statistics.fmean(float(one[name]) for one in measured), 3)}" for name in names)


def write() -> None:
    table = summarize()
    CSV.parent.mkdir(exist_ok=True)
    with open(CSV, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, HEADER, lineterminator="\n")
        writer.writeheader()
        for row in table:
            writer.writerow({key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()})
    MARKDOWN.write_text(page(table), encoding="utf-8")


def page(table: list[dict]) -> str:
    """docs/gallery.md: the measured commands by family, then the models and presets that were not measured here."""
    from mlrun.config.catalogue import by_family, entries

    lines = [
        "# Gallery",
        "",
        "Measured results of the default run of each model, and of some presets: mean ± standard deviation over seeds (1, 2, 3 if there are three).",
        "*val* is the same metric on the validation split, for the epoch that was tested (empty where there is no validation split, or no metric on it).",
        "*run s* is the time of a whole run, imports and report included, *training s* that of training alone. [Figures](figures.md) shows what the runs draw;",
        "the [course map](course.md) names the papers. Made by `python -m benchmarks.gallery`. As CSV: [gallery.csv](gallery.csv), and every single run in",
        "[gallery_runs.csv](gallery_runs.csv).",
    ]
    packaged = [entry for entry in entries("model") if not entry.own]
    measured = {row["command"] for row in table}
    families: dict[str, list[dict]] = {family: [] for family in by_family(packaged)}
    for row in table:
        families.setdefault(family_of(row["command"]), []).append(row)
    shown = pictures()
    for family, rows in families.items():
        picture = shown.get(family, [])
        if rows or picture:
            lines += ["", f"## {family[0].upper()}{family[1:]}", *picture]
        if rows:
            lines += ["", *HEAD, *map(cells, rows)]
    lines += [
        "",
        "## Other models and presets",
        "",
        "These are not part of this benchmark; the results come from the headers of the YAML files.",
        "",
        "| command | what it is | measured |",
        "|---|---|---|",
    ]
    for group in ("model", "experiment"):
        for entry in entries(group):
            command = f"mlrun {group}={entry.name}"
            if not entry.own and not any(f"{one} ".startswith(f"{command} ") for one in measured):
                text = [part.replace("|", "\\|") for part in (entry.summary, entry.measured)]
                lines.append(f"| `{command}` | {' | '.join(text)} |")
    return "\n".join(lines) + "\n"


HEAD = (
    "| command | dataset | metric | mean ± std | seeds | parameters | val | training s | run s | device | other test metrics |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
)


def pictures() -> dict[str, list[str]]:
    """Family -> lines with the picture of one of its models, where docs/images has one."""
    from benchmarks.pictures import COMMANDS, IMAGES, slug

    found: dict[str, list[str]] = {}
    for command in (command for group in COMMANDS.values() for command in group):
        if (IMAGES / f"{slug(command)}.png").is_file():
            drawn = ["", f"![Figures of mlrun {command}](images/{slug(command)}.png)"]
            found.setdefault(family_of(f"mlrun {command}"), drawn)
    return found


def family_of(command: str) -> str:
    """The family of the model that a command trains."""
    from mlrun.config.catalogue import find

    group, _, name = command.split()[1].partition("=")
    entry = find(group, name)
    if group == "experiment" and entry is not None:
        chosen = [item for item in entry.body.get("defaults") or [] if isinstance(item, dict)]
        models = [value for item in chosen for key, value in item.items() if key.endswith("/model")]
        entry = find("model", models[-1]) if models else None
    return entry.family if entry is not None else "other models"


def cells(row: dict) -> str:
    """The line of a command."""
    from mlrun.report.numbers import number

    spread = f"{number(row['mean'])} ± {number(row['std'], 2)}" if row["std"] != "" else number(row["mean"])
    parameters = f"{int(row['parameters']):,}" if row["parameters"] else ""
    val = number(row["val"]) if row["val"] != "" else ""
    values = (f"`{row['command']}`", row["dataset"], row["metric"], spread, row["seeds"], parameters, val, row["fit_seconds"],
              row["seconds"], row["device"], row["others"])  # fmt: skip
    return "| " + " | ".join(str(value).replace("|", "\\|") for value in values) + " |"


if __name__ == "__main__":
    sys.exit(main())
