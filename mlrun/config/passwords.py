"""Hides passwords in whatever is printed or stored."""

from __future__ import annotations

import os
import re

HIDDEN = "***"
_IN_ADDRESS = re.compile(r"(://[^\s/?#:@'\"]*):[^\s/?#'\"]*@")
_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_SHORTEST = 6  # characters; the text of a shorter password may occur in any message


def masked(text: str) -> str:
    """The text with `***` in place of the passwords in addresses, and of those that MLflow takes from the environment."""
    text = _IN_ADDRESS.sub(rf"\1:{HIDDEN}@", text)
    address = re.search(r"://[^\s/?#:@]*:([^/?#]*)@", os.environ.get("MLFLOW_TRACKING_URI", ""))
    known = [os.environ.get(name, "") for name in _VARIABLES] + ([address[1]] if address else [])
    for password in known:
        if len(password) >= _SHORTEST:
            text = text.replace(password, HIDDEN)
    return text


def is_masked(uri: str) -> bool:
    """Whether the address was stored without its password."""
    return f":{HIDDEN}@" in uri
