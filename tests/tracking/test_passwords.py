"""The address of the tracking server may hold a password, which nothing prints or stores."""

from __future__ import annotations

import logging

import pytest

from mlrun.errors import UserError
from mlrun.experiment.log import RunLog, log_to
from mlrun.tracking.store import tracking_uri


def test_no_file_and_no_message_shows_the_password(workplace, experiment, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret77@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    log_to(workplace / "mlrun.log")
    try:
        result = experiment("model=naive_bayes", "dataset=iris")
        logging.getLogger("mlrun").error("it is at %s", tracking_uri())
    finally:
        for handler in [handler for handler in logging.getLogger().handlers if isinstance(handler, RunLog)]:
            logging.getLogger().removeHandler(handler)
            handler.close()
    assert not result.recorded
    said = capfd.readouterr()
    assert "me:***@127.0.0.1:9" in (workplace / "mlrun.log").read_text()
    for path in workplace.rglob("*"):
        assert path.is_dir() or b"secret77" not in path.read_bytes(), path
    assert "does not answer" in said.err and "secret77" not in said.out + said.err


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://[::1", "MLFLOW_TRACKING_URI=.*: not an address"),
        ("ftp://me:secret77@host/x", "ftp://me:\\*\\*\\*@host/x: unknown scheme"),
        (
            "mysql+nowhere://me:secret77@host/x",
            "me:\\*\\*\\*@host/x: the driver of this database is not installed: pip install nowhere",
        ),
    ],
)
def test_an_address_that_cannot_be_used(monkeypatch, uri, message):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(UserError, match=message):
        tracking_uri()
