"""An epoch of training through mlrun, metrics, checkpoints and MLflow on, against plain PyTorch: the same network class on the same data with
as many threads, fed by a DataLoader (torch's default Adam) or by tensors that are indexed by hand (fused Adam)."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from benchmarks.comparison import Row, interleave

EPOCHS = 3  # of which the first warms up
LOSS_TOLERANCE = 0.05  # of the last epoch's mean training loss
LR = 1e-3


FEEDS = ("DataLoader", "indexed by hand")


@dataclass(frozen=True)
class Case:
    key: str
    name: str
    overrides: tuple[str, ...]
    batch: int
    limits: tuple[float, float]  # of the time against the DataLoader and against tensors indexed by hand
    pairs: int = 3


IMAGES = ("dataset=fashion_mnist",)
TEXT = (
    "dataset=tinyshakespeare", "dataset.split={train: 0.9, val: 0.02, test: 0.08}", "dataset.steps_per_epoch=250", "model.reading=random",
    "model.sample_length=1",
)  # fmt: skip
CASES = (
    Case("mlp", "mlp 784-256-10, batch 64", ("model=mlp", *IMAGES), 64, (0.90, 1.30)),
    Case("lenet", "LeNet, batch 256", ("model=lenet", "model.network.activation=relu", *IMAGES), 256, (0.90, 1.05)),
    Case(
        "resnet",
        "ResNet-8 on 6,000 images, batch 256",
        (
            "model=resnet",
            "model.network.depth=8",
            "scheduler=none",
            *IMAGES,
            "dataset.split.train=6000",
            "dataset.split.val=1000",
        ),
        256,
        (0.80, 1.05),
    ),
    Case("lstm", "character LSTM 64-160, 250 steps of 32 windows of 64", ("model=lstm_lm", *TEXT), 32, (1.00, 1.05)),
    Case(
        "gpt",
        "character GPT of 2 layers, width 96, 250 steps of 32 windows of 64",
        ("model=gpt", *TEXT),
        32,
        (1.00, 1.05),
    ),
    Case(
        "gpt_cpu",
        "the GPT of tinyshakespeare/gpt_cpu, 4 layers, width 128, 250 steps of 12 windows of 64",
        (
            "model=gpt",
            *TEXT,
            "dataset.context_length=64",
            "model.network.layers=4",
            "model.network.width=128",
        ),
        12,
        (1.00, 1.05),
        pairs=2,
    ),
)
CASES = {case.key: case for case in CASES}


def compare(*names: str) -> list[Row]:
    return [row for name in names or CASES for row in compare_case(CASES[name])]


def compare_case(case: Case) -> list[Row]:
    found = {who: [] for who in ("mlrun", *FEEDS)}

    def measure(who):
        def seconds():
            threads = found["mlrun"][-1]["threads"] if who != "mlrun" else 0
            found[who].append(apart(__spec__.name, case.key, who, threads))
            return found[who][-1]["seconds"]

        return seconds

    ours, *peers = interleave(*map(measure, found), pairs=case.pairs)
    losses = {who: statistics.mean(one["loss"] for one in measured) for who, measured in found.items()}
    threads, rows = found["mlrun"][-1]["threads"], []
    for feed, seconds, limit in zip(FEEDS, peers, case.limits, strict=True):
        if abs(losses["mlrun"] / losses[feed] - 1) > LOSS_TOLERANCE:
            raise RuntimeError(
                f"{case.name}: the two do not train the same: training loss {losses['mlrun']:.4f} against {losses[feed]:.4f}"
            )
        note = f"{threads} thread{'s' * (threads > 1)}, training loss {losses['mlrun']:.4f} / {losses[feed]:.4f}"
        rows.append(Row(f"epoch of {case.name}; peer: {feed}", ours, seconds, limit, note))
    return rows


def apart(module: str, *arguments) -> dict:
    """What `one` of the module finds, in a process of its own: no library's state, nor the allocator's, is left from another measurement."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        output = subprocess.run(
            command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
    return json.loads(output.splitlines()[-1])


def one(key: str, who: str, threads: str) -> dict:
    """{seconds, loss, threads} of a case, through mlrun or as a plain loop with `who` as its feed."""
    from mlrun.config.compose import compose

    case = CASES[key]
    overrides = [
        *case.overrides,
        f"dataset.batch_size={case.batch}",
        f"trainer.max_epochs={EPOCHS}",
        "trainer=cpu",
        "optim=adam",
        f"optim.lr={LR}",
    ]
    cfg = compose(overrides)
    if who == "mlrun":
        clock = through_mlrun(cfg, overrides)
        return {"seconds": clock.seconds, "loss": clock.loss, "threads": clock.threads}
    seconds, loss = plain_loop(cfg, who, int(threads))
    return {"seconds": seconds, "loss": loss, "threads": int(threads)}


class Clock:
    """A run's progress that only notes when epochs end."""

    due = False

    def start(self, *arguments, **options):
        import torch

        self.ends, self.loss, self.threads = [time.perf_counter()], None, torch.get_num_threads()

    def epoch(self, epoch, metrics):
        self.ends.append(time.perf_counter())
        self.loss = metrics["train/loss"]

    def step(self, *arguments):
        pass

    def stop(self):
        pass

    @property
    def seconds(self) -> float:
        """The median of the epochs after the first, validation, checkpoint and logging included."""
        return statistics.median(b - a for a, b in zip(self.ends[1:-1], self.ends[2:], strict=True))


