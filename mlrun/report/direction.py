"""Whether more of a metric is better, judged by its name."""

from __future__ import annotations

SMALLER_IS_BETTER = ("loss", "error", "rmse", "mae", "mse", "perplexity", "nll", "fid", "wer", "cer", "inertia")


def mode_of(metric: str) -> str:
    """Either "min" or "max", for callers that do not know the task's own mode."""
    name = metric.split("/")[-1]
    return "min" if any(part in SMALLER_IS_BETTER for part in name.split("_")) else "max"
