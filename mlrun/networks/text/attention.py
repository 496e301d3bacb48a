"""Scaled dot-product attention and its multi-head form (Vaswani et al. 2017, arXiv:1706.03762, section 3.2)."""

from __future__ import annotations

import math
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def attend(Q: Tensor, K: Tensor, V: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Attention(Q, K, V) = softmax(Q K^T / sqrt(d_k)) V, equation 1 of the paper, and the softmax itself.

    Q: (..., targets, d_k); K: (..., sources, d_k); V: (..., sources, d_v); mask: boolean, True where a target may look.
    The default path of `MultiHeadAttention` is PyTorch's fused kernel of the same formula.
    """
    scores = Q @ K.transpose(-2, -1) / math.sqrt(Q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(-1)
    return weights @ V, weights


class KeyValueCache:
    """Keys and values of the positions that were already seen, (batch, heads, length, width / heads); empty at first."""

    def __init__(self, key: Tensor | None = None, value: Tensor | None = None):
        self.key, self.value = key, value

    def __len__(self):
        return 0 if self.key is None else self.key.shape[2]

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Adds new positions; returns all of them."""
        if self.key is not None:
            key, value = torch.cat([self.key, key], 2), torch.cat([self.value, value], 2)
        self.key, self.value = key, value
        return key, value

    def rows(self, indices: Tensor) -> KeyValueCache:
        """The cache of these rows of the batch, in this order: what beam search goes on with."""
        if self.key is None:
            return KeyValueCache()
        return KeyValueCache(self.key.index_select(0, indices), self.value.index_select(0, indices))


class MultiHeadAttention(nn.Module):
    """(batch, targets, width) queries, (batch, sources, width) keys and values -> (batch, targets, width).

    Args:
        width: of the model; each of the `heads` works on width / heads of it.
        dropout: of the attention weights, in training.
        bias: whether the four projections have one.
    """

    keep_weights = False  # True: by the formula instead of the fused kernel, and `weights` holds the last softmax

    def __init__(self, width: int, heads: int, dropout: float = 0.0, bias: bool = True):
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width}: must be a multiple of heads={heads}")
        self.width, self.heads, self.dropout = width, heads, dropout
        self.project = nn.Linear(width, 3 * width, bias=bias)  # W^Q, W^K and W^V of all heads, one above the other
        self.output = nn.Linear(width, width, bias=bias)  # W^O
        nn.init.xavier_uniform_(self.project.weight)  # of the three as one matrix, as nn.MultiheadAttention does
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
        """mask: boolean, True = may look; (batch, sources), or anything that broadcasts to (batch, heads, targets, sources).

        causal: a position sees itself and what came before. cache: the new keys and values are added to those in it; key
        None: the cache holds all of them (`remember`). A target whose mask allows nothing is an error of the caller.
        """
        if query is key and key is value:  # one product instead of three
            Q, K, V = (self._split(part) for part in self.project(query).chunk(3, -1))
        else:
            Q = self._split(self._linear(query, 0))
            K, V = (
                (None, None)
                if key is None
                else (self._split(self._linear(key, 1)), self._split(self._linear(value, 2)))
            )
        if key is None:
            K, V = cache.key, cache.value
        elif cache is not None:
            K, V = cache.append(K, V)
        mask, causal = self._mask(mask, causal, Q.shape[2], K.shape[2], Q.device)
        if self.keep_weights:
            if causal:
                mask = causal_mask(Q.shape[2], K.shape[2], Q.device)
            result, self.weights = attend(Q, K, V, mask)
        else:
            dropout = self.dropout if self.training else 0.0
            result = F.scaled_dot_product_attention(Q, K, V, attn_mask=mask, dropout_p=dropout, is_causal=causal)
        return self.output(result.transpose(1, 2).flatten(2))

    def remember(self, memory: Tensor) -> KeyValueCache:
        """Keys and values of a memory (batch, sources, width) that stays the same while a text is written."""
        return KeyValueCache(self._split(self._linear(memory, 1)), self._split(self._linear(memory, 2)))

    def _linear(self, x: Tensor, part: int) -> Tensor:
        rows = slice(part * self.width, (part + 1) * self.width)
        return F.linear(x, self.project.weight[rows], None if self.project.bias is None else self.project.bias[rows])

    def _split(self, x: Tensor) -> Tensor:
        """(batch, length, width) -> (batch, heads, length, width / heads)."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _mask(self, mask, causal, targets, sources, device):
        """One boolean mask, or the kernel's own causal order where that is all there is."""
        if mask is not None and mask.ndim == 2:
            mask = mask[:, None, None, :]
        elif mask is not None and mask.ndim == 3:
            mask = mask[:, None]
        if not causal or targets == 1:  # the newest position sees all
            return mask, False
        if mask is None and targets == sources:
            return None, True
        order = causal_mask(targets, sources, device)
        return (order if mask is None else mask & order), False


def causal_mask(targets: int, sources: int, device=None) -> Tensor:
    """(targets, sources) boolean, for targets that are the last of the sources."""
    return torch.ones(targets, sources, dtype=torch.bool, device=device).tril(sources - targets)


@contextmanager
def kept_weights(*networks: nn.Module):
    """Within, every MultiHeadAttention of the networks keeps the `weights` of its last call."""
    layers = [module for network in networks for module in network.modules() if isinstance(module, MultiHeadAttention)]
    try:
        for layer in layers:
            layer.keep_weights = True
        yield layers
    finally:
        for layer in layers:
            layer.keep_weights, layer.weights = False, None
