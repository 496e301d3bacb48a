"""Commands in forks of one process that has imported everything: most of a command's seconds would go to imports.

That process is the warm server of `mlrun warm`, which ends with the tests instead of after some idle minutes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from mlrun.warm.client import hand_over
from mlrun.warm.messages import receive
from tests.blank import blank_figures

IMPORTS = (
    "mlrun.tracking.warm",
    "mlrun.experiment.run",
    "mlrun.training.learner",
    "mlrun.report.figures",
    "mlrun.sweep.server",
)
STREAM = {"encoding": "utf-8", "errors": "strict", "line_buffering": True, "write_through": False}


class Starter:
    """The parent's side: `run` is like `subprocess.run([sys.executable, "-m", "mlrun", *arguments])`.

    `environment` has what leads other commands to the server.
    """

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        repository = Path(__file__).parent.parent
        self.environment = {
            **os.environ, "PYTHONPATH": str(repository), "XDG_RUNTIME_DIR": self.folder.name, "MLRUN_WARM": "1",
        }  # fmt: skip
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"],
            cwd=repository,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.address = self.process.stdout.readline().strip()

    def run(self, arguments, cwd, env, timeout):
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as connection:
            out, err = Path(folder, "out"), Path(folder, "err")
            command = {
                "argv": [str(Path("mlrun", "__main__.py")), *arguments], "path": [str(cwd), *sys.path[1:]], "module": "mlrun.__main__",
                "environment": env, "umask": 0o022, "streams": dict.fromkeys(("stdin", "stdout", "stderr"), STREAM), "ignored": [],
                "numbers": [0, 1, 2],
            }  # fmt: skip
            connection.connect(self.address)
            with open(os.devnull) as nothing, open(out, "w") as stdout, open(err, "w") as stderr:
                here = os.open(cwd, os.O_RDONLY)
                assert hand_over(connection, command, [here, *(file.fileno() for file in (nothing, stdout, stderr))])
            connection.settimeout(timeout)
            try:
                status = receive(connection)[0]["status"]
            except TimeoutError:  # closing the connection ends the command
                raise subprocess.TimeoutExpired(arguments, timeout, out.read_text(), err.read_text()) from None
            return subprocess.CompletedProcess(
                arguments, os.waitstatus_to_exitcode(status), out.read_text(), err.read_text()
            )

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()


def serve():
    """Serves where other commands of the same environment look for a server."""
    from mlrun.experiment.processes import die_with_parent
    from mlrun.warm.address import address, folder
    from mlrun.warm.modules import preload
    from mlrun.warm.server import WarmServer

    die_with_parent(os.getppid())
    path = address(folder(create=True))
    preload(IMPORTS)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(64)
    print(path, flush=True)
    with blank_figures():
        WarmServer(listener, lambda: True).run()


if __name__ == "__main__":
    serve()
