"""`python -m benchmarks.detectors`: the R-CNN family and YOLO side by side; non-maximum suppression; a training step against a plain script.

    python -m benchmarks.detectors family --seeds 1 2 3      # default runs: AP50 of the test part and seconds per image
    python -m benchmarks.detectors nms                       # 10,000 boxes
    python -m benchmarks.detectors step                      # YOLO's step in a run and in a loop of a few lines

Everything on one thread, in CPU time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from benchmarks.in_process import prepared, trained

MODELS = ("rcnn", "fast_rcnn", "faster_rcnn", "yolo")
IMAGES, ROUNDS = 64, 5


def seconds_per_image(learner: Any, data: Any) -> float:
    """Median over rounds, 16 images at a time, without reading them."""
    import torch

    batches = list(data.loader("test", learner.preprocessor))[: IMAGES // 32 or 1]
    images = torch.cat([batch["pixel_values"] for batch in batches])[:IMAGES]
    task, times = learner.task.eval(), []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            start = time.process_time()
            for some in images.split(16):
                task.predict({"pixel_values": some})
            times.append((time.process_time() - start) / len(images))
    return statistics.median(times)


def family(models: list[str], seeds: list[int], overrides: list[str]) -> None:
    """One line per run, to be averaged by the reader."""
    print(
        f"{'model':12} {'seed':>4} {'AP50':>6} {'AP':>6} {'s per image':>12} {'training s':>11} {'parameters':>11}",
        flush=True,
    )
    for model in models:
        for seed in seeds:
            learner, data, seconds = trained(f"model={model}", f"seed={seed}", *overrides)
            found = learner.evaluate(data, "test").metrics
            took = seconds_per_image(learner, data)
            print(
                f"{model:12} {seed:4} {found['AP50']:6.3f} {found['AP']:6.3f} {took:12.5f} {seconds:11.0f} "
                f"{learner.training.parameters:11,}",
                flush=True,
            )


def suppression(count: int = 10_000) -> None:
    """Milliseconds of `ops.nms` for random boxes, and of torchvision's where it can be imported."""
    import torch

    from mlrun.networks.vision import ops

    generator = torch.Generator().manual_seed(0)
    for side in (200.0, 1000.0, 4000.0):
        corner = side * torch.rand(count, 2, generator=generator)
        boxes = torch.cat([corner, corner + 20 + 60 * torch.rand(count, 2, generator=generator)], 1)
        scores = torch.rand(count, generator=generator)
        functions = {"mlrun": ops.nms}
        try:
            from torchvision.ops import nms

            functions["torchvision"] = nms
        except Exception:  # not installed, or built for another torch
            pass
        for name, function in functions.items():
            times = []
            for _ in range(ROUNDS):
                start = time.process_time()
                kept = function(boxes, scores, 0.5)
                times.append(time.process_time() - start)
            print(
                f"{count} boxes in {side:g} x {side:g}: {name} {1e3 * statistics.median(times):.0f} ms, {len(kept)} stay"
            )


def all_at_once(data: Any, preprocessor: Any) -> list[Any]:
    """The training part as a single batch."""
    data.batch_size = data.sizes["train"]
    return list(data.loader("train", preprocessor))


def step(model: str = "yolo", epochs: int = 3) -> None:
    """Images per second of a training in mlrun, and of a loop of a few lines with the same network, loss, optimizer and batches."""
    import torch

    from mlrun.predictions.learner import make_learner

    settings = (
        f"model={model}",
        "dataset.scenes=1000",
        "dataset.split={train: 0.9, val: 0, test: 0.1}",
        "scheduler=none",
    )
    _, data, seconds = trained(*settings, f"trainer.max_epochs={epochs}")
    rows = epochs * data.sizes["train"]
    print(f"mlrun: {rows / seconds:.0f} images per second, start included")
    cfg, data = prepared(*settings)
    learner = make_learner(cfg, data)
    network = learner.task.network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    (whole,) = all_at_once(data, learner.preprocessor)
    x, boxes, labels = (whole[name] for name in ("pixel_values", "boxes", "labels"))
    start = time.process_time()
    for _ in range(epochs):
        for rows_of in torch.randperm(len(x)).split(cfg["dataset"]["batch_size"]):
            chosen = rows_of.tolist()
            terms = network.loss(x[rows_of], [boxes[at] for at in chosen], [labels[at] for at in chosen])
            optimizer.zero_grad()
            sum(terms.values()).backward()
            optimizer.step()
    print(f"plain script: {epochs * len(x) / (time.process_time() - start):.0f} images per second")


def main() -> None:
    """Runs one of the comparisons."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("family", "nms", "step"))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--overrides", nargs="*", default=[], help="such as dataset.scenes=1000")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.what == "family":
        family(arguments.models, arguments.seeds, arguments.overrides)
    elif arguments.what == "nms":
        suppression()
    else:
        step()


if __name__ == "__main__":
    main()
