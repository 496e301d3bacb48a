"""Commands in forks of one process that has imported everything: most of a command's seconds would go to imports."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

IMPORTS = (
    "mlrun.tracking.warm",
    "mlrun.experiment.run",
    "mlrun.training.learner",
    "mlrun.report.figures",
    "mlrun.sweep.server",
)


class Starter:
    """The parent's side: `run` is like `subprocess.run([sys.executable, "-m", "mlrun", *arguments])`."""

    def __init__(self):
        self.socket, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
            cwd=Path(__file__).parent.parent,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        self.replies = self.socket.makefile()

    def run(self, arguments, cwd, env, timeout):
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            request = {"argv": arguments, "cwd": str(cwd), "env": env, "out": str(out), "err": str(err)}
            self.socket.sendall(json.dumps(request).encode() + b"\n")
            pid = int(self.replies.readline())
            self.socket.settimeout(timeout)
            try:
                status = int(self.replies.readline())
            except TimeoutError:
                os.killpg(pid, signal.SIGKILL)
                self.close()  # a file that met a timeout cannot be read any more
                raise subprocess.TimeoutExpired(arguments, timeout, out.read_text(), err.read_text()) from None
            self.socket.settimeout(None)
            return subprocess.CompletedProcess(arguments, status, out.read_text(), err.read_text())

    def close(self):
        self.socket.close()
        self.replies.close()
        self.process.kill()
        self.process.wait()


def serve(channel):
    """Forks a process for each request; answers with its id, then with its exit status."""
    for name in IMPORTS:
        importlib.import_module(name)
    for line in channel.makefile():
        pid = os.fork()
        if pid == 0:
            channel.close()
            work(json.loads(line))
        channel.sendall(f"{pid}\n".encode())
        channel.sendall(f"{os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())


def work(request):
    """The command, in its process."""
    from mlrun.cli import main

    status = 1
    try:
        os.setsid()
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT), number)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))
        # Lightning starts the further processes of a distributed run like this one
        sys.modules["__main__"].__spec__ = importlib.util.find_spec("mlrun.__main__")
        sys.argv = [str(Path("mlrun", "__main__.py")), *request["argv"]]
        sys.path[0] = request["cwd"]
        main()
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
