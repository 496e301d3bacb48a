"""Training from a folder of 20,000 JPEGs that is not kept in memory, through mlrun with two workers, against a plain DataLoader with as many.

Counted is everything from listing the folder to the end of training, validation included. mlrun decodes each file once, into a temporary file.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.comparison import Row, interleave
from benchmarks.training import apart, through_mlrun

IMAGES, SIDE, BATCH, WORKERS = 20_000, 32, 64, 2
EPOCHS = (1, 3)
LOSS_TOLERANCE = 0.25  # other initial weights, and few epochs


def compare() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder))
        return [compare_epochs(folder, epochs) for epochs in EPOCHS]


def compare_epochs(folder: str, epochs: int) -> Row:
    found = {"mlrun": [], "plain": []}

    def measure(who):
        def seconds():
            found[who].append(apart(__spec__.name, who, folder, epochs))
            return found[who][-1]["seconds"]

        return seconds

    ours, peer = interleave(measure("mlrun"), measure("plain"), pairs=3, warmup=0)
    losses = [statistics.mean(one["loss"] for one in found[who]) for who in found]
    if abs(losses[0] / losses[1] - 1) > LOSS_TOLERANCE:
        raise RuntimeError(f"the two do not train the same: training loss {losses[0]:.4f} against {losses[1]:.4f}")
    of = f"{epochs} epoch{'s' * (epochs > 1)} from a folder of {IMAGES:,} JPEGs, {WORKERS} workers"
    return Row(
        of,
        ours,
        peer,
        limit=1 / 0.95,
        note=f"reading and training; training loss {losses[0]:.3f} / {losses[1]:.3f}",
    )


def write_images(folder: Path) -> None:
    """Digits as coloured JPEGs of 96 x 96 pixels, a folder for each class."""
    import numpy as np
    from PIL import Image

    from mlrun.data.datasets.tables import read_bundled

    x, y = read_bundled("digits")
    generator = np.random.default_rng(0)
    for label in range(10):
        (folder / str(label)).mkdir()
    for number in range(IMAGES):
        chosen = number % len(x)
        colour = generator.uniform(4, 16, 3)
        pixels = np.clip(x[chosen].reshape(8, 8, 1) * colour + generator.integers(0, 30, (8, 8, 3)), 0, 255)
        image = Image.fromarray(pixels.astype(np.uint8)).resize((96, 96), Image.Resampling.BILINEAR)
        image.save(folder / str(y[chosen]) / f"{number}.jpg", quality=90)


def one(who: str, folder: str, epochs: int) -> dict:
    """{seconds, loss} in a process of its own; the seconds are those without the import of libraries."""
    from mlrun.config.compose import compose

    overrides = [
        "model=lenet", "model.network.activation=relu", "dataset=image_folder", "dataset.normalize=unit",
        f"dataset.path={folder}", f"dataset.side={SIDE}", f"dataset.batch_size={BATCH}", f"dataset.num_workers={WORKERS}",
        "dataset.resident_limit=0", "dataset.split={train: 0.9, val: 0.08, test: 0.02}",
        f"trainer.max_epochs={epochs}", "trainer=cpu", "trainer.threads=1", "optim=adam", "optim.lr=0.001",
    ]  # fmt: skip
    cfg = compose(overrides)
    if who == "mlrun":
        clock = through_mlrun(cfg, overrides)
        return {"seconds": clock.result.seconds["data"] + clock.result.seconds["fit"], "loss": clock.loss}
    return plain_script(cfg, Path(folder), epochs)


def plain_script(cfg, folder: Path, epochs: int) -> dict:
    import numpy as np
    import torch
    from PIL import Image
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, Dataset, random_split

    from mlrun.config.instantiate import build

    class Images(Dataset):
        def __init__(self):
            self.files = sorted(folder.glob("*/*.jpg"))

        def __len__(self):
            return len(self.files)

        def __getitem__(self, row):
            image = Image.open(self.files[row]).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255, int(self.files[row].parent.name)

    start = time.perf_counter()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    parts = random_split(Images(), [0.9, 0.08, 0.02])
    train, val = (
        DataLoader(part, BATCH, shuffle=place == 0, num_workers=WORKERS, persistent_workers=True)
        for place, part in enumerate(parts[:2])
    )
    shape = (3, SIDE, SIDE)
    network = build(
        cfg.model.network, {"input_shape": shape, "image_shape": shape, "num_outputs": 10, "num_classes": 10}
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.001)
    for _ in range(epochs):
        network.train()
        total = torch.zeros(())
        for x, y in train:
            loss = F.cross_entropy(network(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(y)
        network.eval()
        with torch.inference_mode():
            correct = sum((network(x).argmax(1) == y).sum() for x, y in val)
        figures = {"loss": (total / len(parts[0])).item(), "accuracy": (correct / len(parts[1])).item()}
    return {"seconds": time.perf_counter() - start, "loss": figures["loss"]}


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
