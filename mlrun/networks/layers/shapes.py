"""Sizes of feature maps, derived without computing any values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call


def window_count(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Positions of a window along an axis, which is the output size of convolution and pooling.

    floor((n + 2p - d (f - 1) - 1) / s) + 1 for n = `size`, f = `kernel`, s = `stride`, p = `padding`, d = `dilation`.
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


def meta_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers of a module by name, with their shapes but without memory, for `functional_call`."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}


def output_shape(body: nn.Module, input_shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of the output of `body` for one sample, found on the meta device: no memory, no arithmetic.

    Args:
        body: layers that take a batch.
        input_shape: of one sample, such as (channels, height, width).

    Returns:
        The shape without the batch.

    Raises:
        ValueError: if the sample is too small for the layers.
    """
    sample = torch.empty(2, *input_shape, device="meta")
    training = body.training
    body.eval()
    try:
        shape = functional_call(body, meta_tensors(body), (sample,)).shape
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
