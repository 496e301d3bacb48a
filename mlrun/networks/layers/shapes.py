"""Sizes of feature maps, without computing any."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.func import functional_call


def window_count(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Places of a window along an axis, floor((n + 2p - d (f - 1) - 1) / s) + 1: the output size of convolution and pooling."""
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def output_shape(body: nn.Module, input_shape: Sequence[int]) -> tuple[int, ...]:
    """Shape of what `body` makes of one sample of `input_shape`, found on the meta device: no memory, no arithmetic.

    Raises ValueError for inputs too small for the layers.
    """
    tensors = {**dict(body.named_parameters()), **dict(body.named_buffers())}
    tensors = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    sample = torch.empty(2, *input_shape, device="meta")
    training = body.training
    body.eval()
    try:
        shape = functional_call(body, tensors, (sample,)).shape
    except RuntimeError as error:
        raise ValueError(_too_small(input_shape, error)) from error
    finally:
        body.train(training)
    if 0 in shape:
        raise ValueError(_too_small(input_shape))
    return tuple(shape[1:])


def _too_small(input_shape: Sequence[int], error: Exception | None = None) -> str:
    size = "x".join(map(str, input_shape[1:]))
    reason = f" ({str(error).splitlines()[0]})" if error else ""
    return f"inputs of {size} are too small for this network's layers{reason}: enlarge them, e.g. dataset.image_size=32"
