"""GPT on tiny Shakespeare by the preset `tinyshakespeare/gpt_cpu`, against a plain PyTorch loop of the same network, as nanoGPT has it."""

import math
import statistics
import time

from benchmarks.comparison import Row, interleave
from benchmarks.training import Clock, through_mlrun

EPOCHS, STEPS = 3, 100  # epochs of so many steps, of which the first warms up
LOSS_TOLERANCE = 0.05  # of the last epoch's mean training loss
CONTEXT, BATCH, ROWS = 64, 12, 64


def compare() -> "list[Row]":
    from mlrun.config.compose import compose

    overrides = ["experiment=tinyshakespeare/gpt_cpu", f"trainer.max_epochs={EPOCHS}", f"dataset.steps_per_epoch={STEPS}", "trainer.accelerator=cpu"]
    overrides += ["trainer.threads=1", "model.sample_length=1"]
    cfg = compose(overrides)
    losses = {"ours": [], "peer": []}

    def ours():
        seconds, loss = through_mlrun(cfg, overrides)
        losses["ours"].append(loss)
        return seconds

    def peer():
        seconds, loss, _ = plain_loop(STEPS, EPOCHS)
        losses["peer"].append(loss)
        return seconds

    times = interleave(ours, peer, pairs=3)
    ours_loss, peer_loss = (statistics.mean(losses[who]) for who in ("ours", "peer"))
    if abs(ours_loss / peer_loss - 1) > LOSS_TOLERANCE:
        raise SystemExit(f"the two do not train the same: training loss {ours_loss:.4f} against {peer_loss:.4f}")
    note = f"{STEPS} steps and a validation, one thread, training loss {ours_loss:.4f} / {peer_loss:.4f}"
    return [Row("gpt 4 layers, width 128, 12 windows of 64", *times, limit=1.0, note=note)]


def plain_loop(steps: int, epochs: int, seed: int = 1) -> "tuple[float, float, float]":
    """Seconds of an epoch of `steps` updates and a validation, mean training loss of the last one, its validation loss."""
    import torch
    from torch.nn import functional as F

    from mlrun.data.download import data_directory
    from mlrun.networks.gpt import GPT

    text = (data_directory() / "tinyshakespeare" / "input.txt").read_text()
    ids = {character: index for index, character in enumerate(sorted(set(text)))}
    data = torch.tensor([ids[character] for character in text])
    train, val = data[: int(0.9 * len(data))], data[int(0.9 * len(data)) :]
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    network = GPT(len(ids), CONTEXT, width=128, heads=4, layers=4)
    weights = list(network.parameters())
    groups = [
        {"params": [weight for weight in weights if weight.ndim >= 2], "weight_decay": 0.1},
        {"params": [weight for weight in weights if weight.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    total_steps, ends, step = steps * epochs, [time.perf_counter()], 0
    for _ in range(epochs):
        network.train()
        total = torch.zeros(())
        for _ in range(steps):
            share = (step - 100) / max(1, total_steps - 100)
            lr = 1e-3 * (step + 1) / 101 if step < 100 else 1e-4 + 9e-4 * (1 + math.cos(math.pi * share)) / 2
            for group in optimizer.param_groups:
                group["lr"] = lr
            starts = torch.randint(len(train) - CONTEXT, (BATCH,))
            x = torch.stack([train[start : start + CONTEXT] for start in starts])
            y = torch.stack([train[start + 1 : start + CONTEXT + 1] for start in starts])
            logits, _ = network(x)
            loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), y.view(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            total += loss.detach()
            step += 1
        network.eval()
        length = (len(val) - 1) // ROWS
        rows, targets = val[: ROWS * length].view(ROWS, length), val[1 : ROWS * length + 1].view(ROWS, length)
        with torch.inference_mode():
            summed = sum(
                F.cross_entropy(network(x)[0].flatten(0, 1), y.flatten(), reduction="sum")
                for x, y in zip(rows.split(CONTEXT, 1), targets.split(CONTEXT, 1))
            )
        val_loss = summed.item() / rows.numel()
        ends.append(time.perf_counter())
    return statistics.median(b - a for a, b in zip(ends[1:-1], ends[2:], strict=True)), total.item() / steps, val_loss
