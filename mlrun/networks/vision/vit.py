"""Vision Transformer (Dosovitskiy et al. 2020, arXiv:2010.11929), and attention rollout (Abnar and Zuidema 2020, arXiv:2005.00928)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.text.attention import kept_weights
from mlrun.networks.text.positions import grid_sinusoids
from mlrun.networks.text.transformer import Block, initialize

Pooling = Literal["class", "mean"]
PositionKind = Literal["learned", "sinusoidal"]


class ViT(nn.Module):
    """A Transformer encoder whose tokens are square patches of an image, and a linear `head`.

    Images of another size than in training have another grid of patches; learned positions are interpolated to it.

    Args:
        image_shape: (channels, height, width); the patch must divide height and width.
        num_outputs: classes, or numbers of an embedding.
        patch: side of a patch in pixels.
        width: of the residual stream.
        heads: of each attention layer.
        layers: number of blocks.
        hidden: width of the feed-forward layers; None: 4 * width.
        dropout: of embeddings, attention weights and sublayer outputs.
        pooling: "class": the head reads the vector of an additional class token; "mean": the mean of the patches' vectors.
        positions: "learned", or "sinusoidal" in two dimensions, half of the width each (Chen, Xie and He 2021, arXiv:2104.02057).
        activation: of the feed-forward layers.

    Shapes: (batch, channels, height, width) -> (batch, num_outputs).

    Raises:
        ValueError: the patch does not divide the image, or an unknown pooling or kind of positions.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        num_outputs: int,
        patch: int = 4,
        width: int = 64,
        heads: int = 4,
        layers: int = 4,
        hidden: int | None = None,
        dropout: float = 0.0,
        pooling: Pooling = "class",
        positions: PositionKind = "learned",
        activation: str = "gelu",
    ):
        super().__init__()
        if pooling not in ("class", "mean"):
            raise ValueError(f"pooling={pooling!r}: choose one of class, mean")
        if positions not in ("learned", "sinusoidal"):
            raise ValueError(f"positions={positions!r}: choose one of learned, sinusoidal")
        channels, *sides = image_shape
        self.patch, self.width, self.pooling = patch, width, pooling
        rows, columns = self._grid(sides)
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.zeros(width)) if pooling == "class" else None
        self.positions = nn.Parameter(torch.randn(width, rows, columns) * 0.02) if positions == "learned" else None
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.blocks = nn.ModuleList(Block(width, heads, hidden, dropout, activation=activation) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_outputs)
        initialize(self.blocks)
        nn.init.xavier_uniform_(self.patches.weight.view(width, -1))  # as a linear layer on the pixels of a patch
        nn.init.zeros_(self.patches.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) -> (batch, num_outputs)."""
        return self.head(self.pooled(self.encode(x)))

    def encode(self, x: Tensor) -> Tensor:
        """Vectors of all tokens: (batch, channels, height, width) -> (batch, tokens, width), the class token first if there is one."""
        grid = self.patches(x)
        x = (grid + self._positions(*self._grid(x.shape[2:]))).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), 1, -1), x], 1)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def grid(self, x: Tensor) -> Tensor:
        """Vectors of the patches: (batch, channels, height, width) -> (batch, width, rows, columns)."""
        vectors = self.encode(x)[:, int(self.class_token is not None) :]
        return vectors.transpose(1, 2).unflatten(2, self._grid(x.shape[2:]))

    def pooled(self, vectors: Tensor) -> Tensor:
        """(batch, tokens, width) -> (batch, width)."""
        return vectors[:, 0] if self.pooling == "class" else vectors.mean(1)

    @torch.no_grad()
    def rollout(self, x: Tensor) -> Tensor:
        """How much each patch contributes to the pooled vector, by attention alone.

        The attention of a layer, averaged over its heads, is mixed in equal parts with the identity, which stands for the residual
        connection; the product over the layers leads from patches to output.

        Args:
            x: (batch, channels, height, width).

        Returns:
            (batch, rows, columns) of patches, the largest value of an image 1.
        """
        with kept_weights(self) as attentions:
            self.encode(x)
            weights = [attention.weights.mean(1) for attention in attentions if attention.weights is not None]
        identity = torch.eye(weights[0].shape[-1], device=x.device)
        flow = identity.expand_as(weights[0])
        for weight in weights:
            flow = (weight + identity) / 2 @ flow
        shares = flow[:, 0, 1:] if self.class_token is not None else flow.mean(1)
        shares = shares / shares.amax(1, keepdim=True)
        return shares.unflatten(1, self._grid(x.shape[2:]))

    def resized(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weights of a network for images of another size, with positions interpolated to this one's grid."""
        found = dict(tensors)
        theirs = found.get("positions")
        if theirs is not None and self.positions is not None and theirs.shape[:1] == self.positions.shape[:1]:
            found["positions"] = _interpolated(theirs, *self.positions.shape[1:])
        return found

    def _grid(self, sides: Sequence[int]) -> tuple[int, int]:
        height, width = sides
        if height % self.patch or width % self.patch:
            raise ValueError(
                f"patch={self.patch}: must divide the image's height and width, {height} and {width} pixels"
            )
        return height // self.patch, width // self.patch

    def _positions(self, rows: int, columns: int) -> Tensor:
        """(width, rows, columns)."""
        if self.positions is not None:
            return _interpolated(self.positions, rows, columns)
        return grid_sinusoids(self.width, rows, columns).to(self.patches.weight)


def _interpolated(positions: Tensor, rows: int, columns: int) -> Tensor:
    if positions.shape[1:] == (rows, columns):
        return positions
    return F.interpolate(positions[None], size=(rows, columns), mode="bicubic", align_corners=False)[0]
