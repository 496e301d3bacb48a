"""`mlrun show`, `list`, `--help`, suggestions and completion: what tells a user which choices there are."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time

import pytest

from mlrun.cli import dispatch
from mlrun.commands import list as list_command
from mlrun.commands import verbs
from mlrun.config import catalogue
from mlrun.config.completion import completions
from mlrun.config.explain import explain
from mlrun.errors import UserError
from tests.conftest import REPOSITORY


def said(capsys, *arguments):
    assert dispatch(list(arguments)) == 0
    return capsys.readouterr().out


def test_show_has_the_yaml_its_settings_and_its_source(workplace, capsys):
    text = said(capsys, "show", "model=transformer")
    assert "positions: sinusoidal           # learned | none" in text  # as written, with comments
    assert "model.network.width" in text and "an integer" in text
    assert "model.network.dropout" in text and "a number in [0, 1)" in text  # a range
    for fact in ("default dataset dates", "source          Vaswani", "measured        Default run: dates"):
        assert fact in text
    assert "model.init_from" not in text and "model.network._target_" not in text
    everything = said(capsys, "show", "model=transformer", "--all")
    assert "model.init_from" in everything and "model.network._target_" in everything
    assert "+optim.foreach" in said(capsys, "show", "optim=adam", "--all")


def test_show_names_what_is_inherited(workplace, capsys):
    text = said(capsys, "show", "model=seq2seq")
    own, _, inherited = text.partition("Inherited")
    assert "model.network.attention" in own and "model.network.cell" in inherited and "one of" in inherited


@pytest.mark.parametrize(
    "choice, message",
    [
        ("model=rf", "did you mean 'random_forest'?"),
        ("modle=rf", "there is no group 'modle' — did you mean 'model'?"),
        ("nothing", "write GROUP=NAME"),
    ],
)
def test_show_of_a_choice_that_is_not_there(workplace, choice, message):
    with pytest.raises(UserError, match="(?s)" + message.replace("?", r"\?")):
        dispatch(["show", choice])


def test_help_among_overrides_shows_the_choices(workplace, capsys):
    text = said(capsys, "model=svm", "--help")
    assert "Support vector machine" in text and "model.classifier.C" in text and "> 0" in text
    overview = said(capsys, "--help")
    assert all(f"\n  {verb} " in overview for verb in verbs())


@pytest.mark.parametrize("width", [60, 80, 120])
def test_list_fits_the_terminal_and_divides_no_name(workplace, capsys, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    for arguments in ([], ["model"], ["dataset"], ["optim"]):
        assert list_command.run(arguments) == 0
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= max(width, 100 if width > 100 else width), arguments
        names = {entry.name for entry in catalogue.entries(arguments[0] if arguments else "model")}
        assert names <= set(text.replace(",", " ").split()), arguments


def test_models_are_grouped_in_teaching_order(workplace, capsys):
    text = said(capsys, "list", "model")
    places = [
        text.index(f"\n{family}\n") for family in ("linear models", "trees and ensembles", "reinforcement learning")
    ]
    assert places == sorted(places)
    assert all(entry.family in (*catalogue.FAMILIES, catalogue.OTHER) for entry in catalogue.entries("model"))


def test_models_for_a_file(workplace, capsys):
    (workplace / "prices.csv").write_text("rooms;price\n" + "".join(f"{n};{1000 + n},5\n" for n in range(60)))
    text = said(capsys, "list", "--fits", "prices.csv")
    names = {line.split()[0] for line in text.splitlines() if line.startswith("  ") and line.split()}
    assert "prices.csv: regression" in text and "decimal" in text
    assert {"ridge", "random_forest", "mlp"} <= names and not {"svm", "lenet", "gpt", "dqn", "naive_bayes"} & names
    with pytest.raises(UserError, match="prices.cvs"):
        dispatch(["list", "--fits", "prices.cvs"])


@pytest.mark.parametrize(
    "override, suggestion",
    [
        ("model=rf", "random_forest"),
        ("model=xgboost", "gradient_boosting"),
        ("model=nb", "naive_bayes"),
        ("model=logreg", "logistic_regression"),
        ("lr=0.1", "optim.lr"),
        ("epochs=5", "trainer.max_epochs"),
        ("batch_size=8", "dataset.batch_size"),
        ("hidden=[8]", "model.network.hidden"),
        ("optimizer=adam", "optim"),
    ],
)
def test_other_names_are_understood(workplace, override, suggestion):
    (line,) = explain([override])
    assert f"did you mean '{suggestion}'?" in line


def test_completion_of_commands_choices_and_keys(workplace):
    commands = verbs()
    assert {"predict", "model=", "optim="} <= set(completions([""], commands))
    assert completions(["pred"], commands) == ["predict"]
    assert {"model=mlp", "model=lenet"} <= set(completions(["model="], commands))
    assert "model=mlp,lenet" in completions(["-m", "model=mlp,le"], commands)
    assert completions(["model=svm", "model.cl"], commands) == ["model.class_weight=", "model.classifier."]
    assert "model.classifier.C=" in completions(["model=svm", "model.classifier."], commands)
    assert "optim" in completions(["list", "op"], commands)
    assert completions(["predict", "outp"], commands) == []  # files: the shell's own


def test_bash_completes(workplace):
    script = 'eval "$(mlrun completion bash)"; COMP_LINE="$1"; COMP_POINT=${#1}; _mlrun; echo "${COMPREPLY[*]}"'
    (workplace / "mlrun").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mlrun "$@"\n')
    (workplace / "mlrun").chmod(0o755)
    environment = {**os.environ, "PATH": f"{workplace}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}

    def completed(line):
        done = subprocess.run(["bash", "-c", script, "bash", line], capture_output=True, text=True, env=environment)
        return done.stdout.split()

    assert completed("mlrun leader") == ["leaderboard"]
    assert completed("mlrun model=random_f") == ["random_forest"]


def test_a_start_shows_something_at_once(workplace):
    """On a terminal only, where the line is removed again."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "mlrun", "model=naive_bayes"]
    process = subprocess.Popen(
        command, cwd=workplace, stdout=follower, stderr=follower, env=environment, close_fds=True
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 4096):
            shown += chunk
    except OSError:  # Linux reports the closed terminal so
        pass
    os.close(leader)
    assert process.wait() == 0
    text = shown.decode()
    assert (
        text.index("reading the configuration")
        < text.index("importing scikit-learn")
        < text.index("naive_bayes on iris")
    )
    after = text[text.index("importing scikit-learn") :]
    assert after.index("\x1b[2K") < after.index("iris")  # removed


def test_looking_is_quick(workplace):
    """Measured in CPU time, which a busy machine does not stretch. The target is half a second; importing torch alone takes more than two."""
    for arguments in (
        ["show", "model=svm"],
        ["list", "model"],
        ["--help"],
        ["model=rf"],
        ["completion", "--line", "mlrun mo"],
    ):
        before = time.process_time(), os.times()
        subprocess.run([sys.executable, "-m", "mlrun", *arguments], cwd=workplace, capture_output=True)
        used = (
            os.times().children_user + os.times().children_system - before[1].children_user - before[1].children_system
        )
        assert used < 2, arguments