def through_mlrun(cfg, overrides) -> Clock:
    from mlrun.experiment.run import run

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        clock.result = run(cfg, Path(folder) / "run", overrides, report=reporting_to(clock))
    return clock


def reporting_to(clock):
    """A report that shows nothing, and whose progress is `clock`."""
    from mlrun.report import silent

    return SimpleNamespace(**{**vars(silent), "Progress": lambda *_, **__: clock})


def plain_loop(cfg, feed: str, threads: int) -> tuple[float, float]:
    """(seconds of an epoch, mean training loss of the last): no item() per step, validation and the metrics of it after each epoch."""
    import torch
    from torch.nn import functional as F
    from torch.nn.utils import clip_grad_norm_

    torch.manual_seed(1)
    torch.set_num_threads(threads)
    network, read, val = setting(cfg, feed)
    optimizer = torch.optim.Adam(network.parameters(), lr=LR, fused=True if feed != "DataLoader" else None)
    text, clip = cfg.dataset.problem == "language_modeling", cfg.trainer.gradient_clip_val

    def scores_of(x, y):
        """Scores (values, classes) and targets (values,)."""
        scores = network(x)
        return (scores[0].flatten(0, 1), y.flatten()) if text else (scores, y)

    ends = [time.perf_counter()]
    for _ in range(EPOCHS):
        network.train()
        total, correct, count = torch.zeros(()), torch.zeros(()), 0
        for x, y in read():
            scores, y = scores_of(x, y)
            loss = F.cross_entropy(scores, y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if clip:
                clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            total += loss.detach() * len(y)
            count += len(y)
            if not text:
                correct += (scores.argmax(1) == y).sum()
        network.eval()
        val_total, val_correct = torch.zeros(()), torch.zeros(())
        with torch.inference_mode():
            for x, y in val():
                scores, y = scores_of(x, y)
                val_total += F.cross_entropy(scores, y, reduction="sum")
                if not text:
                    val_correct += (scores.argmax(1) == y).sum()
        mean_loss, *_ = [value.item() / count for value in (total, correct, val_total, val_correct)]
        ends.append(time.perf_counter())
    return statistics.median(b - a for a, b in zip(ends[1:-1], ends[2:], strict=True)), mean_loss


def setting(cfg, feed: str):
    """(network, training batches, validation batches); batches are made by calling these."""
    from mlrun.config.instantiate import build

    data = build(cfg.dataset, {"seed": 1, "data_dir": None, "name": cfg.dataset.name})
    facts, *batches = (windows if cfg.dataset.problem == "language_modeling" else images)(
        data, feed, cfg.dataset.batch_size
    )
    return build(cfg.model.network, facts), *batches


def images(data, feed: str, batch: int):
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    shape = (1, 28, 28)
    facts = {"input_shape": shape, "image_shape": shape, "num_outputs": 10, "num_classes": 10}
    parts = {}
    for part in ("train", "val"):
        examples = data.examples(part)
        pixels = torch.from_numpy(np.asarray(examples["image"])).float().div_(255).view(-1, *shape)
        parts[part] = pixels, torch.from_numpy(examples["label"])
    if feed == "DataLoader":
        sets = {part: TensorDataset(*tensors) for part, tensors in parts.items()}
        train, val = DataLoader(sets["train"], batch, shuffle=True), DataLoader(sets["val"], batch)
        return facts, lambda: train, lambda: val
    (x, y), val = parts["train"], parts["val"]
    by_hand = lambda: ((x[rows], y[rows]) for rows in torch.randperm(len(y)).split(batch))
    return facts, by_hand, lambda: zip(*(tensor.split(batch) for tensor in val))


def windows(data, feed: str, batch: int):
    import torch
    from torch.utils.data import DataLoader, Dataset, RandomSampler

    from mlrun.data.preprocess.preprocessor import make_preprocessor

    preprocessor = make_preprocessor(None, data)
    parts = (data.stream(part, preprocessor).tokens for part in ("train", "val"))
    train, val = (torch.from_numpy(tokens.astype("int64")) for tokens in parts)
    context, steps = data.context_length, data.steps_per_epoch
    facts = {**data.spec, **preprocessor.spec}
    rows = len(val) // context // 64 * 64  # as many windows a batch as mlrun takes
    x, y = val[: rows * context].view(rows, context), val[1 : rows * context + 1].view(rows, context)

    class Windows(Dataset):
        def __len__(self):
            return len(train) - context

        def __getitem__(self, start):
            return train[start : start + context], train[start + 1 : start + context + 1]

    def by_hand():
        for starts in torch.randint(len(train) - context, (steps, batch)):
            window = train[starts[:, None] + torch.arange(context + 1)]
            yield window[:, :-1], window[:, 1:]

    loader = DataLoader(Windows(), batch, sampler=RandomSampler(Windows(), replacement=True, num_samples=steps * batch))
    return facts, (lambda: loader) if feed == "DataLoader" else by_hand, lambda: zip(x.split(64), y.split(64))


if __name__ == "__main__":
    print(json.dumps(one(*sys.argv[1:])))
