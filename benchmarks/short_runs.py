"""A short run of every model YAML and of some other combinations: metrics that a refactoring must not change.

    python -m benchmarks.short_runs                  compares with `short_runs.json`; exit status 1 where they differ
    python -m benchmarks.short_runs --write          stores what this version gives
    python -m benchmarks.short_runs mlp gpt          these cases only

The numbers hold on the machine and the versions of the packages that `short_runs.json` names; elsewhere write them first.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
STORED = Path(__file__).with_suffix(".json")
PACKAGES = ("torch", "lightning", "scikit-learn", "numpy")
ALWAYS = ("seed=1", "trainer.max_epochs=2", "trainer.threads=1", "hydra.run.dir=run")
TIMES = ("steps_per_second", "wall/")  # metrics that no two runs share
OTHER = {  # combinations that no default shows
    "mlp diabetes": "model=mlp dataset=diabetes optim.weight_decay=0.1 trainer.l1=1e-4",
    "mlp csv": "model=mlp dataset=csv dataset.path=people.csv dataset.target=label",
    "mlp csv value": "model=mlp dataset=csv dataset.path=people.csv dataset.target=income",
    "mlp kfold": "model=mlp dataset=wine trainer=kfold trainer.folds=3 trainer.max_epochs=2",
    "text_bag language_id": "model=text_bag dataset=language_id",
    "forest csv": "model=random_forest dataset=csv dataset.path=people.csv dataset.target=label",
    "forest csv value": "model=random_forest dataset=csv dataset.path=people.csv dataset.target=income",
    "forest diabetes": "model=random_forest dataset=diabetes",
    "forest kfold": "model=random_forest dataset=iris trainer=kfold trainer.folds=5",
    "svm digits": "model=svm dataset=digits",
    "naive_bayes texts": "model=multinomial_nb dataset=rt_polarity",
    "text_cnn rt_polarity": "model=text_cnn dataset=rt_polarity",
    "cnn strong": "model=cnn augment=strong",
    "cnn mixup": "model=cnn augment=mixup optim=sgd optim.lr=0.1 scheduler=cosine trainer.gradient_clip_val=1",
    "lenet folder": "model=lenet dataset=image_folder dataset.path=images",
    "lenet split": "model=lenet dataset.split.train=0.5 dataset.split.val=0.2 dataset.split.test=0.3 dataset.split.stratify=false",
    "resnet frozen": "model=resnet model.freeze=first_2 model.unfreeze_every=1",
    "mlp lr_scale": "model=mlp model.lr_scale={head:10}",
    "lstm words": "model=lstm_lm dataset.tokenizer.kind=words",
    "gpt bpe": "model=gpt dataset.tokenizer.kind=bpe dataset.tokenizer.size=500",
    "transformer reverse": "model=transformer dataset=reverse",
    "transformer beam": "model=transformer model.beam_width=3 dataset.rows=3000",
    "transformer one vocabulary": "model=transformer model.network.shared=true dataset.target_tokenizer=null dataset.rows=3000",
    "seq2seq arithmetic": "model=seq2seq_attention dataset=arithmetic",
    "diffusion ring": "model=diffusion_2d dataset=ring",
    "dqn acrobot": "model=dqn dataset=acrobot model.steps_per_epoch=1000",
    "taxi": "model=q_learning dataset=taxi model.controller.epochs=2",
}  # fmt: skip


def cases() -> dict[str, str]:
    """Name -> overrides, as a user types them."""
    models = {path.stem: f"model={path.stem}" for path in sorted((ROOT / "conf/model").glob("*.yaml"))}
    return {**models, **OTHER}


def write_data(directory: Path) -> None:
    """A table with missing values, categories and booleans, and a folder of pictures by class."""
    import numpy as np
    from matplotlib.image import imsave
    from sklearn.datasets import load_digits

    random = np.random.default_rng(0)
    rows = ["age,city,member,height,income,label"]
    for _ in range(300):
        age, city, height = (
            random.integers(18, 90),
            random.choice(["Bonn", "Köln", "Ulm, Donau"]),
            random.normal(170, 9),
        )
        income = 20 * age + 500 * (city == "Bonn") + random.normal(0, 90)
        label = "high" if income + random.normal(0, 100) > 1100 else "low"
        quoted = f'"{city}"' if "," in city else city
        rows.append(
            f"{age if random.random() > 0.1 else ''},{quoted},{random.integers(2)},{height:.1f},{income:.2f},{label}"
        )
    (directory / "people.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    digits = load_digits()
    for index in range(200):
        folder = directory / "images" / str(digits.target[index])
        folder.mkdir(parents=True, exist_ok=True)
        imsave(folder / f"{index}.png", np.kron(digits.images[index], np.ones((2, 2))), cmap="gray", vmin=0, vmax=16)


def measure(name: str, overrides: str, data: Path) -> dict[str, float | None]:
    """The metrics of one run in a directory of its own. Raises RuntimeError with its output where it fails."""
    with tempfile.TemporaryDirectory() as directory:
        for path in data.iterdir():
            (Path(directory) / path.name).symlink_to(path)
        environment = {**os.environ, "MLFLOW_TRACKING_URI": "", "MLRUN_DATA_DIR": str(ROOT.parent / "shared" / "data")}
        environment.pop("MLFLOW_TRACKING_URI")
        command = [sys.executable, "-m", "mlrun", *ALWAYS, *overrides.split(" ")]
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
        metrics = Path(directory) / "run" / "metrics.json"
        if not metrics.is_file():
            raise RuntimeError(f"{name}: exit status {done.returncode}\n{done.stderr[-2000:]}")
        found = json.loads(metrics.read_text(encoding="utf-8"))
        return {key: value for key, value in found.items() if not any(time in key for time in TIMES)}


def differences(stored: dict[str, float | None], found: dict[str, float | None]) -> list[str]:
    """What differs, in words."""
    lines = [f"{key} is gone" for key in sorted(stored.keys() - found.keys())]
    lines += [f"{key} is new" for key in sorted(found.keys() - stored.keys())]
    for key in sorted(stored.keys() & found.keys()):
        old, new = stored[key], found[key]
        if old != new and (old is None or new is None or not math.isclose(old, new, rel_tol=1e-6, abs_tol=1e-9)):
            lines.append(f"{key} was {old}, is {new}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="cases; all if none is given")
    parser.add_argument("--write", action="store_true", help="store the numbers instead of comparing them")
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time")
    arguments = parser.parse_args()
    chosen = {name: line for name, line in cases().items() if not arguments.names or name in arguments.names}
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else {"cases": {}}
    failed = 0
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(arguments.jobs) as pool:
        write_data(Path(directory))
        futures = {name: pool.submit(measure, name, line, Path(directory)) for name, line in chosen.items()}
        for name, future in futures.items():
            try:
                found = future.result()
            except RuntimeError as error:
                print(error, flush=True)
                failed += 1
                continue
            if arguments.write:
                stored["cases"][name] = {"command": " ".join(["mlrun", *ALWAYS, chosen[name]]), "metrics": found}
                continue
            lines = differences(stored["cases"].get(name, {}).get("metrics", {}), found)
            failed += bool(lines)
            print(f"{name}: {'equal' if not lines else '; '.join(lines)}", flush=True)
    if arguments.write:
        stored["machine"] = f"{platform.machine()}, Python {platform.python_version()}"
        stored["packages"] = {package: version(package) for package in PACKAGES}
        STORED.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(chosen) - failed} of {len(chosen)} {'measured' if arguments.write else 'equal'}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
