"""`trainer.compile`: the network through torch.compile while it trains."""

from __future__ import annotations

import logging
from contextlib import contextmanager

from torch import nn

from mlrun.report.notify import tell


@contextmanager
def compiled(task, wanted: bool | str):
    """Within it the task's networks train compiled; in evaluation they run as they are, so that no other shape is compiled for.

    wanted: False, True, or a mode of torch.compile ("reduce-overhead" uses CUDA graphs). A network that cannot be compiled here, for want of
    a compiler or by its own code, goes on uncompiled, which is said once.
    """
    network = getattr(task, "network", None)
    networks = ([network] if network is not None else [child for child in task.children()]) if wanted else []
    for network in networks:
        _compile(network, None if wanted is True else wanted)
    try:
        yield
    finally:
        for network in networks:
            network._compiled_call_impl = None


def _compile(network: nn.Module, mode: str | None) -> None:
    from torch._dynamo.exc import TorchDynamoException

    network.compile(mode=mode)  # dynamic shapes by itself: once the second shape is seen
    fast = network._compiled_call_impl

    def call(*arguments, **options):
        if not network.training:
            return network._call_impl(*arguments, **options)
        try:
            return fast(*arguments, **options)
        except (TorchDynamoException, ImportError) as error:
            network._compiled_call_impl = None
            reason = " ".join(str(error).split())[:200]
            message = f"trainer.compile: {type(network).__name__} could not be compiled, and trains as it is ({type(error).__name__}: {reason})"
            tell(message, logging.WARNING)
            return network._call_impl(*arguments, **options)

    network._compiled_call_impl = call
