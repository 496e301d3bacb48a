"""`mlrun clean`: what it removes, and what it keeps."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mlrun.commands import clean
from mlrun.errors import UserError
from mlrun.report.numbers import size
from mlrun.tracking.run_directory import locked, write_record

NAMES = ("best.ckpt", "last.ckpt", "previous.ckpt", "epoch_3.ckpt")


def run_in(directory, status, names=NAMES, **files):
    folder = Path(directory) / "checkpoints"
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(name.encode() * 100)
    write_record(directory, {"status": status, "identity": "1"})
    for name, text in files.items():
        path = Path(directory) / name.replace("__", "/").replace("_yaml", ".yaml").replace("_jsonl", ".jsonl")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def left(directory):
    return sorted(path.name for path in (Path(directory) / "checkpoints").iterdir())


def test_it_keeps_the_best_and_the_last_checkpoint_of_finished_runs(workplace, capsys):
    run_in("outputs/a", "FINISHED")
    run_in("outputs/sweep/0", "FINISHED")
    run_in("outputs/sweep/0/fold_1", "FINISHED")
    Path("outputs/a/checkpoints/epoch_3.ckpt").unlink()
    os.link("outputs/a/checkpoints/best.ckpt", "outputs/a/checkpoints/epoch_3.ckpt")  # frees nothing
    assert clean.run([]) == 0
    expected = size(3 * 1300 + 2 * 1200)
    assert f"{expected} of 3 runs could be removed" in capsys.readouterr().out
    assert left("outputs/a") == sorted(NAMES)  # nothing is removed without --delete
    assert clean.run(["--delete"]) == 0
    assert f"removed {expected} of 3 runs" in capsys.readouterr().out
    for directory in ("outputs/a", "outputs/sweep/0", "outputs/sweep/0/fold_1"):
        assert left(directory) == ["best.ckpt", "last.ckpt"]
    assert Path("outputs/a/checkpoints/best.ckpt").read_bytes() == b"best.ckpt" * 100
    clean.run(["outputs"])
    assert "nothing to remove" in capsys.readouterr().out


@pytest.mark.parametrize("status", ["RUNNING", "FAILED", "KILLED"])
def test_it_keeps_everything_of_runs_that_can_be_resumed(workplace, status):
    run_in("outputs/a", status)
    clean.run(["--delete"])
    assert left("outputs/a") == sorted(NAMES)


def test_it_keeps_what_is_still_needed(workplace):
    run_in("outputs/unsent", "FINISHED", unsent_jsonl="{}\n")
    run_in("outputs/no_last", "FINISHED", names=("previous.ckpt", "best.ckpt"))
    run_in("outputs/source", "FINISHED")
    run_in(
        "outputs/other", "KILLED", config__overrides_yaml="- model.init_from=outputs/source/checkpoints/epoch_3.ckpt\n"
    )
    run_in("outputs/busy", "FINISHED")
    run_in("outputs/damaged", "FINISHED")
    Path("outputs/damaged/run.json").write_text("{")
    run_in("elsewhere", "FINISHED")
    Path("outputs/linked").mkdir()
    Path("outputs/linked/checkpoints").symlink_to(Path("elsewhere/checkpoints").resolve())
    write_record("outputs/linked", {"status": "FINISHED"})
    with locked(Path("outputs/busy")):
        clean.run(["--delete"])
    for directory in ("outputs/unsent", "outputs/busy", "outputs/damaged", "elsewhere"):
        assert left(directory) == sorted(NAMES), directory
    assert left("outputs/no_last") == ["best.ckpt", "previous.ckpt"]
    assert left("outputs/source") == ["best.ckpt", "epoch_3.ckpt", "last.ckpt"]


def test_a_directory_that_does_not_exist(workplace, capsys):
    assert clean.run([]) == 0
    with pytest.raises(UserError, match="no such directory"):
        clean.run(["there"])


def test_a_cleaned_run_trains_on(workplace, begin, resume):
    assert begin("run", "trainer.max_epochs=2").wait() == 0
    assert "previous.ckpt" in left("run")
    assert clean.run(["run", "--delete"]) == 0
    assert left("run") == ["best.ckpt", "last.ckpt"]
    assert resume("run", "trainer.max_epochs=3").wait() == 0
    assert json.loads(Path("run/run.json").read_text())["status"] == "FINISHED"
