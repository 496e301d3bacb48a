"""`python -m benchmarks.pictures`: the pictures of the documentation, from real runs: docs/images/ and docs/figures.md.

Each command below runs in a process of its own in a working directory (`--work DIR`, kept if it is given), and its figures become one
contact sheet per command. A command whose figures are there already is not run again.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parent.parent
IMAGES, PAGE = ROOT / "docs" / "images", ROOT / "docs" / "figures.md"
COMMANDS = {  # heading -> commands
    "Classification and regression": (
        "model=mlp",
        "model=decision_tree dataset=breast_cancer",
        "model=random_forest dataset=breast_cancer",
        "model=svm dataset=iris",
        "model=ridge",
    ),
    "Clustering, decomposition, anomalies": (
        "model=kmeans",
        "model=dbscan",
        "model=hierarchical",
        "model=pca",
        "model=tsne",
        "model=isolation_forest",
    ),
    "Convolutional networks": ("model=lenet", "model=resnet"),
    "Objects, masks and points": (
        "model=yolo trainer.max_epochs=4",
        "model=unet trainer.max_epochs=3",
        "model=landmarks trainer.max_epochs=6",
        "model=localization trainer.max_epochs=3",
    ),
    "Similarity learning": ("model=triplet trainer.max_epochs=3",),
    "Text": (
        "model=seq2seq_attention",
        "model=text_cnn",
        "model=word2vec dataset.packages=[scipy] trainer.max_epochs=2",
    ),
    "Generative models": (
        "model=autoencoder",
        "model=vae",
        "model=gan",
        "model=dcgan trainer.max_epochs=40",
        "model=diffusion_2d",
        "model=cyclegan",
    ),
    "Reinforcement learning": ("model=q_learning", "model=ppo"),
}
OVERVIEW = (  # command, figure
    ("model=mlp", "learning_curves"),
    ("model=mlp", "confusion_matrix"),
    ("model=svm dataset=iris", "decision_regions"),
    ("model=dbscan", "clusters"),
    ("model=q_learning", "policy"),
    ("model=tsne", "vectors"),
    ("model=vae", "latent_grid"),
    ("model=hierarchical", "dendrogram"),
)
FIRST = ("learning_curves", "confusion_matrix")  # of the first run, for the quick start
TILE, GAP, CAPTION = (600, 480), 14, 20  # pixels
COLUMNS = {"sheet": 2, "overview": 4}
GREYS = 64  # of 256 colours
EXTRAS = ("samples_epoch_", "restored_epoch_", "translations_epoch_")  # of these only the last one


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="directory of the runs")
    parser.add_argument("--only-draw", action="store_true", help="draw from the runs that are there")
    arguments = parser.parse_args(argv)
    work = arguments.work or Path(tempfile.mkdtemp())
    IMAGES.mkdir(exist_ok=True)
    commands = [command for group in COMMANDS.values() for command in group]
    for command in commands:
        if not arguments.only_draw and not figures(work, command):
            run(work, command)
    for command in commands:
        shown = figures(work, command)
        if shown:
            sheet(shown, COLUMNS["sheet"]).save(IMAGES / f"{slug(command)}.png", optimize=True)
    chosen = [figures(work, command).get(name) for command, name in OVERVIEW]
    tiles = {str(place): path for place, path in enumerate(chosen) if path}
    sheet(tiles, COLUMNS["overview"], captions=False).save(IMAGES / "overview.png", optimize=True)
    for name in FIRST:
        path = figures(work, "model=mlp").get(name)
        if path:
            indexed(Image.open(path).convert("RGB")).save(IMAGES / f"{name}.png", optimize=True)
    PAGE.write_text(page(work), encoding="utf-8")
    if not arguments.work:
        shutil.rmtree(work)
    return 0


def slug(command: str) -> str:
    """A file name for a command."""
    return re.sub(r"\W", "", "_".join(word.rpartition("=")[2] for word in command.split() if "epochs" not in word))


def run(work: Path, command: str) -> None:
    print(f"mlrun {command}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    work.mkdir(parents=True, exist_ok=True)
    call = [sys.executable, "-m", "mlrun", *command.split(), f"hydra.run.dir={work / slug(command)}"]
    subprocess.run(call, cwd=work, env=environment, check=True, stdout=subprocess.DEVNULL)


def figures(work: Path, command: str) -> dict[str, Path]:
    """Name -> file of the figures of a run; of those drawn during training only the last."""
    found = {path.stem: path for path in sorted((work / slug(command) / "figures").glob("*.png"))}
    for prefix in EXTRAS:
        of_epochs = [name for name in found if name.startswith(prefix)]
        for name in of_epochs[:-1]:
            del found[name]
    return found


def sheet(shown: dict[str, Path], columns: int, captions: bool = True) -> Image.Image:
    """The figures side by side, each fitted into a tile below its name."""
    columns = min(columns, len(shown))
    caption, width = CAPTION if captions else 0, TILE[0] + GAP
    pictures = [Image.open(path).convert("RGB") for path in shown.values()]
    for picture in pictures:
        picture.thumbnail(TILE, Image.Resampling.LANCZOS)
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.height for picture in row) for row in rows]
    canvas = Image.new("RGB", (columns * width + GAP, sum(heights) + len(rows) * (caption + GAP) + GAP), "white")
    draw, names, top = ImageDraw.Draw(canvas), iter(shown), GAP
    for row, height in zip(rows, heights):
        for column, picture in enumerate(row):
            left, inset = GAP + column * width, 0
            if captions:
                draw.text((left, top), f"{next(names)}.png", fill="#555555", font=ImageFont.load_default(13))
            else:  # in the middle of the tile
                left, inset = left + (TILE[0] - picture.width) // 2, (height - picture.height) // 2
            canvas.paste(picture, (left, top + caption + inset))
        top += height + caption + GAP
    return indexed(canvas)


def indexed(picture: Image.Image) -> Image.Image:
    """With 256 colours, half of them greys: Pillow's median cut gives the few dots of a class the colour of another."""
    pixels = np.asarray(picture).astype(np.int32)
    codes, places = np.unique(pixels @ [1 << 16, 1 << 8, 1], return_inverse=True)
    found = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)
    coloured = np.asarray(picture)[np.ptp(pixels, axis=2) > 12]
    palette = np.repeat(np.linspace(0, 255, GREYS).round().astype(np.int32)[:, None], 3, axis=1)
    if len(coloured):
        octree = Image.fromarray(coloured[None]).quantize(256 - GREYS, method=Image.Quantize.FASTOCTREE)
        palette = np.concatenate([palette, np.reshape(octree.getpalette(), (-1, 3))[: 256 - GREYS]])
    nearest = [int(((palette - colour) ** 2).sum(1).argmin()) for colour in found]
    result = Image.fromarray(np.array(nearest, dtype=np.uint8)[places.reshape(pixels.shape[:2])], "P")
    result.putpalette(palette.astype(np.uint8).tobytes())
    return result


def page(work: Path) -> str:
    """docs/figures.md: one contact sheet per command."""
    lines = [
        "# Figures",
        "",
        "These commands save the figures shown in the run's `figures/` directory and in MLflow under *Artifacts*. Made by `python -m benchmarks.pictures`.",
    ]
    for heading, commands in COMMANDS.items():
        drawn = [command for command in commands if (IMAGES / f"{slug(command)}.png").is_file()]
        lines += ["", f"## {heading}"] if drawn else []
        for command in drawn:
            lines += ["", f"`mlrun {command}`", "", f"![Figures of mlrun {command}](images/{slug(command)}.png)"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
