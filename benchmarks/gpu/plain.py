"""Plain scripts that the parts compare with: loops as their authors write them, around the same networks and data on the GPU."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.gpu.measuring import synchronized


def prepared(overrides: list[str]) -> tuple[Any, Any, Any]:
    """(configuration, data, preprocessor) of a run."""
    from mlrun.config.compose import compose
    from mlrun.config.instantiate import build
    from mlrun.data.preprocess.preprocessor import make_preprocessor

    cfg = compose(overrides)
    data = build(cfg.dataset, {"seed": cfg.seed, "data_dir": cfg.data_dir, "name": cfg.dataset.name}, "dataset")
    data.prepare()
    return cfg, data, make_preprocessor(None, data)


def networks(cfg: Any, data: Any, preprocessor: Any, *names: str) -> list[Any]:
    """The networks of a model's configuration."""
    from mlrun.config.instantiate import build

    return [build(cfg.model[name], {**data.spec, **preprocessor.spec}, f"model.{name}") for name in names]


def epochs(count: int, steps: int, step: Any, device: str) -> float:
    """Seconds of an epoch of `steps` calls of `step`: the median of those after the first."""
    spans = []
    for _ in range(count):
        start = synchronized(device)
        for _ in range(steps):
            step()
        spans.append(synchronized(device) - start)
    return statistics.median(spans[1:] or spans)


def nanogpt(overrides: list[str], count: int, device: str, compiled: bool) -> tuple[float, float]:
    """(seconds of an epoch, validation loss) of nanoGPT's training loop: random windows, fused AdamW in two groups, clipping, bfloat16,
    warmup and cosine. Karpathy, nanoGPT, train.py."""
    import math

    import torch
    from torch.nn import functional as F

    cfg, data, preprocessor = prepared(overrides)
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high")
    (network,) = networks(cfg, data, preprocessor, "network")
    network.to(device)
    model = torch.compile(network) if compiled else network
    decayed = [one for one in network.parameters() if one.dim() >= 2]
    others = [one for one in network.parameters() if one.dim() < 2]
    lr, betas = cfg.optim.lr, tuple(cfg.optim.betas)
    groups = [{"params": decayed, "weight_decay": cfg.optim.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas, fused=device == "cuda")
    train, val = (
        torch.from_numpy(data.stream(part, preprocessor).tokens.astype("int64")).to(device) for part in ("train", "val")
    )
    size, batch, steps = data.context_length, data.batch_size, data.steps_per_epoch
    offsets, total, taken = torch.arange(size + 1, device=device), count * steps, 0
    cast = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")

    def loss_of(tokens: Any, starts: Any) -> Any:
        window = tokens[starts[:, None] + offsets]
        with cast:
            return F.cross_entropy(model(window[:, :-1])[0].flatten(0, 1), window[:, 1:].flatten())

    def step() -> None:
        nonlocal taken
        taken += 1
        warm = min(1.0, taken / cfg.scheduler.warmup)
        rate = lr * warm * (0.1 + 0.45 * (1 + math.cos(math.pi * taken / total)))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(train, torch.randint(len(train) - size, (batch,), device=device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), cfg.trainer.gradient_clip_val)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    seconds = epochs(count, steps, step, device)
    network.eval()
    with torch.inference_mode():
        starts = torch.arange(0, len(val) - size - 1, size, device=device).split(batch)
        losses = [(loss_of(val, one).item(), len(one)) for one in starts]
    return seconds, sum(loss * rows for loss, rows in losses) / sum(rows for _, rows in losses)


def images_on(data: Any, preprocessor: Any, device: str) -> Any:
    """Encoded training images on the device."""
    import torch

    from mlrun.data.batches import whole_batch

    encoded = preprocessor.encode(data.examples("train"))
    return torch.as_tensor(whole_batch(encoded)["pixel_values"]).to(device)


def dcgan(overrides: list[str], count: int, device: str) -> float:
    """Seconds of an epoch of DCGAN with hinge loss, as PyTorch's example trains it: one step of each network a batch."""
    import torch
    from torch.nn import functional as F

    cfg, data, preprocessor = prepared(overrides)
    generator, discriminator = (
        one.to(device) for one in networks(cfg, data, preprocessor, "generator", "discriminator")
    )
    optimizers = [
        torch.optim.Adam(one.parameters(), lr=cfg.optim.lr, betas=tuple(cfg.optim.betas), fused=device == "cuda")
        for one in (generator, discriminator)
    ]
    x, batch = images_on(data, preprocessor, device), data.batch_size
    cast = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")

    def step() -> None:
        real = x[torch.randint(len(x), (batch,), device=device)]
        code = torch.randn(batch, generator.latent_size, device=device)
        with cast:
            fake = generator(code, None)
            loss = F.relu(1 - discriminator(real, None)).mean() + F.relu(1 + discriminator(fake.detach(), None)).mean()
        optimizers[1].zero_grad(set_to_none=True)
        loss.backward()
        optimizers[1].step()
        with cast:
            loss = -discriminator(generator(code, None), None).mean()
        optimizers[0].zero_grad(set_to_none=True)
        loss.backward()
        optimizers[0].step()

    return epochs(count, len(x) // batch, step, device)


def diffusion(overrides: list[str], count: int, device: str) -> float:
    """Seconds of an epoch of denoising diffusion with a cosine schedule: Ho et al. 2020, algorithm 1."""
    import torch
    from torch.nn import functional as F

    cfg, data, preprocessor = prepared(overrides)
    (network,) = (one.to(device) for one in networks(cfg, data, preprocessor, "network"))
    optimizer = torch.optim.Adam(network.parameters(), lr=cfg.optim.lr, fused=device == "cuda")
    x, batch, times = images_on(data, preprocessor, device), data.batch_size, cfg.model.steps
    labels = torch.from_numpy(data.examples("train")["label"]).to(device)
    clock = (torch.arange(times + 1, device=device) / times + 0.008) / 1.008 * torch.pi / 2
    share = (clock.cos() ** 2 / clock[0].cos() ** 2)[1:].clamp(1e-5, 1)
    cast = torch.autocast(device, torch.bfloat16, enabled=device == "cuda")

    def step() -> None:
        rows = torch.randint(len(x), (batch,), device=device)
        time, noise = torch.randint(times, (batch,), device=device), torch.randn(batch, *x.shape[1:], device=device)
        kept = share[time].view(-1, 1, 1, 1)
        with cast:
            loss = F.mse_loss(network(kept.sqrt() * x[rows] + (1 - kept).sqrt() * noise, time, labels[rows]), noise)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return epochs(count, len(x) // batch, step, device)
