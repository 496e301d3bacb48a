"""The parts of the GPU benchmark: each a list of steps that are measured one by one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.gpu import plain
from benchmarks.gpu.measuring import Measured, Place, ratio, through_mlrun

FIVE_EPOCHS = {  # preset of Fashion-MNIST -> published test accuracy after five epochs
    "alexnet": 0.902, "vgg": 0.918, "nin": 0.831, "googlenet": 0.896, "resnet": 0.926, "densenet": 0.884,
}  # fmt: skip
POINTS = 0.03  # either way
SMALL_IMAGES = (  # toy sizes
    "dataset.split={train: 64, val: 16, test: 16}", "dataset.batch_size=16", "trainer.max_epochs=1",
)  # fmt: skip
DIGITS = (
    "dataset=digits",
    "dataset.image_size=32",
    "dataset.split={train: 96, val: 32, test: 32}",
    "dataset.batch_size=32",
)


@dataclass(frozen=True)
class Step:
    """name: for the report; measure: place -> its lines; seconds: that it takes on an H100, about."""

    name: str
    measure: Callable[[Place], list[Measured]]
    seconds: float


@dataclass(frozen=True)
class Part:
    title: str
    steps: tuple[Step, ...]


def language(place: Place, compiled: bool) -> list[Measured]:
    """The GPT of nanoGPT's character-level example, for the first epochs of its schedule."""
    epochs = 2 if place.rehearse else 4
    toy = (
        "dataset=text_file", "dataset.context_length=16", "dataset.steps_per_epoch=2", "dataset.batch_size=4", "model.network.layers=1",
        "model.network.width=16", "model.network.heads=2", "dataset.split={train: 0.02, val: 2000, test: 0}",
    )  # fmt: skip
    given = (
        "experiment=tinyshakespeare/gpt_gpu",
        f"trainer.max_epochs={epochs}",
        f"trainer.compile={str(compiled).lower()}",
    )
    overrides = place.overrides(*given, toy=(*toy, "trainer.compile=false"))
    result, clock = through_mlrun(overrides)
    seconds, loss = plain.nanogpt(overrides, epochs, place.device, compiled and not place.rehearse)
    _, data, _ = plain.prepared(overrides)
    tokens = data.steps_per_epoch * data.batch_size * data.context_length
    how = "compiled" if compiled else "not compiled"
    note = f"{tokens / clock.seconds:,.0f} / {tokens / seconds:,.0f} tokens/s; validation loss {result.metrics['val/loss']:.4f} / {loss:.4f}"
    return [
        ratio(f"GPT of nanoGPT, {how}: epoch of mlrun over one of nanoGPT's loop", clock.seconds, seconds, 1.0, note)
    ]


def five_epochs(place: Place, name: str) -> list[Measured]:
    """A preset as it is. Its network is too large for a rehearsal, where LeNet stands in."""
    overrides = [f"experiment=fashion_mnist/{name}", "trainer=gpu", "trainer.max_epochs=5"]
    if place.rehearse:
        from mlrun.config.compose import compose

        compose(overrides)
        overrides = place.overrides("model=lenet", "dataset=digits", toy=SMALL_IMAGES)
    result, _ = through_mlrun(overrides)
    accuracy, published = result.metrics["test/accuracy"], FIVE_EPOCHS[name]
    holds = abs(accuracy - published) <= POINTS
    note = f"published {published:.3f}; fit {result.seconds['fit']:.0f} s"
    title = f"{name} on Fashion-MNIST, five epochs: test accuracy"
    return [Measured(title, f"{accuracy:.3f}", f"± {POINTS:g}", holds, note)]


def cifar(place: Place) -> list[Measured]:
    from mlrun.errors import UserError

    given = ("model=resnet", "trainer=gpu", "augment=crop_flip", "trainer.max_epochs=10")
    try:
        result, clock = through_mlrun(place.overrides(*given, *(() if place.rehearse else ("dataset=cifar10",)), toy=(
            *SMALL_IMAGES, "dataset=digits", "augment=none", "model.network.depth=8",
        )))  # fmt: skip
    except UserError as error:
        return [Measured("ResNet on CIFAR-10", "not measured", note=str(error)[:100])]
    note = f"{clock.seconds:.1f} s an epoch"
    return [
        Measured("ResNet on CIFAR-10, ten epochs: test accuracy", f"{result.metrics['test/accuracy']:.3f}", note=note)
    ]


