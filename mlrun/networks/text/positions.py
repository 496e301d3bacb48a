"""Position encodings, for networks that are otherwise indifferent to the order of tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn


def sinusoids(length: int, width: int) -> Tensor:
    """PE(pos, 2i) = sin(pos / 10000^(2i / width)), PE(pos, 2i + 1) = cos of the same (Vaswani et al. 2017, section 3.5).

    Returns:
        (length, width).

    Raises:
        ValueError: for an odd width.
    """
    if width % 2:
        raise ValueError(f"width={width}: sinusoidal positions need an even width")
    angle = torch.arange(length)[:, None] * torch.exp(-math.log(10000.0) * torch.arange(0, width, 2) / width)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


def grid_sinusoids(width: int, rows: int, columns: int) -> Tensor:
    """Positions in two dimensions: sinusoids of the row in one half of the channels, of the column in the other.

    Returns:
        (width, rows, columns).

    Raises:
        ValueError: for a width that is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"width={width}: sinusoidal positions in two dimensions need a multiple of 4")
    down, right = (sinusoids(count, width // 2).T for count in (rows, columns))
    return torch.cat([down[:, :, None].expand(-1, -1, columns), right[:, None, :].expand(-1, rows, -1)])


class Positions(nn.Module):
    """Adds a vector for each position.

    Args:
        width: of the vectors.
        max_length: number of learned positions; sinusoidal ones are extended as needed.
        kind: "sinusoidal" (fixed), "learned" or "none".
    """

    table: Tensor  # (positions, width), of the first two kinds

    def __init__(self, width: int, max_length: int, kind: Literal["sinusoidal", "learned", "none"] = "sinusoidal"):
        super().__init__()
        self.kind, self.width, self.max_length = kind, width, max_length
        if kind == "learned":
            self.table = nn.Parameter(torch.randn(max_length, width) * 0.02)
        elif kind == "sinusoidal":
            self.register_buffer("table", sinusoids(max_length, width), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """(batch, length, width) -> the same shape.

        Args:
            x: vectors of consecutive tokens.
            start: position of the first of them.

        Raises:
            ValueError: past the last learned position.
        """
        if self.kind == "none":
            return x
        end = start + x.shape[1]
        if end > len(self.table):
            if self.kind == "learned":
                raise ValueError(
                    f"a sequence of {end} tokens, but there are {self.max_length} learned positions: raise max_length"
                )
            self.table = sinusoids(2 * end, self.width).to(self.table)
        return x + self.table[start:end]
