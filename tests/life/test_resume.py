"""A run that is killed anywhere and resumed ends as if it had never been interrupted."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import time

import pytest
import torch

from mlrun.data.readers.tensors import load_tensors
from mlrun.estimators.q_learning import QLearning
from mlrun.tasks.supervised import Supervised
from mlrun.training.checkpoints import Checkpoints

pytestmark = pytest.mark.long

MLP = ["trainer.max_epochs=30", "model.network.hidden=[32]", "scheduler=plateau", "scheduler.patience=0"]
DROPOUT = [
    "dataset=wine", "model.network.hidden=[16,16]", "model.network.dropout=0.3", "optim=momentum", "optim.lr=0.02", "scheduler=one_cycle", "scheduler.interval=step",
    "trainer.max_epochs=60", "trainer.gradient_clip_val=1", "dataset.batch_size=16",
]  # fmt: skip
UPDATES = [option for option in DROPOUT if "max_epochs" not in option]  # seven to an epoch
AT_LEAST = [*UPDATES, "trainer.max_epochs=2", "trainer.min_steps=420"]
AT_MOST = [*UPDATES, "trainer.max_epochs=900", "trainer.max_steps=416"]  # ends within an epoch
STOPPED = ["trainer.max_epochs=60", "model.network.hidden=[64]", "trainer.early_stopping_patience=2", "optim.lr=0.02"]

DQN = [
    "model=dqn", "model.network.hidden=[32]", "model.steps_per_epoch=512", "model.steps_per_round=128", "model.target_period=128",
    "model.updates_per_round=16", "model.learning_starts=256", "trainer.max_epochs=12", "dataset.val_episodes=4", "dataset.test_episodes=4",
]  # fmt: skip
DIFFUSION = ["model=diffusion_2d", "dataset.rows=1000", "trainer.max_epochs=6", "model.show_every=2"]
WORDS = [
    "dataset.path=words.txt",
    "dataset.context_length=16",
    "dataset.batch_size=16",
    "trainer.max_epochs=12",
    "model.sample_length=8",
    "model.network.dropout=0.1",
]
GPT = ["model=gpt", "model.network.width=16", "model.network.layers=1", *WORDS]
GRU = ["model=gru_lm", "model.network.hidden=16", "model.network.num_layers=2", *WORDS]


def weights(directory):
    return load_tensors(directory / "model" / "weights.safetensors")


def run_of(directory, seconds=60):
    """The id of its MLflow run, which the recorder may have opened only after the first epochs."""
    end = time.monotonic() + seconds
    while (run := json.loads((directory / "run.json").read_text()).get("run_id")) is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    return run


def points(workplace, directory):
    """Every metric point of a run: (name, step, value), sorted; times of day left out."""
    run_id = run_of(workplace / directory)
    with sqlite3.connect(workplace / "mlflow.db") as database:
        rows = database.execute("select key, step, value from metrics where run_uuid = ?", (run_id,)).fetchall()
        status = database.execute("select status from runs where run_uuid = ?", (run_id,)).fetchone()[0]
    assert status == "FINISHED"
    return sorted(row for row in rows if not row[0].startswith(("wall/", "train/steps_per_second", "predict_ms")))


def same(workplace, one, other):
    first, second = weights(workplace / one), weights(workplace / other)
    assert all(torch.equal(first[name], second[name]) for name in first)
    results = [json.loads((workplace / name / "metrics.json").read_text()) for name in (one, other)]
    for metrics in results:
        metrics.pop("train/steps_per_second", None)
    assert results[0] == results[1]
    assert points(workplace, one) == points(workplace, other)
    kept = [
        torch.load(workplace / name / "checkpoints" / "best.ckpt", weights_only=True)["mlrun"]["best"]
        for name in (one, other)
    ]
    assert kept[0] == kept[1]
    samples = [workplace / name / "figures" / "samples.txt" for name in (one, other)]
    if samples[0].exists():  # what a view keeps across the interruption
        assert samples[0].read_text(encoding="utf-8") == samples[1].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "options",
    [MLP, DROPOUT, AT_LEAST, AT_MOST, STOPPED, DQN, DIFFUSION, GPT, GRU],
    ids=["mlp", "dropout", "min_steps", "max_steps", "stopped", "dqn", "diffusion", "gpt", "gru"],
)
def test_a_killed_run_resumes_as_if_never_interrupted(workplace, begin, resume, options):
    (workplace / "words.txt").write_text(
        " ".join(random.Random(0).choices("the quick brown fox jumps over a lazy dog".split(), k=2000))
    )
    whole = begin("whole", *options)
    whole.wait_for("epoch 1/")
    began = time.monotonic()
    assert whole.wait() == 0, whole.output
    seconds = time.monotonic() - began
    child = begin("killed", *options)
    child.wait_for("epoch 1/")
    time.sleep(random.Random(len(options)).uniform(0.05, 0.6) * seconds)
    child.send(signal.SIGKILL)
    again = resume("killed")
    assert again.wait() == 0, again.output
    same(workplace, "whole", "killed")


def test_a_run_resumes_on_another_machine_from_what_mlflow_has(workplace, begin, resume):
    """Its directory is gone; its id is all that is left."""
    options = [*DROPOUT, "trainer.upload_checkpoints=1"]
    assert begin("whole", *options).wait() == 0
    child = begin("killed", *options)
    child.wait_for("epoch 1/")
    run_id = run_of(workplace / "killed")
    while not list(workplace.glob(f"**/{run_id}/artifacts/checkpoints/last.ckpt")):
        time.sleep(0.01)
    child.send(signal.SIGKILL)
    shutil.rmtree(workplace / "killed")
    again = resume(run_id)
    assert again.wait() == 0, again.output
    assert "is not on this machine: restored to outputs/killed from MLflow" in again.output
    first, second = weights(workplace / "whole"), weights(workplace / "outputs" / "killed")
    assert all(torch.equal(first[name], second[name]) for name in first)
    with sqlite3.connect(workplace / "mlflow.db") as database:
        assert database.execute("select status from runs where run_uuid = ?", (run_id,)).fetchone() == ("FINISHED",)
    shutil.rmtree(workplace / "outputs" / "killed")
    (workplace / "whole").rename(workplace / "moved")
    never = run_of(workplace / "moved")
    for checkpoints in workplace.glob(f"**/{never}/artifacts/checkpoints"):
        shutil.rmtree(checkpoints)
    refused = resume(never)
    assert refused.wait() == 2 and "MLflow has no checkpoint of it" in refused.output, refused.output
    assert not list((workplace / "outputs").iterdir())


def test_a_run_can_resume_from_its_first_file_on(workplace, begin, resume, monkeypatch):
    options = ["trainer.max_epochs=2", "model.network.hidden=[8]"]
    with monkeypatch.context() as patched:
        patched.setattr("mlrun.experiment.run.RunState.begin", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        assert begin("unrecorded", *options).wait() == -signal.SIGKILL
    with monkeypatch.context() as patched:
        patched.setattr("mlrun.experiment.run._open_run", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        assert begin("recorded", *options).wait() == -signal.SIGKILL
    assert begin("whole", *options).wait() == 0
    for directory in ("unrecorded", "recorded"):
        again = resume(directory)
        assert again.wait() == 0, again.output
        same(workplace, "whole", directory)


def test_folds_that_were_finished_are_not_trained_again(workplace, begin, resume, monkeypatch):
    options = [
        "dataset=iris",
        "trainer=kfold",
        "trainer.folds=3",
        "trainer.max_epochs=40",
        "model.network.hidden=[16]",
        "model.network.dropout=0.2",
    ]
    assert begin("whole", *options).wait() == 0
    write = Checkpoints._write

    def write_and_die_in_the_second(checkpoints, trainer):
        write(checkpoints, trainer)
        if "fold_2" in checkpoints.folder.parts:
            os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "_write", write_and_die_in_the_second)
        assert begin("killed", *options).wait() == -signal.SIGKILL
    trained = (workplace / "killed" / "fold_1" / "model" / "weights.safetensors").stat().st_mtime_ns
    assert not (workplace / "killed" / "fold_2" / "model").exists()
    again = resume("killed")
    assert again.wait() == 0, again.output
    assert (workplace / "killed" / "fold_1" / "model" / "weights.safetensors").stat().st_mtime_ns == trained
    for fold in ("fold_1", "fold_2", "fold_3"):
        first, second = weights(workplace / "whole" / fold), weights(workplace / "killed" / fold)
        assert all(torch.equal(first[name], second[name]) for name in first), fold
        assert points(workplace, f"whole/{fold}") == points(workplace, f"killed/{fold}")
    for name in ("metrics.json", "out_of_fold.csv"):
        assert (workplace / "whole" / name).read_text() == (workplace / "killed" / name).read_text()
    with sqlite3.connect(workplace / "mlflow.db") as database:
        assert database.execute("select count(*) from runs").fetchone() == (2 * (1 + 3),)


@pytest.mark.parametrize(
    "number, status, length",
    [
        (signal.SIGTERM, 143, "max_epochs=2"),
        (signal.SIGINT, 130, "max_epochs=2"),
        (signal.SIGTERM, 143, "max_steps=1000"),
    ],
)
def test_a_signal_leaves_a_checkpoint_within_the_epoch(workplace, begin, resume, monkeypatch, number, status, length):
    """The whole run takes two epochs of 540 batches, the second one perhaps not to its end; the rest of the one that was interrupted
    gives the same weights."""
    options = [
        f"trainer.{length}",
        "dataset.batch_size=2",
        "model.network.dropout=0.2",
        "model.network.hidden=[64,64]",
    ]
    assert begin("whole", *options).wait() == 0
    step = Supervised.training_step

    def interrupted_step(task, batch, index):
        if (task.current_epoch, index) == (1, 150):
            os.kill(os.getpid(), number)
        return step(task, batch, index)

    with monkeypatch.context() as patched:
        patched.setattr(Supervised, "training_step", interrupted_step)
        child = begin("stopped", *options)
        assert child.wait() == status
    assert "mlrun resume" in child.output
    kept = torch.load(workplace / "stopped" / "checkpoints" / "last.ckpt", weights_only=True)["mlrun"]
    assert kept["epochs"] == 1
    assert kept["within_epoch"] and 150 <= kept["loaders"][0]["served"] < 540
    assert json.loads((workplace / "stopped" / "run.json").read_text())["status"] == "KILLED"
    again = resume("stopped")
    assert again.wait() == 0, again.output
    same(workplace, "whole", "stopped")


def test_more_epochs_for_a_finished_run(workplace, begin, resume):
    assert begin("whole", "trainer.max_epochs=6").wait() == 0
    assert begin("short", "trainer.max_epochs=3").wait() == 0
    nothing = resume("short")
    assert nothing.wait() == 0 and "nothing to resume" in nothing.output
    more = resume("short", "trainer.max_epochs=6")
    assert more.wait() == 0, more.output
    for file in ("model/weights.safetensors", "metrics.json"):
        assert (workplace / "whole" / file).read_bytes() == (workplace / "short" / file).read_bytes()
    whole, short = (points(workplace, name) for name in ("whole", "short"))
    curves = {
        name for name, step, _ in whole if step == 1
    }  # the others are measured at the end of a run, at its best epoch
    assert [point for point in whole if point[0] in curves] == [point for point in short if point[0] in curves]


def test_what_may_not_change_is_refused_with_a_reason(workplace, begin, resume):
    def refused(directory, *overrides):
        child = resume(directory, *overrides)
        assert child.wait() == 2 and "Traceback" not in child.output
        return child.output

    assert begin("run", "trainer.max_epochs=2").wait() == 0
    said = refused(
        "run", "optim.lr=0.1", "model=lenet", "seed=2", "dataset.batch_size=8", "trainer.max_epochs=0", "nothing=1"
    )
    for text in (
        "optim.lr=0.1: the checkpoint's optimizer state",
        "model=lenet: the checkpoint's weights",
        "seed=2: ",
        "batch_size=8: ",
        "no such key",
    ):
        assert text in said, said
    assert said.count("a resumed run can change only") == 1
    assert "did you mean 'trainer.max_epochs'" in refused("run", "trainer.max_epoch=9")
    assert "2 epochs are done already" in refused("run", "trainer.max_epochs=1")
    assert "must be an integer" in refused("run", "trainer.max_epochs=x")
    assert begin("planned", "trainer.max_epochs=2", "scheduler=cosine").wait() == 0
    assert "was planned for 2 epochs" in refused("planned", "trainer.max_epochs=9")


def test_a_damaged_checkpoint_is_refused_and_the_one_before_offered(workplace, begin, resume):
    assert begin("run", "trainer.max_epochs=3").wait() == 0
    last, best = (workplace / "run" / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt"))
    whole = last.read_bytes()
    best.write_bytes(whole)
    (workplace / "run" / "checkpoints" / "best.ckpt").unlink()
    last.unlink()
    last.write_bytes(whole[: len(whole) // 2])
    refused = resume("run", "trainer.max_epochs=4")
    assert refused.wait() == 2
    assert (
        "last.ckpt is not a whole checkpoint" in refused.output
        and "mlrun resume run/checkpoints/previous.ckpt" in refused.output
    )
    assert resume("run/checkpoints/previous.ckpt", "trainer.max_epochs=4").wait() == 0
    torch.save({"state_dict": {}, "optimizer_states": [], "loops": {}, "mlrun": Stranger()}, last)
    refused = resume("run", "trainer.max_epochs=5")
    assert refused.wait() == 2 and "trust=true" in refused.output


class Stranger:
    def __reduce__(self):
        return os.system, ("echo run by a checkpoint",)


def test_tables_and_estimators_resume_too(workplace, begin, resume, monkeypatch):
    table = ["model=q_learning", "model.controller.epochs=8", "model.controller.steps_per_epoch=20000"]
    assert begin("whole", *table).wait() == 0
    learn_epoch, epochs = QLearning.learn_epoch, iter(range(8))

    def learn_three_epochs(controller):
        return os.kill(os.getpid(), signal.SIGKILL) if next(epochs) == 3 else learn_epoch(controller)

    with monkeypatch.context() as patched:
        patched.setattr(QLearning, "learn_epoch", learn_three_epochs)
        assert begin("killed", *table).wait() == -signal.SIGKILL
    again = resume("killed")
    assert again.wait() == 0 and "resuming from killed/checkpoints/last.json" in again.output
    for file in ("model/q_table.json", "metrics.json"):
        assert (workplace / "whole" / file).read_text() == (workplace / "killed" / file).read_text()
    assert points(workplace, "whole") == points(workplace, "killed")

    forest = begin("forest", "model=random_forest")
    forest.wait_for("dataset")
    forest.send(signal.SIGKILL)
    again = resume("forest")
    assert again.wait() == 0, again.output
    assert begin("other", "model=random_forest").wait() == 0
    assert (workplace / "forest" / "metrics.json").read_text() == (workplace / "other" / "metrics.json").read_text()
    assert points(workplace, "forest") == points(workplace, "other")


def test_auto_resumes_an_unfinished_run(mlrun, workplace):
    first = mlrun("model=naive_bayes", "resume=auto")
    assert first.returncode == 0, first.stderr
    (directory,) = (workplace / "outputs").iterdir()
    record = json.loads((directory / "run.json").read_text())
    (directory / "run.json").write_text(
        json.dumps({**record, "status": "RUNNING"})
    )  # as a process that was killed leaves it
    other = mlrun("model=naive_bayes", "resume=auto", "seed=2")
    assert other.returncode == 0 and len(list((workplace / "outputs").iterdir())) == 2
    again = mlrun("model=naive_bayes", "resume=auto")
    assert again.returncode == 0 and record["run_id"] in again.stdout
    assert len(list((workplace / "outputs").iterdir())) == 2
    assert mlrun("model=naive_bayes", "resume=auto").returncode == 0
    assert len(list((workplace / "outputs").iterdir())) == 3  # finished: there is nothing to resume
    by_id = mlrun("resume", record["run_id"])
    assert by_id.returncode == 0 and "finished" in by_id.stdout


def test_two_processes_cannot_resume_one_run(workplace, begin, resume, monkeypatch):
    """The second is refused at once while the first works; one that comes too late does not train again."""
    from mlrun.experiment.resuming import find, resume_run

    assert begin("run", "trainer.max_epochs=2", "model.network.hidden=[8]").wait() == 0
    step = Supervised.training_step

    def killed(task, batch, index):
        return os.kill(os.getpid(), signal.SIGKILL) if task.current_epoch == 3 else step(task, batch, index)

    def held(task, batch, index):
        if task.current_epoch == 3:
            (workplace / "holding").touch()
            while not (workplace / "go").exists():
                time.sleep(0.01)
        return step(task, batch, index)

    with monkeypatch.context() as patched:
        patched.setattr(Supervised, "training_step", killed)
        assert resume("run", "trainer.max_epochs=4").wait() == -signal.SIGKILL
    as_found_before = find(str(workplace / "run"))
    with monkeypatch.context() as patched:
        patched.setattr(Supervised, "training_step", held)
        first = resume("run")
    while not (workplace / "holding").exists():
        time.sleep(0.01)
    began = time.monotonic()
    second = resume("run/checkpoints/last.ckpt")
    assert second.wait() == 2 and "still active in another process" in second.output
    assert time.monotonic() - began < 15
    (workplace / "go").touch()
    assert first.wait() == 0, first.output
    assert resume_run(as_found_before, []) == 0
    assert (workplace / "run" / "mlrun.log").read_text().count("epoch 4: ") == 1
