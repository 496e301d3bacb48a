"""An epoch of training on Fashion-MNIST through mlrun, metrics and MLflow on, against a plain PyTorch loop with a DataLoader."""

import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.comparison import Row, interleave

EPOCHS = 3  # of which the first warms up
LOSS_TOLERANCE = 0.05  # of the last epoch's mean training loss


def compare() -> "list[Row]":
    from mlrun.config.compose import compose

    overrides = ["model=mlp", "dataset=fashion_mnist", "dataset.batch_size=64", f"trainer.max_epochs={EPOCHS}", "trainer=cpu"]
    cfg = compose(overrides)
    losses = {"ours": [], "peer": []}

    def ours():
        seconds, loss = through_mlrun(cfg, overrides)
        losses["ours"].append(loss)
        return seconds

    def peer():
        seconds, loss = plain_loop()
        losses["peer"].append(loss)
        return seconds

    times = interleave(ours, peer, pairs=5)
    ours_loss, peer_loss = (statistics.mean(losses[who]) for who in ("ours", "peer"))
    if abs(ours_loss / peer_loss - 1) > LOSS_TOLERANCE:
        raise SystemExit(f"the two do not train the same: training loss {ours_loss:.4f} against {peer_loss:.4f}")
    return [Row("epoch of mlp 784-256-10, batch 64", *times, limit=1.10, note=f"training loss {ours_loss:.4f} / {peer_loss:.4f}")]


class Clock:
    """A run's progress that only notes when epochs end."""

    due = False

    def start(self, *arguments, **options):
        self.ends, self.loss = [time.perf_counter()], None

    def epoch(self, epoch, metrics):
        self.ends.append(time.perf_counter())
        self.loss = metrics["train/loss"]

    def stop(self):
        pass

    @property
    def seconds(self) -> float:
        """The median of the epochs after the first, validation, checkpoint and logging included."""
        return statistics.median(b - a for a, b in zip(self.ends[1:-1], self.ends[2:], strict=True))


def through_mlrun(cfg, overrides) -> "tuple[float, float]":
    from mlrun.experiment import run
    from mlrun.report import silent

    clock = Clock()
    report = type("Report", (), {"config_summary": silent.config_summary, "result_table": silent.result_table, "Progress": lambda: clock})
    with tempfile.TemporaryDirectory() as folder:
        run(cfg, Path(folder) / "run", overrides, report=report)
    return clock.seconds, clock.loss


def plain_loop() -> "tuple[float, float]":
    """The same network, split and optimizer as a good engineer would write them: a DataLoader, no item() per step, validation after each epoch."""
    import torch
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset

    from mlrun.config.compose import compose
    from mlrun.config.instantiate import build

    cfg = compose(["dataset=fashion_mnist"])
    data = build(cfg.dataset, {"seed": 1, "data_dir": None, "name": "fashion_mnist"})
    parts = {part: data.arrays(part) for part in ("train", "val")}
    tensors = {part: TensorDataset(torch.from_numpy(a.x).float().div_(255), torch.from_numpy(a.y)) for part, a in parts.items()}
    train = DataLoader(tensors["train"], batch_size=64, shuffle=True)
    val = DataLoader(tensors["val"], batch_size=64)
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    criterion = nn.CrossEntropyLoss()
    torch.set_num_threads(1)  # the better number for this network on these cores, as mlrun chooses it
    ends = [time.perf_counter()]
    for _ in range(EPOCHS):
        network.train()
        total, correct = torch.zeros(()), torch.zeros(())
        for x, y in train:
            scores = network(x)
            loss = criterion(scores, y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(y)
            correct += (scores.argmax(1) == y).sum()
        network.eval()
        with torch.inference_mode():
            torch.stack([(network(x).argmax(1) == y).float().mean() for x, y in val]).mean().item()
        mean_loss = total.item() / len(tensors["train"])
        ends.append(time.perf_counter())
    return statistics.median(b - a for a, b in zip(ends[1:-1], ends[2:], strict=True)), mean_loss
