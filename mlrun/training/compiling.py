"""`trainer.compile`: the network through torch.compile while it trains."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn

from mlrun.report.notify import notify


@contextmanager
def compiled(task: nn.Module, wanted: bool | str) -> Iterator[None]:
    """Within it the task's networks train compiled; in evaluation they run uncompiled, so that nothing is compiled for other shapes.

    A network that cannot be compiled here, because there is no C++ compiler or because of its own code, trains uncompiled,
    and the user is notified once.

    Args:
        task: holds the networks as child modules.
        wanted: False, True, or a mode of torch.compile ("reduce-overhead" uses CUDA graphs).
    """
    network = getattr(task, "network", None)
    networks = ([network] if network is not None else list(task.children())) if wanted else []
    for network in networks:
        _compile(network, None if wanted is True else str(wanted))
    try:
        yield
    finally:
        for network in networks:
            vars(network).pop("forward", None)


def _compile(network: nn.Module, mode: str | None) -> None:
    """Replaces `network.forward` by a method that is compiled in training mode."""
    from mlrun.networks.layers.torch_internals import compiler_errors

    plain = type(network).forward
    fast = torch.compile(plain, mode=mode)  # shapes become dynamic by themselves once a second one is seen
    failures = compiler_errors()

    def forward(self: nn.Module, *arguments: Any, **options: Any) -> Any:
        if not self.training:
            return plain(self, *arguments, **options)
        try:
            return fast(self, *arguments, **options)
        except failures as error:
            vars(self).pop("forward", None)
            reason = " ".join(str(error).split())[:200]
            notify(
                f"trainer.compile: {type(self).__name__} could not be compiled; it trains uncompiled "
                f"({type(error).__name__}: {reason})",
                logging.WARNING,
            )
            return plain(self, *arguments, **options)

    network.forward = MethodType(forward, network)  # a method: in a deep copy of the network it belongs to the copy
