"""How folders of images are laid out: parts, and files of the same name in several folders."""

from __future__ import annotations

from pathlib import Path

from mlrun.data.readers.images import images_in, is_hidden, is_image
from mlrun.data.splits import PARTS
from mlrun.errors import DataError


def part_folders(root: Path) -> list[str]:
    """Which of train, val and test are folders of a folder, in this order; empty if it has none of them, and is to be split.

    Raises:
        DataError: val or test without train, or further images, which no part would have.
    """
    parts = [part for part in PARTS if (root / part).is_dir()]
    if not parts:
        return []
    if parts[0] != "train":
        raise DataError(f"{root}: has {parts[0]}, but no train")
    further = [entry for entry in sorted(root.iterdir()) if entry.name not in parts]
    unused = [entry.name for entry in further if not is_hidden(entry.name) and (is_image(entry) or images_in(entry))]
    if unused:
        raise DataError(
            f"{root}: the images in {', '.join(unused[:5])} would be in none of the parts, which are the folders "
            f"{', '.join(PARTS)}; rename or move {'them' if len(unused) > 1 else 'it'}"
        )
    return parts


def files_by_name(*folders: Path) -> list[dict[str, Path]]:
    """For each folder: name without suffix -> image file. Where a folder has equal names in several of its folders, names are paths relative
    to the folder.

    Raises:
        DataError: two files of a folder differ only in their suffix.
    """
    files = [images_in(folder) for folder in folders]
    if all(len({file.stem for file in own}) == len(own) for own in files):
        return [{file.stem: file for file in own} for own in files]
    named: list[dict[str, Path]] = []
    for folder, own in zip(folders, files):
        named.append({})
        for file in own:
            name = file.relative_to(folder).with_suffix("").as_posix()
            if name in named[-1]:
                raise DataError(
                    f"{folder}: {named[-1][name].name} and {file.name} have the same name; rename one of them"
                )
            named[-1][name] = file
    return named
