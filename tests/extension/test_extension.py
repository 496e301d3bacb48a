"""Four methods as a user would add them, in the working directory: each is a model's YAML and at most two short files, and everything works on it."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mlrun.cli import dispatch
from mlrun.config.compose import compose
from mlrun.experiment.run import run
from mlrun.report import silent
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
MOST_FILES, MOST_LINES = 3, 150


@dataclass(frozen=True)
class Extension:
    """overrides: of a full run. floor: that its test metric reaches. broken: overrides of a run that cannot learn, and misses the floor."""

    overrides: tuple[str, ...]
    metric: str
    floor: float
    broken: tuple[str, ...] = ("optim.lr=1e-9", "trainer.max_epochs=1")
    smaller_is_better: bool = False


EXTENSIONS = {
    "multi_label": Extension(
        ("model=traits", "dataset.path=pets.csv", "dataset.target=[cat,dog,old]", "optim.lr=0.01"), "f1", 0.85
    ),
    "image_and_table": Extension(
        ("model=appraisal", "optim.lr=0.01", "trainer.max_epochs=30"), "rmse", 25.0, smaller_is_better=True
    ),
    "date_span": Extension(("model=date_span",), "exact_match", 0.8),
    "discs": Extension(("model=disc_detector", "optim.lr=0.005"), "f1", 0.7),
}


def write_pets(folder: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["weight,voice,age,cat,dog,old"]
    for _ in range(300):
        cat, dog, age = random.integers(2), random.integers(2), random.integers(1, 16)
        weight = 4 * cat + 15 * dog + random.normal(0, 1)
        voice = ("silent", "barks", "meows", "both")[2 * cat + dog]
        lines.append(f"{weight:.1f},{voice},{age},{cat},{dog},{int(age > 9)}")
    (folder / "pets.csv").write_text("\n".join(lines) + "\n")


def write_houses(folder: Path) -> None:
    """The price depends on how bright the photo is, and on the row."""
    from matplotlib.image import imsave

    random = np.random.default_rng(0)
    lines = ["photo,size,district,price"]
    (folder / "photos").mkdir()
    for row in range(200):
        light, size, district = random.random(), random.uniform(40, 200), random.choice(["north", "south"])
        imsave(folder / "photos" / f"{row}.png", np.full((16, 16), light), cmap="gray", vmin=0, vmax=1)
        price = 200 * light + size + 80 * (district == "north")
        lines.append(f"photos/{row}.png,{size:.1f},{district},{price:.1f}")
    (folder / "houses.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module", params=EXTENSIONS)
def place(request, tmp_path_factory):
    """(name, working directory with the extension's files, one finished run in it)."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    shutil.copytree(HERE / name, folder, dirs_exist_ok=True)
    {"multi_label": write_pets, "image_and_table": write_houses}.get(name, lambda folder: None)(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        result = run(
            compose(list(EXTENSIONS[name].overrides)), folder / "run", list(EXTENSIONS[name].overrides), report=silent
        )
        assert result.status == "FINISHED" and result.recorded
        yield name, folder, result


@pytest.fixture(scope="module")
def broken(place):
    """A run in the same place that has not learned."""
    name, folder, _ = place
    overrides = [*EXTENSIONS[name].overrides, *EXTENSIONS[name].broken]
    return run(compose(overrides), folder / "broken", overrides, report=silent)


def rows_of(name: str, folder: Path) -> list[dict]:
    """Inputs as a user's file holds them."""
    if name in ("multi_label", "image_and_table"):
        file = folder / ("pets.csv" if name == "multi_label" else "houses.csv")
        with open(file, newline="") as lines:
            return [
                {key: float(value) if value.replace(".", "").isdigit() else value for key, value in row.items()}
                for row in list(csv.DictReader(lines))[:20]
            ]
    assert name == "date_span"
    return [
        {"text": "Thank you for your letter of 3 May 1984."},
        {"text": "The meeting on 1999-12-31 is cancelled, call room 512."},
    ]


def test_it_is_a_yaml_and_at_most_two_short_files():
    for name in EXTENSIONS:
        files = [path for path in (HERE / name).rglob("*") if path.suffix in (".py", ".yaml")]
        assert len(files) <= MOST_FILES and sum(path.suffix == ".py" for path in files) == 1
        assert all(len(path.read_text().splitlines()) <= MOST_LINES for path in files)


def test_it_learns_and_a_broken_one_does_not(place, broken):
    name, _, result = place
    extension = EXTENSIONS[name]
    good, bad = (one.metrics[f"test/{extension.metric}"] for one in (result, broken))
    if extension.smaller_is_better:
        assert good < extension.floor < bad
    else:
        assert good > extension.floor > bad
    assert result.monitor == f"val/{extension.metric}"


def test_evaluate_gives_the_numbers_of_the_run(place, capsys):
    name, folder, result = place
    assert dispatch(["evaluate", str(folder / "run")]) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    metric = f"test/{EXTENSIONS[name].metric}"
    assert float(printed[metric]) == pytest.approx(result.metrics[metric], rel=1e-3)


def test_predict_to_csv_and_json_lines(place, tmp_path):
    name, folder, _ = place
    if name == "discs":
        source = folder / "pictures"
        write_pictures(source)
        sources, count = [source], 3
    else:
        rows = rows_of(name, folder)
        sources, count = [folder / "input.csv", folder / "input.jsonl"], len(rows)
        with open(sources[0], "w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        sources[1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    for source in sources:
        for suffix in ("csv", "jsonl"):
            output = tmp_path / f"{source.name}.{suffix}"
            assert dispatch(["predict", str(folder / "run"), str(source), "--output", str(output)]) == 0
            check_predictions(name, output, count)


def write_pictures(folder: Path) -> None:
    import discs
    from PIL import Image

    folder.mkdir(exist_ok=True)
    data = discs.Discs("detection", "discs", 1, rows=3)
    for row, pixels in enumerate(data.content.columns["image"]):
        Image.fromarray(pixels[0]).save(folder / f"{row}.png")


def check_predictions(name: str, output: Path, count: int) -> None:
    if output.suffix == ".jsonl":
        answers = [json.loads(line)["prediction"] for line in output.read_text().splitlines()]
    else:
        with open(output, newline="") as file:
            answers = [row["prediction"] for row in csv.DictReader(file)]
        if name in ("multi_label", "discs"):
            answers = [json.loads(answer) for answer in answers]
    assert len(answers) == count
    if name == "multi_label":
        assert all(set(answer) <= {"cat", "dog", "old"} for answer in answers)
    if name == "image_and_table":
        assert all(0 < float(answer) < 700 for answer in answers)
    if name == "date_span":
        assert answers == ["3 May 1984", "1999-12-31"]
    if name == "discs":
        assert all(one["label"] in ("bright", "dark") and len(one["box"]) == 4 for answer in answers for one in answer)


def test_resume_goes_on_bit_for_bit(place):
    name, folder, _ = place
    overrides = list(EXTENSIONS[name].overrides)
    whole = run(compose([*overrides, "trainer.max_epochs=2"]), folder / "whole", overrides, report=silent)
    run(
        compose([*overrides, "trainer.max_epochs=1"]),
        folder / "part",
        [*overrides, "trainer.max_epochs=1"],
        report=silent,
    )
    assert dispatch(["resume", str(folder / "part"), "trainer.max_epochs=2"]) == 0
    assert json.loads((folder / "part" / "metrics.json").read_text()) == whole.metrics


def test_folds_and_errors(place, broken, capsys):
    name, folder, _ = place
    overrides = [*EXTENSIONS[name].overrides, "trainer=kfold", "trainer.folds=2", "trainer.max_epochs=1"]
    folded = run(compose(overrides), folder / "folds", overrides, report=silent)
    assert f"cv/{EXTENSIONS[name].metric}" in folded.metrics
    with open(folder / "folds" / "out_of_fold.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert sorted(int(row["row"]) for row in table) == list(range(len(table))) and table[0]["predicted"] != ""
    assert dispatch(["errors", str(broken.directory)]) == 0
    assert "most confident mistakes" in capsys.readouterr().out
    with open(broken.directory / "errors" / "mistakes.csv", newline="") as file:
        assert {"row", "true", "predicted"} <= set(next(csv.DictReader(file)))


def test_the_logged_model_answers_the_same(place):
    import mlflow

    from mlrun.data.inputs import as_input
    from mlrun.experiment.stored import open_part, open_run

    _, folder, result = place
    cfg, learner = open_run(str(folder / "run"))
    data, part = open_part(cfg, learner, None)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    served = mlflow.pyfunc.load_model(f"runs:/{result.run_id}/model")
    sample = data.sample(part)
    answers, expected = served.predict(as_input(sample)), learner.predict(sample).answers()
    assert json.dumps(list(answers), default=str) == json.dumps(list(expected), default=str)


def test_a_sweep_ranks_it(place, starter):
    name, folder, _ = place

    def mlrun(*arguments):
        done = starter.run(arguments, folder, {**os.environ, "PYTHONPATH": str(REPOSITORY)}, timeout=300)
        assert done.returncode == 0, done.stderr
        return done

    mlrun("-m", *EXTENSIONS[name].overrides, "trainer.max_epochs=1", "seed=1,2", "hydra.sweep.dir=sweep")
    board = mlrun("leaderboard", "--format", "csv", "--metric", f"test/{EXTENSIONS[name].metric}")
    means = [float(row["mean"]) for row in csv.DictReader(board.stdout.splitlines())]
    assert means == sorted(means, reverse=not EXTENSIONS[name].smaller_is_better) and len(means) >= 2


def test_the_package_does_not_know_them():
    names = ("traits", "appraisal", "date_span", "disc")
    for path in (REPOSITORY / "mlrun").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not any(f"{name}." in text or f'"{name}"' in text for name in names), path
