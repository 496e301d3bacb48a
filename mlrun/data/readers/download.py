"""Folder of public data sets, and downloading missing ones."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlrun.errors import DataError


def data_directory(data_dir: str | Path | None = None) -> Path:
    """`data_dir`, or else MLRUN_DATA_DIR, or else the user's cache."""
    configured = data_dir or os.environ.get("MLRUN_DATA_DIR")
    if configured:
        return Path(configured).expanduser().absolute()
    from pooch import os_cache

    return Path(os_cache("mlrun"))


def fetch(files: Mapping[str, str], addresses: Sequence[str], folder: str | Path, name: str) -> None:
    """Downloads missing files into `folder`.

    A file is written under a temporary name and renamed, so that concurrent runs do not interfere.

    Args:
        files: name -> MD5, or a checksum with its algorithm such as "sha256:...".
        addresses: base URLs, tried in order.
        folder: created if it does not exist.
        name: of the data set, for messages.

    Raises:
        DataError: a download failed; the message lists the files and the folder where they belong.
    """
    import logging

    import pooch

    folder = Path(folder)
    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, checksum in files.items():
            for place, address in enumerate(addresses):
                try:
                    pooch.retrieve(
                        address + file,
                        known_hash=checksum if ":" in checksum else f"md5:{checksum}",
                        fname=file,
                        path=folder,
                        downloader=pooch.HTTPDownloader(timeout=10),
                    )
                    break
                except Exception as error:  # pooch passes on the errors of requests and the file system
                    if place == len(addresses) - 1:
                        reason = "its checksum is wrong" if "hash" in str(error) else type(error).__name__
                        raise DataError(
                            f"{name}: cannot download {address}{file} ({reason}); put {', '.join(files)} in {folder}, "
                            f"or set data_dir or MLRUN_DATA_DIR to the folder that holds {name}/"
                        ) from None
    except OSError as error:
        raise DataError(
            f"{name}: cannot write to {folder} ({error.strerror}); set data_dir or MLRUN_DATA_DIR"
        ) from None
    finally:
        logger.setLevel(level)
