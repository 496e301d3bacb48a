"""Wrong command lines, as a user types them: exit status 2, one message that says what to do, nothing left behind."""

from __future__ import annotations

import sys

import pytest

from mlrun.cli import main

BAD = [
    # choices and groups
    ("model=transfomer", "model=transfomer: there is no model of that name"),
    ("model=mpl", "did you mean 'mlp'?"),
    ("dataset=digit", "did you mean 'digits'?"),
    ("optim=admm", "did you mean 'adam'?"),
    ("scheduler=cosin", "did you mean 'cosine'?"),
    ("trainer=defualt", "did you mean 'default'?"),
    ("experiment=nothing_such", "experiment=nothing_such"),
    ("modle=mlp", "did you mean 'model'?"),
    ("model=", "which model?"),
    ("model=3", "there is no model of that name"),
    ("model=mlp,linear", "add -m to run each"),
    ("+model=mlp", "write model=mlp"),
    ("model=mlp model=lenet", "model=lenet: model is already chosen (model=mlp)"),
    ("-m seed=range(1,1)", "seed=range(1,1): there is no value after the '='"),
    # keys
    ("optim.lrr=1", "torch.optim.Adam does not accept 'lrr' — did you mean 'optim.lr'?"),
    ("+optim.lrr=1", "torch.optim.Adam does not accept 'lrr' — did you mean 'lr'?"),
    ("optm.lr=1", "did you mean 'optim.lr'?"),
    ("trainer.max_epoch=3", "did you mean 'trainer.max_epochs'?"),
    ("trainer.epochs=3", "trainer.epochs: there is no such key"),
    ("model.network.hiden=[3]", "did you mean 'model.network.hidden'?"),
    ("sede=1", "did you mean 'seed'?"),
    ("+colour=red", "colour: there is no such key"),
    ("~optim.lrr", "there is no optim.lrr to delete"),
    ("+optim.lr=1", "write optim.lr=1"),
    # syntax
    ("model=[", "a bracket or a quote is not closed"),
    ("optim.lr='1", "cannot be read"),
    ("=3", "no key before the '='"),
    ("trian", "unknown command 'trian'"),
    ("list modle", "did you mean 'model'?"),
    # types
    ("optim.lr=fast", "optim.lr=fast: must be a number"),
    ("optim.lr=[1,2]", "optim.lr=[1, 2]: must be a number"),
    ("seed=one", "seed=one: must be an integer"),
    ("optim.betas=0.9", "must be a list of length 2"),
    ("model.network.hidden=wide", "must be a list"),
    ("trainer.precision=12", "trainer.precision=12: must be one of"),
    ("trainer.accelerator=gpuu", "did you mean 'gpu'?"),
    ("model.network.activation=rleu", "did you mean 'relu'?"),
    ("model=random_forest model.classifier.criterion=ginni", "did you mean 'gini'?"),
    ("optim._target_=torch.optim.Adamm", "did you mean 'Adam'?"),
    # ranges
    ("optim.lr=-0.1", "must be a number > 0"),
    ("optim=momentum optim.momentum=1.5", "must be a number in [0, 1)"),
    ("trainer.max_epochs=0", "must be an integer >= 1"),
    ("trainer.max_epochs=-1", "must be an integer >= 1"),
    ("dataset.batch_size=0", "must be an integer >= 1"),
    ("dataset.split.train=0.9", "must sum to 1"),
    ("model.network.dropout=1", "must be a number in [0, 1)"),
    ("model=random_forest model.classifier.n_estimators=0", "must be an integer >= 1"),
    ("seed=-1", "must be an integer in [0, 4294967295]"),
    ("model=dqn model.discount=2", "model.discount=2: must be a number in [0, 1]"),
    ("tracking.experiment=", "must be text of 1 to 250 characters"),
    ("-m seed=1,2 hydra.launcher.slots=0", "hydra.launcher.slots=0: must be an integer >= 1 or auto"),
    ("-m seed=1,2 hydra.launcher.threads=x", "hydra.launcher.threads=x: must be an integer >= 1 or auto"),
    ("-m seed=1,2 hydra.launcher.jobs_per_gpu=0", "hydra.launcher.jobs_per_gpu=0: must be an integer >= 1"),
    ("-m seed=1,2 hydra.launcher.timeout=-1", "hydra.launcher.timeout=-1: must be a number > 0 or null"),
    (
        "-m hydra/sweeper=optuna seed=1,2 hydra.sweeper.n_trials=-1",
        "hydra.sweeper.n_trials=-1: must be an integer >= 1",
    ),
    # model and dataset
    ("model=lasso dataset=iris", "lasso is for regression, and iris is a classification dataset"),
    ("model=logistic_regression dataset=diabetes", "Datasets that fit: breast_cancer"),
    ("dataset=digit_scenes_one", "digit_scenes_one is a localization dataset. Models that fit: localization"),
    ("dataset=oracle_sequences", "oracle_sequences is an oracle_generation dataset. Models that fit: seqgan"),
    # places
    (f"hydra.run.dir={'long' * 100}", "cannot write here"),
    ("hydra.run.dir=/proc/nowhere/run", "cannot write here"),
    # several at once, in a sweep, elsewhere
    ("model=mpl optim.lr=fast trainer.max_epoch=3 seed=-1", "there are problems"),
    ("-m model=mlp,lenett optim.lr=0.1,-1", "model=lenett"),
    ("--config-dir nowhere", "there is no such directory"),
    ("--config-name nowhere", "nowhere"),
]


@pytest.mark.parametrize("line, message", BAD)
def test_bad_command_line(workplace, monkeypatch, capsys, line, message):
    monkeypatch.setattr(sys, "path", sys.path[:])
    with pytest.raises(SystemExit) as end:
        main(line.split(" "))
    said = capsys.readouterr()
    assert end.value.code == 2, said.err
    assert message in said.err
    assert "Traceback" not in said.err and "Warning" not in said.err and said.out == ""
    assert said.err.count("mlrun: ") == 1 and said.err.startswith("mlrun: ")
    assert list(workplace.iterdir()) == []
