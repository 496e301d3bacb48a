"""Where public data sets lie, and fetching those that are missing."""

from __future__ import annotations

import os
from pathlib import Path

from mlrun.errors import DataError


def data_directory(data_dir=None):
    """`data_dir`, else MLRUN_DATA_DIR, else the user's cache."""
    chosen = data_dir or os.environ.get("MLRUN_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from pooch import os_cache

    return Path(os_cache("mlrun"))


def fetch(files, addresses, folder, name):
    """Download into `folder` what is missing there. files: name -> MD5, or such as "sha256:..." with another algorithm; addresses: where they lie, best first.

    A file is written aside and renamed, so that runs that start together do not disturb each other.
    Raises DataError that says which files to put where.
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
                except Exception as error:  # pooch passes on whatever requests and the file system raise
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
