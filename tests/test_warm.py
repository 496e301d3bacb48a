"""`mlrun warm`: commands in a process forked from a server are the same as in their own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from mlrun.warm import address, offer
from mlrun.warm.client import hand_over
from mlrun.warm.server import WarmServer
from tests.conftest import REPOSITORY
from tests.life.conftest import Child

QUICK = ("model=naive_bayes", "dataset=iris", "hydra.run.dir=run")
LONG = ("trainer.max_epochs=100000", "hydra.run.dir=run")


@pytest.fixture
def there(starter, workplace):
    """Starts `mlrun` as a user does, where it finds the tests' server; with `warm=False` it does not."""

    def start(*arguments, warm=True, **options):
        environment = {**starter.environment, "MLRUN_WARM": "1" if warm else "0"}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(
            [sys.executable, "-m", "mlrun", *arguments], **{"cwd": workplace, "env": environment, **pipes, **options}
        )

    return start


def is_served(caller):
    """Whether a command's own process only waits for the server: it has not imported anything that computes."""
    return "libopenblas" not in Path(f"/proc/{caller.pid}/maps").read_text()


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def status_of(folder="run"):
    try:
        return json.loads(Path(folder, "run.json").read_text())["status"]
    except (OSError, ValueError):
        return None


@pytest.mark.parametrize("overrides", [("trainer.max_epochs=2",), ("model=naive_bayes",)])
def test_results_are_the_same_bit_for_bit(there, overrides):
    tables = []
    for name, warm in (("here", False), ("there", True)):
        caller = there(*overrides, f"hydra.run.dir={name}", warm=warm)
        out, err = caller.communicate(timeout=120)
        assert caller.returncode == 0, err
        tables.append(re.sub(r"\d+\.\d+ s\b.*|[0-9a-f]{32}|here|there|predict.*|seconds.*", "", out).split())
    here, there_ = (Path(name) for name in ("here", "there"))
    assert (here / "metrics.json").read_bytes() == (there_ / "metrics.json").read_bytes()
    for weights in (here / "model").glob("*.safetensors"):
        assert weights.read_bytes() == (there_ / "model" / weights.name).read_bytes()
    assert [word for word in tables[0] if "." in word] == [word for word in tables[1] if "." in word]


def test_the_command_has_its_callers_directory_arguments_streams_and_status(there, workplace):
    (workplace / "conf" / "model").mkdir(parents=True)
    (workplace / "conf" / "model" / "mine.yaml").write_text(
        "# My model.\n_target_: mine.Missing\nproblems: [classification]\n"
    )
    known, unknown = there("list", "model"), there("model=mlq")
    out, err = known.communicate(timeout=60)
    assert known.returncode == 0 and "mine (yours)" in out and not err
    out, err = unknown.communicate(timeout=60)
    assert unknown.returncode == 2 and "did you mean" in err and not out


def test_input_and_further_descriptors_arrive(there, workplace):
    (workplace / "elsewhere").mkdir()
    directory = os.open("elsewhere", os.O_RDONLY)
    assert there(*QUICK[:2], f"hydra.run.dir=/dev/fd/{directory}/run", pass_fds=[directory]).wait(60) == 0
    os.close(directory)
    caller = there("predict", "elsewhere/run", "-", stdin=subprocess.PIPE)
    rows = "sepal length (cm),sepal width (cm),petal length (cm),petal width (cm)\n5.1,3.5,1.4,0.2\n"
    out, err = caller.communicate(rows, timeout=60)
    assert caller.returncode == 0 and out.splitlines()[1].startswith("2,0,"), err


@pytest.mark.parametrize(
    "number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, -signal.SIGHUP)]
)
def test_signals_end_the_command_and_its_caller(there, number, status):
    caller = there(*LONG)
    wait_until(lambda: Path("run/checkpoints/last.ckpt").exists())
    assert is_served(caller)
    caller.send_signal(number)
    _, err = caller.communicate(timeout=60)
    assert caller.returncode == status
    if number != signal.SIGHUP:  # nobody catches it
        assert status_of() == "KILLED" and "mlrun resume run" in err


