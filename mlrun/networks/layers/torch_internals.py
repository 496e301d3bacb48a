"""The private interfaces of torch that the program uses, each behind a function that states what it needs.

Every function has a fallback in public torch for versions that lack the private interface. tests/networks/test_torch_internals.py
fails when torch changes one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# `torch._foreach_*`: one call for a list of tensors instead of one per tensor, which is what small networks wait for.


def add_each_(tensors: Sequence[Tensor], others: Sequence[Tensor], alpha: float = 1.0) -> None:
    """Adds alpha * other to every tensor, in place. Needs: both lists pairwise of the same shape and device."""
    if hasattr(torch, "_foreach_add_"):
        torch._foreach_add_(list(tensors), list(others), alpha=alpha)
        return
    for tensor, other in zip(tensors, others, strict=True):
        tensor.add_(other, alpha=alpha)


def lerp_each_(tensors: Sequence[Tensor], ends: Sequence[Tensor], weight: float) -> None:
    """Moves every tensor to tensor + weight * (end - tensor), in place. Needs: both lists pairwise of the same shape, dtype and device."""
    if hasattr(torch, "_foreach_lerp_"):
        torch._foreach_lerp_(list(tensors), list(ends), weight)
        return
    for tensor, end in zip(tensors, ends, strict=True):
        tensor.lerp_(end, weight)


def sign_each(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The sign of every element, as new tensors."""
    if hasattr(torch, "_foreach_sign"):
        return list(torch._foreach_sign(list(tensors)))
    return [tensor.sign() for tensor in tensors]


def norm_each(tensors: Sequence[Tensor], order: float) -> list[Tensor]:
    """The vector norm of every tensor, scalars. order: 1 or 2."""
    if hasattr(torch, "_foreach_norm"):
        return list(torch._foreach_norm(list(tensors), order))
    return [torch.linalg.vector_norm(tensor, order) for tensor in tensors]


def compiler_errors() -> tuple[type[Exception], ...]:
    """The exceptions by which torch.compile reports that it cannot compile a function, not that the function itself failed.

    Needs `torch._dynamo`, which takes seconds to import: call it once something is compiled. Without it, RuntimeError,
    which all of them derive from.
    """
    try:
        from torch._dynamo.exc import TorchDynamoException
    except ImportError:
        return RuntimeError, ImportError
    return TorchDynamoException, ImportError
