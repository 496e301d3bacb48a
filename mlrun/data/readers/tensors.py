"""Files of tensors: safetensors, and what `torch.save` writes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrun.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

SAFETENSORS = ".safetensors"
WEIGHTS = f"weights{SAFETENSORS}"  # of a stored model


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes tensors by name as safetensors. Tensors that share memory, such as tied weights, are written once for each name."""
    import torch
    from safetensors.torch import save

    apart = {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    path.write_bytes(save(apart))  # `save_file` raises an error of its own where the disk is full


def load_tensors(path: Path | str, trust: bool = False) -> Any:
    """The content of a file of tensors, on the CPU.

    Args:
        path: safetensors, or a file of `torch.save`.
        trust: load any Python object from a file of `torch.save`, which can run code; otherwise only tensors and plain containers.

    Raises:
        UserError: with the reason for a refused or damaged file.
    """
    import torch
    from safetensors.torch import load_file

    try:
        if Path(path).suffix == SAFETENSORS:
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        text = " ".join(str(error).split())
        if "Unsupported" in text or "GLOBAL" in text or "weights_only" in text and "invalid load key" not in text:
            what = "it holds Python objects, which run code when they are loaded. Rejected. If you trust its source, add trust=true"
        else:
            what = f"not a whole checkpoint: {_sentence(error)}"
        raise UserError(f"{path}: {what}") from None
    except Exception as error:  # what a damaged file, or any other, makes of the readers
        raise UserError(f"{path} is not a whole checkpoint: {_sentence(error)}") from None


def _sentence(error: Exception) -> str:
    """The first sentence of a library's message."""
    return " ".join(str(error).split()).partition(". ")[0][:200] or type(error).__name__