def generative(place: Place, name: str) -> list[Measured]:
    epochs = 2 if place.rehearse else 3
    toys = {
        "dcgan": ("model.generator.channels=[8,8,8]", "model.discriminator.channels=[8,8,8]"),
        "diffusion": (
            "model.network.channels=[8,8]",
            "model.network.blocks=1",
            "model.steps=20",
            "model.sampling_steps=2",
        ),
    }
    overrides = place.overrides(
        f"experiment=fashion_mnist/{name}_gpu", f"trainer.max_epochs={epochs}", toy=(*DIGITS, *toys[name])
    )
    if name == "diffusion":  # the other samples after every epoch, and is judged by that
        overrides.append("model.evaluators=[]")
    _, clock = through_mlrun(overrides)
    seconds = getattr(plain, name)(overrides, epochs, place.device)
    note = "with mlrun's validation"
    return [
        ratio(f"{name} on Fashion-MNIST: epoch of mlrun over one of a plain script", clock.seconds, seconds, 1.2, note)
    ]


def jobs(place: Place) -> list[Measured]:
    """Eight small jobs at once on one GPU, against one after the other."""
    count, epochs = (2, 1) if place.rehearse else (8, 30)
    seeds = ",".join(map(str, range(1, count + 1)))
    given = ["-m", "model=cnn", "dataset=digits", f"seed={seeds}", f"trainer.max_epochs={epochs}", "model.figures=[]"]
    given += ["trainer.accelerator=cpu"] if place.rehearse else ["trainer=gpu"]
    spans = []
    for at_once in (1, count):
        slots = f"hydra.launcher.slots={at_once}" if place.rehearse else f"hydra.launcher.jobs_per_gpu={at_once}"
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            mlrun(folder, *given, slots)
            spans.append(time.perf_counter() - start)
    gain = spans[0] / spans[1]
    return [
        Measured(
            f"{count} small jobs on one GPU at once: speed against one after the other", f"{gain:.1f}", "≥ 3", gain >= 3,
            f"{spans[0]:.0f} s / {spans[1]:.0f} s, imports of the sweep included",
        )
    ]  # fmt: skip


def mlrun(folder: str, *arguments: str) -> None:
    """The command, in a process of its own. Raises RuntimeError with what it printed."""
    root = str(Path(__file__).resolve().parents[2])
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        "MLRUN_WARM": "0",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, "-m", "mlrun", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-2000:])


def auto_batch(place: Place) -> list[Measured]:
    """Memory is made scarce, so that the batch must be halved; what was halved must be given back."""
    import torch

    given = ("model=vgg", "dataset=fashion_mnist", "dataset.image_size=224", "trainer=gpu", "trainer.max_epochs=1", "trainer.auto_batch=true",
             "dataset.batch_size=2048", "dataset.split={train: 4096, val: 256, test: 256}")  # fmt: skip
    toy = (*SMALL_IMAGES, "model=lenet", "dataset=digits", "dataset.image_size=null", "trainer.auto_batch=true")
    if place.rehearse:
        result, _ = through_mlrun(place.overrides(*toy))
        return [
            Measured(
                "auto_batch after an out-of-memory error: peak memory",
                "rehearsed",
                note=f"accuracy {result.metrics['test/accuracy']:.2f}",
            )
        ]
    limit = 8 * 2**30
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
    through_mlrun(list(given))
    peak, left = torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
    note = f"{left / 2**20:.0f} MiB left afterwards; batch of 2048 at first"
    return [Measured("auto_batch with 8 GiB: peak memory, GiB", f"{peak / 2**30:.2f}", "≤ 8", peak <= limit, note)]


