"""Finds the checkpoints that nothing needs any more: those of finished runs, except the best and the last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlrun.errors import UserError
from mlrun.tracking.run_directory import RECORD, is_locked, read_record
from mlrun.tracking.spool import UNSENT

KEPT = {"best.ckpt", "last.ckpt", "last.json"}
LAST = {"last.ckpt", "last.json"}
FOLDER = "checkpoints"
_LEAVES = {FOLDER, "config", "figures", "model", "profile"}  # folders of a run that contain no further runs


@dataclass
class Needless:
    """Checkpoints in one run's directory that nothing needs."""

    directory: Path
    paths: list[Path]
    bytes: int  # that removing them frees

    def remove(self) -> None:
        """Removes them. Raises OSError."""
        for path in self.paths:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def needless(roots: Iterable[Path | str]) -> list[Needless]:
    """The checkpoints that can be removed at or below some directories.

    A run keeps everything if it has not finished, if a process works on it, or if MLflow has not received all of it; and a checkpoint that
    an unfinished run below these directories names is kept too.
    """
    finished, named = [], []
    for place, has_checkpoints in sorted({found for root in roots for found in _run_directories(root)}):
        directory = Path(place)
        if not has_checkpoints and _says_finished(place):  # quickly, for most of ten thousand runs
            continue
        try:
            record = read_record(directory)
        except UserError:  # damaged: nothing is known about it
            continue
        if record.get("status") == "FINISHED":
            finished.append(directory)
        else:
            named += [_text(directory / "config" / name) for name in ("config.yaml", "overrides.yaml")]
    found = (_of_run(directory, "\n".join(filter(None, named))) for directory in finished)
    return [one for one in found if one is not None]


def _run_directories(root: Path | str) -> Iterator[tuple[str, bool]]:
    """(directory of a run, whether it has checkpoints)."""
    for place, folders, files in os.walk(os.path.realpath(root)):
        if RECORD in files:
            yield place, FOLDER in folders
        folders[:] = [name for name in folders if name not in _LEAVES]


def _says_finished(place: str) -> bool:
    with suppress(OSError), open(os.path.join(place, RECORD), "rb") as file:
        return b'"status": "FINISHED"' in file.read()
    return False


def _of_run(directory: Path, named: str) -> Needless | None:
    folder = directory / FOLDER
    if folder.is_symlink() or not folder.is_dir() or (directory / UNSENT).exists():
        return None
    entries = {entry.name: Path(entry.path) for entry in os.scandir(folder) if not entry.is_symlink()}
    if not LAST & entries.keys():  # the run could be continued only from another one
        return None
    paths = [
        path
        for name, path in sorted(entries.items())
        if name not in KEPT and f"{directory.name}/{FOLDER}/{name}" not in named
    ]
    if not paths or is_locked(directory):
        return None
    return Needless(directory, paths, _freed(paths))


def _freed(paths: Iterable[Path]) -> int:
    """Bytes that are freed with these files: a file that has another name, such as that of the best checkpoint, stays."""
    links: dict[tuple[int, int], list[int]] = {}  # file -> its size, its names, those among the paths
    for path in paths:
        for file in [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]:
            status = file.stat()
            links.setdefault((status.st_dev, status.st_ino), [status.st_size, status.st_nlink, 0])[2] += 1
    return sum(size for size, names, removed in links.values() if removed == names)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
