"""mlrun.log in a run's directory: messages and warnings; the terminal shows results."""

from __future__ import annotations

import logging
from pathlib import Path

from mlrun.config.passwords import masked


class RunLog(logging.FileHandler):
    """The file; conf/hydra/job_logging/mlrun.yaml names this class.

    On a full disk a message is lost and the run continues: the errors that matter reach the terminal and MLflow in other ways, and
    logging's own report would be a traceback on the screen for each message.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The log is an artifact of the run, so it shows no password."""
        return masked(super().format(record))

    def handleError(self, record: logging.LogRecord) -> None:
        pass


def log_to(path: Path) -> None:
    """Logs as conf/hydra/job_logging/mlrun.yaml does, appending to the existing file.

    Args:
        path: the run's mlrun.log; it takes the place of the log of an earlier run in this process.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, RunLog):
            root.removeHandler(handler)
            handler.close()
    handler = RunLog(path, encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