def test_a_command_ends_with_its_caller(there):
    caller = there(*LONG)
    wait_until(lambda: Path("run/checkpoints/last.ckpt").exists())
    process = json.loads(Path("run/run.json").read_text())["process"]["pid"]
    assert process != caller.pid
    caller.kill()
    caller.communicate(timeout=60)
    wait_until(lambda: not Path(f"/proc/{process}").exists())


def test_a_command_that_is_killed_kills_its_caller(there):
    caller = there(*LONG)
    wait_until(lambda: Path("run/checkpoints/last.ckpt").exists())
    os.kill(json.loads(Path("run/run.json").read_text())["process"]["pid"], signal.SIGKILL)
    caller.communicate(timeout=60)
    assert caller.returncode == -signal.SIGKILL


class Terminal:
    """A session leader on a terminal of 100 columns, which starts a command in the foreground as a shell does."""

    def __init__(self, environment, *arguments):
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.execve(sys.executable, [sys.executable, "-c", SHELL, *arguments], environment)
        termios.tcsetwinsize(self.screen, (30, 100)) if hasattr(termios, "tcsetwinsize") else None
        self.text = ""

    def read_until(self, text, seconds=60):
        end = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < end, self.text
            try:
                self.text += os.read(self.screen, 4096).decode(errors="replace")
            except OSError:  # the terminal is closed
                break
        assert text in self.text, self.text

    def press(self, key):
        os.write(self.screen, key)

    def close(self):
        os.close(self.screen)
        os.waitpid(self.pid, 0)


# A shell with one job: it says when the job stops, continues it on a line of input, and says how it ended.
SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
job = os.fork()
if job == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.executable, [sys.executable, "-m", "mlrun", *sys.argv[1:]])
while True:
    _, status = os.waitpid(job, os.WUNTRACED)
    os.tcsetpgrp(0, os.getpid())
    if not os.WIFSTOPPED(status):
        break
    print("STOPPED", flush=True)
    sys.stdin.readline()
    os.tcsetpgrp(0, job)
    os.killpg(job, signal.SIGCONT)
print("ENDED", os.waitstatus_to_exitcode(status), flush=True)
"""


def epochs():
    path = Path("run/checkpoints/last.ckpt")
    return path.stat().st_mtime_ns if path.exists() else 0


def test_the_terminal_is_the_callers(starter, workplace):
    """Colours and width; Ctrl-Z stops the training until `fg`, Ctrl-C ends it."""
    terminal = Terminal({**starter.environment, "TERM": "xterm-256color", "COLUMNS": ""}, *LONG)
    try:
        terminal.read_until("\x1b[")
        wait_until(epochs)
        terminal.press(b"\x1a")
        terminal.read_until("STOPPED")
        time.sleep(0.3)
        stopped = epochs()
        time.sleep(0.5)
        assert epochs() == stopped
        terminal.press(b"\n")
        wait_until(lambda: epochs() != stopped)
        terminal.press(b"\x03")
        terminal.read_until("ENDED 130")
        assert "interrupted" in terminal.text and status_of() == "KILLED"
    finally:
        terminal.close()


# --- the server ---------------------------------------------------------------------------------------------------


def serving(folder, is_current=lambda: True, idle_seconds=60.0):
    """(process of a server that imports nothing, its address)."""
    path = folder / "socket"

    def work():
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(8)
        WarmServer(listener, is_current, idle_seconds).run()

    child = Child(work, folder / "server.log")
    wait_until(path.exists)
    return child, path


def asked(path):
    """Whether the server takes the command of this process."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        command, descriptors = {"argv": ["mlrun", "--version"], "numbers": []}, [os.open(".", os.O_RDONLY)]
        return hand_over(connection, command, descriptors)


def test_it_ends_when_idle(workplace):
    child, path = serving(workplace, idle_seconds=0.2)
    assert child.wait() == 0 and not path.exists()


