"""What goes wrong in training, and what must be left of it."""

from __future__ import annotations

import json
import pickle
import resource
import shutil

import pytest
import torch

from mlrun.errors import UserError
from tests.life.conftest import Child
from tests.life.test_resume import weights


def test_a_loss_that_is_no_number_ends_the_run_and_the_last_good_checkpoint_stays(workplace, begin):
    """One step too long, at the fourth epoch, and the loss is infinite."""
    jump = [
        "scheduler=manual",
        "scheduler.milestones=[3]",
        "scheduler.values=[1e30]",
        "optim=sgd",
        "optim.lr=0.01",
        "trainer.max_epochs=6",
    ]
    child = begin("run", "dataset=diabetes", "model=linear", *jump)
    assert child.wait() == 2 and "Traceback" not in child.output
    for text in (
        "training diverged: the loss is",
        "of epoch 4",
        "optim.lr (it is 0.01)",
        "trainer.gradient_clip_val=1",
        "model.init_from=",
    ):
        assert text in child.output, child.output
    assert json.loads((workplace / "run" / "run.json").read_text())["status"] == "FAILED"
    kept = torch.load(workplace / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["mlrun"]["epochs"] == 3 and all(value.isfinite().all() for value in kept["state_dict"].values())


def test_a_full_disk_leaves_the_checkpoint_before(workplace, begin):
    """Files of this process may not grow beyond 4 MB, and the next checkpoint would be larger."""
    from mlrun.experiment.resuming import find, resume_run

    options = ["model.network.hidden=[900,600]", "trainer.max_epochs=1"]
    assert begin("run", *options).wait() == 0
    last = workplace / "run" / "checkpoints" / "last.ckpt"
    before = last.read_bytes()
    assert len(before) > 5_000_000

    log = workplace / "run" / "mlrun.log"
    for room in (4_000_000, 40_000):  # the second is less than MLflow's database and the run's log have already
        log.write_text("a line of an earlier start\n" * (2_000 if room == 40_000 else 1))

        def without_room():
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            return resume_run(find("run"), ["trainer.max_epochs=2"])

        child = Child(without_room, workplace / f"full_{room}.log")
        assert child.wait() == 2, child.output
        assert "could not be written" in child.output and "is intact" in child.output
        assert "Traceback" not in child.output
        assert last.read_bytes() == before
        assert not list(last.parent.glob("*.new"))


GREEDY = '''
import torch
from mlrun.networks.mlp import MLP

class Greedy(MLP):
    """A network for whose batches of more than 16 rows there is no memory."""
    def forward(self, x):
        if self.training and len(x) > 16:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 2.00 GiB")
        return super().forward(x)
'''


def test_out_of_memory_is_one_line_and_smaller_batches_give_the_same(workplace, begin, monkeypatch):
    (workplace / "greedy.py").write_text(GREEDY)
    monkeypatch.syspath_prepend(str(workplace))
    options = [
        "trainer.max_epochs=2",
        "dataset.split.train=1024",
        "dataset.split.val=300",
        "dataset.split.test=300",
        "optim=sgd",
        "optim.lr=0.1",
        "dataset.batch_size=64",
    ]
    greedy = [*options, "model.network._target_=greedy.Greedy"]
    child = begin("refused", *greedy)
    assert child.wait() == 2 and "Traceback" not in child.output
    assert (
        "out of memory on GPU 0 in epoch 1: 2.50 GiB" in child.output
        and "batches of 64" in child.output
        and "trainer.auto_batch=true" in child.output
    )
    child = begin("halved", *greedy, "trainer.auto_batch=true")
    assert child.wait() == 0, child.output
    assert "batches of 16, 4 of them accumulated per update" in child.output
    assert begin("whole", *options).wait() == 0
    for name, value in weights(workplace / "whole").items():
        torch.testing.assert_close(weights(workplace / "halved")[name], value, atol=1e-4, rtol=1e-3)


class Stranger:
    def __reduce__(self):
        return print, ("run by a file",)


def test_files_that_run_code_are_refused_unless_trusted(workplace, begin, capfd, monkeypatch):
    from mlrun.commands import RunParser
    from mlrun.experiment.stored import open_run
    from mlrun.predictions.learner import load_learner

    assert begin("forest", "model=decision_tree").wait() == 0
    load_learner(workplace / "forest" / "model")  # one's own
    shutil.copytree(workplace / "forest", workplace / "other")
    with open(workplace / "other" / "model" / "estimator.pkl", "wb") as file:
        pickle.dump(Stranger(), file)
    with pytest.raises(UserError, match="trust=true"):
        load_learner(workplace / "other" / "model")
    assert "run by a file" not in capfd.readouterr().out
    with pytest.raises(UserError, match="holds a NoneType, not a fitted scikit-learn pipeline"):
        load_learner(workplace / "other" / "model", trust=True)
    assert "run by a file" in capfd.readouterr().out
    monkeypatch.setenv("XDG_DATA_HOME", str(workplace / "somebody"))  # another user, another key
    with pytest.raises(UserError, match="trust=true"):
        open_run(str(workplace / "forest"))
    arguments = RunParser("evaluate", "").parse_args([str(workplace / "forest"), "trust=true"])
    open_run(arguments.run, arguments.trust)

    torch.save({"network.x": Stranger()}, "stranger.pt")
    refused = begin("start", "trainer.max_epochs=1", "model.init_from=stranger.pt")
    assert refused.wait() == 2 and "trust=true" in refused.output and "run by a file" not in refused.output
    (workplace / "words.pt").write_text("root:x:0:0:root:/root:/bin/bash\n")
    refused = begin("text", "trainer.max_epochs=1", "model.init_from=words.pt")
    assert refused.wait() == 2 and "not a whole checkpoint" in refused.output and "Traceback" not in refused.output
    (workplace / "half.pt").write_bytes(b"PK\x03\x04 half of a file")
    refused = begin("half", "trainer.max_epochs=1", "model.init_from=half.pt")
    assert refused.wait() == 2 and "not a whole checkpoint" in refused.output and "Traceback" not in refused.output
