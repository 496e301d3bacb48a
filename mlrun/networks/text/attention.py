"""Scaled dot-product attention and its multi-head form (Vaswani et al. 2017, arXiv:1706.03762, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.layers.lora import linear_part


def attend(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V, equation 1 of the paper.

    By default `MultiHeadAttention` uses torch's fused kernel of the same formula.

    Args:
        Q: queries (..., targets, d_k).
        K: keys (..., sources, d_k).
        V: values (..., sources, d_v).
        mask: boolean, broadcast to (..., targets, sources); True where a target may attend to a source.

    Returns:
        The result (..., targets, d_v) and the weights (..., targets, sources).
    """
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(-1)
    return weights @ V, weights


class KeyValueCache:
    """Keys and values of the positions processed so far, each (batch, heads, length, width / heads); None before the first."""

    def __init__(self, key: Tensor | None = None, value: Tensor | None = None):
        self.key, self.value = key, value

    def __len__(self) -> int:
        return 0 if self.key is None else self.key.shape[2]

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the keys and values of new positions, and returns those of all positions."""
        if self.key is not None and self.value is not None:
            key, value = torch.cat([self.key, key], 2), torch.cat([self.value, value], 2)
        self.key, self.value = key, value
        return key, value

    def rows(self, indices: Tensor) -> KeyValueCache:
        """The cache of the rows `indices` (rows,) of the batch, in this order, with which beam search continues."""
        if self.key is None or self.value is None:
            return KeyValueCache()
        return KeyValueCache(self.key.index_select(0, indices), self.value.index_select(0, indices))


class MultiHeadAttention(nn.Module):
    """Attention in several subspaces at once, with learned projections.

    Args:
        width: of the model.
        heads: number of subspaces, each of width / heads.
        dropout: of the attention weights, in training.
        bias: whether the four projections have one.

    Raises:
        ValueError: if the width is not a multiple of the heads.
    """

    keep_weights = False  # True: `attend` instead of the fused kernel, and `weights` holds the last softmax

    def __init__(self, width: int, heads: int, dropout: float = 0.0, bias: bool = True):
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width}: must be a multiple of heads={heads}")
        self.width, self.heads, self.dropout = width, heads, dropout
        self.project = nn.Linear(width, 3 * width, bias=bias)  # W^Q, W^K and W^V of all heads, stacked
        self.output = nn.Linear(width, width, bias=bias)  # W^O
        nn.init.xavier_uniform_(self.project.weight)  # the three as one matrix, as in nn.MultiheadAttention
        if bias:
            nn.init.zeros_(self.project.bias)
            nn.init.zeros_(self.output.bias)
        self.weights: Tensor | None = None  # (batch, heads, targets, sources)

    def forward(
        self,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        mask: Tensor | None = None,
        causal: bool = False,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Attends from the queries to the keys. The mask must allow every target at least one source.

        Args:
            query: (batch, targets, width).
            key: (batch, sources, width); None: the cache holds all keys and values, see `project_memory`.
            value: (batch, sources, width), or None as `key`.
            mask: boolean, True where attending is allowed: (batch, sources), (batch, targets, sources), or anything that
                broadcasts to (batch, heads, targets, sources).
            causal: a position attends to itself and to earlier ones only.
            cache: the new keys and values are appended to it, and the queries attend to all of them.

        Returns:
            (batch, targets, width).
        """
        if query is key and key is value:  # one product instead of three
            Q, K, V = (self._split(part) for part in self.project(query).chunk(3, -1))
            if cache is not None:
                K, V = cache.append(K, V)
        else:
            Q = self._split(self._linear(query, 0))
            K, V = self._keys_and_values(key, value, cache)
        mask, causal = self._mask(mask, causal, Q.shape[2], K.shape[2], Q.device)
        if self.keep_weights:
            if causal:
                mask = causal_mask(Q.shape[2], K.shape[2], Q.device)
            result, self.weights = attend(Q, K, V, mask)
        else:
            dropout = self.dropout if self.training else 0.0
            result = F.scaled_dot_product_attention(Q, K, V, attn_mask=mask, dropout_p=dropout, is_causal=causal)
        return self.output(result.transpose(1, 2).flatten(2))

    def project_memory(self, memory: Tensor) -> KeyValueCache:
        """Keys and values of a memory (batch, sources, width), for decoding steps that all attend to the same memory."""
        return KeyValueCache(self._split(self._linear(memory, 1)), self._split(self._linear(memory, 2)))

    def _keys_and_values(
        self, key: Tensor | None, value: Tensor | None, cache: KeyValueCache | None
    ) -> tuple[Tensor, Tensor]:
        if key is not None and value is not None:
            K, V = self._split(self._linear(key, 1)), self._split(self._linear(value, 2))
            return (K, V) if cache is None else cache.append(K, V)
        if cache is None or cache.key is None or cache.value is None:
            raise ValueError("attention needs keys and values, or a cache that holds them")
        return cache.key, cache.value

    def _linear(self, x: Tensor, part: int) -> Tensor:
        return linear_part(self.project, x, slice(part * self.width, (part + 1) * self.width))

    def _split(self, x: Tensor) -> Tensor:
        """(batch, length, width) -> (batch, heads, length, width / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _mask(
        self, mask: Tensor | None, causal: bool, targets: int, sources: int, device: torch.device
    ) -> tuple[Tensor | None, bool]:
        """(boolean mask, whether the kernel applies its own causal mask): one of the two, where masking is needed at all."""
        if mask is not None and mask.ndim == 2:
            mask = mask[:, None, None, :]
        elif mask is not None and mask.ndim == 3:
            mask = mask[:, None]
        if not causal or targets == 1:  # the newest position attends to all
            return mask, False
        if mask is None and targets == sources:
            return None, True
        order = causal_mask(targets, sources, device)
        return (order if mask is None else mask & order), False


def causal_mask(targets: int, sources: int, device: torch.device | None = None) -> Tensor:
    """The boolean mask (targets, sources) for targets that are the last of the sources."""
    return torch.ones(targets, sources, dtype=torch.bool, device=device).tril(sources - targets)


@contextmanager
def kept_weights(*networks: nn.Module) -> Iterator[list[MultiHeadAttention]]:
    """Within it every MultiHeadAttention of the networks keeps the `weights` of its last call; yields these layers."""
    layers = [module for network in networks for module in network.modules() if isinstance(module, MultiHeadAttention)]
    try:
        for layer in layers:
            layer.keep_weights = True
        yield layers
    finally:
        for layer in layers:
            layer.keep_weights, layer.weights = False, None