def test_it_ends_when_the_code_changes(workplace):
    child, path = serving(workplace, is_current=lambda: not (workplace / "changed").exists())
    (workplace / "changed").touch()
    assert not asked(path)
    assert child.wait() == 0 and not path.exists()


def test_it_serves_only_this_user(workplace, monkeypatch):
    monkeypatch.setattr("mlrun.warm.server.is_of_this_user", lambda connection: False)
    child, path = serving(workplace)
    with pytest.raises((OSError, AssertionError)):
        assert asked(path)
    assert child.send(signal.SIGTERM) == 0


def test_its_directory_is_private(workplace, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(workplace))
    created = address.folder(create=True)
    assert created.stat().st_mode & 0o777 == 0o700
    created.chmod(0o750)
    assert address.folder() is None and address.folder(create=True) is None
    created.rmdir()
    Path("elsewhere").mkdir(mode=0o700)
    created.symlink_to("elsewhere")
    assert address.folder(create=True) is None


def test_what_changes_the_fingerprint(workplace, monkeypatch):
    package = workplace / "package"
    (package / "part").mkdir(parents=True)
    (package / "part" / "one.py").write_text("a = 1\n")
    (package / "__pycache__").mkdir()
    monkeypatch.setattr(address, "PACKAGE", package)
    first = address.fingerprint()
    (package / "__pycache__" / "one.pyc").write_text("")
    assert address.fingerprint() == first
    (package / "part" / "one.py").write_text("a = 22\n")
    second = address.fingerprint()
    assert second != first
    site_packages = workplace / "site-packages"
    site_packages.mkdir()
    monkeypatch.setattr(sys, "path", [*sys.path, str(site_packages)])
    third = address.fingerprint()
    os.utime(site_packages, ns=(1, 1))  # as when a package is installed
    assert len({second, third, address.fingerprint()}) == 3


def test_the_key_separates_what_libraries_read_early(monkeypatch):
    first = address._key()
    monkeypatch.setenv("WINDOWID", "7")
    assert address._key() == first
    monkeypatch.setenv("MKL_NUM_THREADS", "3")
    assert address._key() != first


def test_the_command_itself_starts_and_ends_a_server(workplace, there, tmp_path_factory):
    """With the imports replaced by none: they take seconds, and the tests' own server has them."""
    runtime = tmp_path_factory.mktemp("runtime")
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "XDG_RUNTIME_DIR": str(runtime), "MLRUN_WARM": "1"}
    start = (
        "import mlrun.warm.daemon as d; d._import_everything = lambda: None; from mlrun.cli import main; main(['warm'])"
    )

    def outcome(*command):
        done = subprocess.run(
            [sys.executable, *command], env=environment, capture_output=True, text=True, cwd=workplace, timeout=60
        )
        return done.returncode, done.stdout + done.stderr

    status, text = outcome("-c", start)
    assert status == 0 and "ready after" in text
    assert "already running" in outcome("-c", start)[1]
    assert outcome("-m", "mlrun", "--version")[1].startswith("mlrun ")
    process = int(re.search(r"process (\d+)", text)[1])
    assert outcome("-m", "mlrun", "warm", "--stop") == (0, "mlrun warm: stopped\n")
    wait_until(lambda: not Path(f"/proc/{process}").exists())
    assert "no server" in outcome("-m", "mlrun", "warm", "--stop")[1]


def test_it_is_offered_once_a_day(workplace, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(workplace))
    monkeypatch.delenv("MLRUN_WARM")
    offer.offer()
    assert not any(workplace.rglob("runs_today.json"))  # nobody looks: this is no terminal
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: True, raising=False)
    said = []
    for _ in range(4):
        offer.offer()
        said.append("mlrun warm" in capsys.readouterr().err)
    assert said == [False, False, True, False]
    monkeypatch.setenv("MLRUN_WARM", "0")
    (record,) = workplace.rglob("runs_today.json")
    record.unlink()
    for _ in range(3):
        offer.offer()
    assert capsys.readouterr().err == ""
