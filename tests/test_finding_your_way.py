"""`mlrun show`, `list`, `--help`, suggestions and completion: what tells a user which choices there are."""

from __future__ import annotations

import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

from mlrun.cli import dispatch
from mlrun.commands import list as list_command
from mlrun.commands import named_run, verbs
from mlrun.commands.completion import options
from mlrun.config import catalogue
from mlrun.config.completion import completions
from mlrun.config.explain import explain
from mlrun.errors import UserError
from mlrun.tracking.run_directory import RECORD, locked, write_record
from tests.conftest import REPOSITORY


def said(capsys, *arguments):
    assert dispatch(list(arguments)) == 0
    return capsys.readouterr().out


def test_show_has_the_yaml_its_settings_and_its_source(workplace, capsys):
    text = said(capsys, "show", "model=transformer")
    assert "positions: sinusoidal           # learned | none" in text  # as written, with comments
    assert "model.network.width" in text and "an integer" in text
    assert "model.network.dropout" in text and "a number in [0, 1)" in text  # a range
    for fact in ("default dataset dates", "source          Vaswani", "measured        dates"):
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


def test_models_for_a_file(workplace, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    (workplace / "prices.csv").write_text("rooms;price\n" + "".join(f"{n};{1000 + n},5\n" for n in range(60)))
    text = said(capsys, "list", "--fits", "prices.csv")
    names = {line.split()[0] for line in text.splitlines() if line.startswith("  ") and line.split()}
    assert "prices.csv: regression" in text and "decimal" in text
    assert max(map(len, text.partition("\nTo train one:")[0].splitlines())) <= 60
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
    def completed(*words):
        return completions(words, verbs(), options)

    assert {"predict", "model=", "optim="} <= set(completed(""))
    assert completed("pred") == ["predict"]
    assert {"model=mlp", "model=lenet"} <= set(completed("model="))
    assert "model=mlp,lenet" in completed("-m", "model=mlp,le")
    assert completed("model=svm", "model.cl") == ["model.class_weight=", "model.classifier."]
    assert "model.classifier.C=" in completed("model=svm", "model.classifier.")
    assert "optim" in completed("list", "op")
    assert completed("predict", "outp") == []  # files: the shell's own
    assert completed("--c") == ["--cfg", "--config-dir"]
    assert completed("predict", "RUN", "--o") == ["--output"]
    assert completed("leaderboard", "--") == ["--by", "--curves", "--figure", "--format", "--help", "--metric"]


@pytest.fixture
def shells(workplace):
    """Environment of a shell in which `mlrun` is this code."""
    (workplace / "mlrun").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mlrun "$@"\n')
    (workplace / "mlrun").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{workplace}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "HOME": str(workplace),
    }


def test_bash_completes(shells):
    script = 'eval "$(mlrun completion bash)"; COMP_LINE="$1"; COMP_POINT=${#1}; _mlrun; echo "${COMPREPLY[*]}"'

    def completed(line):
        done = subprocess.run(["bash", "-c", script, "bash", line], capture_output=True, text=True, env=shells)
        return done.stdout.split()

    assert completed("mlrun leader") == ["leaderboard"]
    assert completed("mlrun model=random_f") == ["random_forest"]
    assert completed("mlrun --multi") == ["--multirun"]


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes(shells):
    lines = ("mlrun leader", "mlrun model=random_f", "mlrun predict RUN --outp")
    script = "mlrun completion fish | source; " + "; ".join(f"complete -C '{line}'" for line in lines)
    done = subprocess.run(["fish", "-c", script], capture_output=True, text=True, env=shells)
    assert done.stdout.split() == ["leaderboard", "model=random_forest", "--output"]


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_completes(shells, workplace):
    """In an interactive shell on a terminal: the words that Tab makes of the beginnings of words."""
    leader, follower = pty.openpty()
    shell = subprocess.Popen(
        ["zsh", "-f", "-i"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**shells, "TERM": "dumb"},
        start_new_session=True,
    )
    try:
        lines = ("leader", "model=random_f", "show model=trip", "predict RUN --outp", "model=svm model.classifier.ker")
        os.write(leader, b'eval "$(mlrun completion zsh)"; setopt no_list_beep\n')
        for place, line in enumerate(lines):
            # the command only writes the words down
            os.write(
                leader,
                f"function mlrun_{place} {{ print -r -- $@ > {workplace}/{place} }}; compdef _mlrun mlrun_{place}\n".encode(),
            )
            os.write(leader, f"mlrun_{place} {line}\t\n".encode())
            end = time.monotonic() + 20
            while not (workplace / str(place)).is_file():
                assert time.monotonic() < end, read(leader)
                read(leader)
        found = [(workplace / str(place)).read_text().strip() for place in range(len(lines))]
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
        os.close(follower)
        os.close(leader)
    assert found == [
        "leaderboard",
        "model=random_forest",
        "show model=triplet",
        "predict RUN --output",
        "model=svm model.classifier.kernel=",
    ]


def read(terminal):
    """What has been written to a terminal, after at most a tenth of a second."""
    ready, _, _ = select.select([terminal], [], [], 0.1)
    return os.read(terminal, 65536).decode(errors="replace") if ready else ""


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


def test_last_names_the_newest_run(workplace, capsys):
    with pytest.raises(UserError, match="there is no finished run in .*outputs"):
        named_run("last")
    records = {  # the oldest first
        "first": {"identity": "a", "status": "FINISHED"},
        "stopped": {"identity": "a", "status": "FAILED"},
        "second": {"identity": "b", "status": "FINISHED"},
        "sweep": {"identity": None, "status": "FINISHED"},
        "running": {"identity": "a", "status": "RUNNING"},
    }
    for age, (name, record) in enumerate(records.items()):
        directory = workplace / "outputs" / name
        directory.mkdir(parents=True)
        write_record(directory, record)
        os.utime(directory / RECORD, (age, age))
    (workplace / "outputs" / "damaged").mkdir()
    (workplace / "outputs" / "damaged" / RECORD).write_text("{")
    with locked(workplace / "outputs" / "running"):
        assert named_run("last") == os.path.join("outputs", "second")
        assert "last: outputs/second" in capsys.readouterr().err
        assert named_run("last", finished=False) == os.path.join("outputs", "stopped")
    assert named_run("last", finished=False) == os.path.join("outputs", "running")  # its process was killed
    (workplace / "last").mkdir()
    assert named_run("last") == "last"
