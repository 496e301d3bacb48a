"""`mlrun check`: whether this installation works. Versions, devices, a short training, MLflow write and read, optional extras."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

SUMMARY = "test this installation: versions, devices, a short training run, MLflow"
PACKAGES = ("hydra-core", "omegaconf", "torch", "lightning", "scikit-learn", "mlflow", "rich", "matplotlib", "pandas")
EXTRAS = {  # extra -> (module, what it is for)
    "test": ("pytest", "the tests"),
    "hub": ("datasets", "dataset=huggingface"),
}


def run(argv: list[str]) -> int:
    """Runs all checks, even after a failure; returns the exit status, 1 if a check failed."""
    argparse.ArgumentParser(
        prog="mlrun check", description="Tests this installation: versions, devices, a short training run, MLflow."
    ).parse_args(argv)
    failures = 0
    for name, probe in (
        ("python", _python),
        ("packages", _packages),
        ("devices", _devices),
        ("training", _training),
        ("extras", _extras),
    ):
        try:
            for line in probe():
                print(f"{name:10} {line}", flush=True)
        except Exception as error:  # report everything that is broken, not only the first
            failures += 1
            print(f"{name:10} FAILED: {type(error).__name__}: {' '.join(str(error).split())}", flush=True)
    print("everything works" if not failures else f"{failures} of the checks failed")
    return 1 if failures else 0


def _python() -> Iterator[str]:
    yield f"{platform.python_version()} on {platform.platform()}, {os.cpu_count()} cores"


def _packages() -> Iterator[str]:
    yield f"mlrun {version('mlrun')}"
    yield ", ".join(f"{package} {version(package)}" for package in PACKAGES)


def _devices() -> Iterator[str]:
    import torch

    yield f"CPU with {torch.get_num_threads()} threads for torch"
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        yield f"GPU {index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB"
    if not torch.cuda.device_count():
        yield f"no GPU (torch {torch.__version__}{', built without CUDA' if torch.version.cuda is None else ''})"


def _training() -> Iterator[str]:
    """A complete run in a temporary directory: training, figures, MLflow; then its record is read back."""
    from mlrun.config.compose import compose
    from mlrun.experiment.run import run as run_experiment
    from mlrun.report import silent

    here, uri = os.getcwd(), os.environ.pop("MLFLOW_TRACKING_URI", None)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            logging.captureWarnings(True)
            start = time.perf_counter()
            cfg = compose(["model=mlp", "dataset=digits", "trainer=cpu", "trainer.max_epochs=10"])
            result = run_experiment(cfg, Path(folder) / "run", report=silent)
            accuracy = result.metrics["test/accuracy"]
            if accuracy < 0.93:
                raise RuntimeError(f"the mlp reached an accuracy of only {accuracy:.3f} on digits")
            yield f"mlp on digits: test accuracy {accuracy:.3f} in {time.perf_counter() - start:.1f} s"
            yield from _mlflow(result.run_id)
        finally:
            os.chdir(here)
            if uri is not None:
                os.environ["MLFLOW_TRACKING_URI"] = uri


def _mlflow(run_id: str | None) -> Iterator[str]:
    from mlrun.tracking.read import read_run

    if run_id is None:
        raise RuntimeError("MLflow did not record the run")
    stored = read_run(run_id)
    if stored.status != "FINISHED" or "test/accuracy" not in stored.metrics:
        raise RuntimeError(f"MLflow returned a run that is {stored.status} with {len(stored.metrics)} metrics")
    yield f"MLflow wrote and read a run with {len(stored.params)} parameters and {len(stored.metrics)} metrics"


def _extras() -> Iterator[str]:
    for extra, (module, purpose) in EXTRAS.items():
        if importlib.util.find_spec(module) is not None:
            yield f"[{extra}] installed: {purpose}"
        else:
            yield f"[{extra}] absent: {purpose} (pip install 'mlrun[{extra}]')"