def resume(place: Place) -> list[Measured]:
    """Three epochs at once, against two and a third that resumes from the checkpoint."""
    given = (
        "model=cnn",
        "dataset=fashion_mnist",
        "trainer=gpu",
        "trainer.precision=32-true",
        "dataset.split={train: 6000, val: 1000, test: 1000}",
    )
    toy = (*SMALL_IMAGES[:2], "dataset=digits")
    words = place.overrides(*given, toy=toy)
    losses = []
    with tempfile.TemporaryDirectory() as folder:
        _, clock = through_mlrun([*words, "trainer.max_epochs=3"], folder)
        losses.append(clock.metrics[-1]["train/loss"])
    with tempfile.TemporaryDirectory() as folder:
        through_mlrun([*words, "trainer.max_epochs=2"], folder)
        last = Path(folder) / "run" / "checkpoints" / "last.ckpt"
        _, clock = through_mlrun([*words, "trainer.max_epochs=3"], folder, resume=last)
        losses.append(clock.metrics[-1]["train/loss"])
    gap = abs(losses[0] / losses[1] - 1)
    note = f"training loss {losses[0]:.6f} / {losses[1]:.6f}; cuDNN's sums are not always in the same order"
    return [
        Measured(
            "resumed on the GPU against not interrupted: relative difference of the loss",
            f"{gap:.1e}",
            "≤ 1e-3",
            gap <= 1e-3,
            note,
        )
    ]


def gains(place: Place) -> list[Measured]:
    """What trainer.compile and bfloat16 gain."""
    base = (
        "model=resnet",
        "dataset=fashion_mnist",
        "dataset.batch_size=512",
        "trainer.max_epochs=4",
        "trainer=gpu",
        "model.figures=[]",
    )
    settings = {
        "float32": ("trainer.precision=32-true",),
        "bf16-mixed": ("trainer.precision=bf16-mixed",),
        "bf16-mixed, compiled": ("trainer.precision=bf16-mixed", "trainer.compile=true"),
    }
    toy = (*SMALL_IMAGES, "dataset=digits", "model.network.depth=8", "trainer.compile=false", "trainer.max_epochs=2")
    seconds = {}
    for name, words in settings.items():
        _, clock = through_mlrun(place.overrides(*base, *words, toy=toy))
        seconds[name] = clock.seconds
    return [
        Measured(
            f"ResNet on Fashion-MNIST, epoch with {name}: speed against float32",
            f"{seconds['float32'] / one:.2f}",
            note=f"{one:.2f} s",
        )
        for name, one in seconds.items()
        if name != "float32"
    ]


def later(place: Place) -> list[Measured]:
    """Steps of methods that this version may not have: a detector, BERT, CLIP."""
    from mlrun.config.catalogue import entries

    found = []
    names = {entry.name for entry in entries("model")}
    for name in ("yolo", "bert", "clip"):
        if name not in names:
            found.append(Measured(f"{name}: seconds of an epoch", "not in this version"))
            continue
        extra = ("trainer.max_epochs=1",) if place.rehearse else ("trainer=gpu", "trainer.max_epochs=2")
        if place.rehearse:  # their sizes are their own
            found.append(Measured(f"{name}: seconds of an epoch", "not rehearsed"))
            continue
        _, clock = through_mlrun([f"model={name}", *extra])
        found.append(Measured(f"{name}: seconds of an epoch", f"{clock.seconds:.2f}", note="default sizes"))
    return found


PARTS = (
    Part("A language model", (
        Step("gpt", lambda place: language(place, False), 45), Step("gpt compiled", lambda place: language(place, True), 90),
    )),
    Part("Published accuracies of five epochs", tuple(
        Step(name, lambda place, name=name: five_epochs(place, name), 60) for name in FIVE_EPOCHS
    )),
    Part("CIFAR-10", (Step("resnet", cifar, 60),)),
    Part("Generative models", (
        Step("dcgan", lambda place: generative(place, "dcgan"), 30), Step("diffusion", lambda place: generative(place, "diffusion"), 50),
    )),
    Part("Several jobs on one GPU", (Step("jobs", jobs, 90),)),
    Part("Memory", (Step("auto_batch", auto_batch, 30),)),
    Part("Resuming", (Step("resume", resume, 20),)),
    Part("Compilation and precision", (Step("gains", gains, 60),)),
    Part("Later methods", (Step("steps", later, 60),)),
)  # fmt: skip


def missing_packages() -> list[str]:
    """What must be installed before the parts can run."""
    return [name for name in ("torch", "lightning", "mlflow", "hydra", "sklearn") if find_spec(name) is None]
