"""Text classifiers: tokens (batch, length) int64, padded on the right with 0, -> scores (batch, num_outputs).

The scores do not depend on the padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.preprocess.tokenizer import PAD
from mlrun.networks.text.recurrent import Recurrent, State
from mlrun.networks.text.transformer import TransformerEncoder


def masked_mean(h: Tensor, present: Tensor) -> Tensor:
    """The mean of h (batch, length, width) over the positions that are present (batch, length) -> (batch, width)."""
    weight = present.unsqueeze(-1).to(h.dtype)
    return (h * weight).sum(1) / weight.sum(1).clamp(min=1)


class BagOfEmbeddings(nn.Module):
    """The mean of the token embeddings, hidden layers, and `head`.

    Without hidden layers it is fastText (Joulin et al. 2017, arXiv:1607.01759), with some the deep averaging network of
    Iyyer et al. 2015.

    Args:
        vocab_size: tokens of the vocabulary.
        num_outputs: classes.
        embedding: width of the embeddings.
        hidden: widths of the hidden layers.
        dropout: of the mean and of hidden layers.
        ngrams: n-grams up to this length have embeddings too.
        buckets: embeddings of n-grams, shared by hashing.
    """

    def __init__(
        self,
        vocab_size: int,
        num_outputs: int,
        embedding: int = 64,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        ngrams: int = 1,
        buckets: int = 20000,
    ):
        super().__init__()
        self.ngrams, self.buckets = ngrams, buckets
        self.embedding = nn.Embedding(vocab_size, embedding, padding_idx=PAD)
        self.together = nn.Embedding(buckets, embedding) if ngrams > 1 else None
        if self.together is not None:
            nn.init.normal_(self.together.weight, std=0.1)
        widths = [embedding, *hidden]
        layers = [
            part for a, b in zip(widths, widths[1:]) for part in (nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout))
        ]
        self.body = nn.Sequential(nn.Dropout(dropout), *layers)
        self.head = nn.Linear(widths[-1], num_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int64 -> (batch, num_outputs)."""
        embedded, present = [self.embedding(tokens)], [tokens != PAD]
        key = tokens
        if self.together is not None:
            for n in range(2, min(self.ngrams, tokens.shape[1]) + 1):  # the n-gram that starts at each position
                key = key[:, :-1] * 1_000_003 + tokens[:, n - 1 :]
                embedded.append(self.together(key % self.buckets))
                present.append(tokens[:, n - 1 :] != PAD)
        return self.head(self.body(masked_mean(torch.cat(embedded, 1), torch.cat(present, 1))))


class RecurrentClassifier(nn.Module):
    """Recurrent layers over the embeddings, pooling to one vector per text, and `head`.

    Args:
        vocab_size: tokens of the vocabulary.
        num_outputs: classes.
        embedding: width of the embeddings; None: one-hot vectors.
        hidden: width of the recurrent layers.
        cell: their kind.
        num_layers: their number.
        bidirectional: whether the text is read both ways.
        dropout: of embeddings, between layers, and of the pooled vector.
        pooling: "last": the final state of each direction; "max": the largest output of each unit over the text (Collobert and
            Weston 2008); "attention": sum_t a_t h_t with a = softmax(u . tanh(W h_t)) (Yang et al. 2016).
        fused: see `Recurrent`.

    Raises:
        ValueError: for an unknown pooling.
    """

    def __init__(
        self,
        vocab_size: int,
        num_outputs: int,
        embedding: int | None = 64,
        hidden: int = 128,
        cell: Literal["rnn", "gru", "lstm"] = "gru",
        num_layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        pooling: Literal["last", "max", "attention"] = "max",
        fused: bool = True,
    ):
        super().__init__()
        if pooling not in ("last", "max", "attention"):
            raise ValueError(f"pooling={pooling}: choose last, max or attention")
        self.vocab_size, self.pooling = vocab_size, pooling
        self.embedding = None if embedding is None else nn.Embedding(vocab_size, embedding, padding_idx=PAD)
        self.recurrent = Recurrent(
            embedding or vocab_size, hidden, cell, num_layers, dropout, bidirectional, fused=fused
        )
        width = self.recurrent.output_size
        self.attention = (
            nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))
            if pooling == "attention"
            else None
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int64 -> (batch, num_outputs)."""
        present = tokens != PAD
        if self.embedding is None:
            x = F.one_hot(tokens, self.vocab_size).to(self.head.weight.dtype)
        else:
            x = self.embedding(tokens)
        h, state = self.recurrent(self.dropout(x), lengths=present.sum(1))
        return self.head(self.dropout(self._pool(h, state, present)))

    def _pool(self, h: Tensor, state: State, present: Tensor) -> Tensor:
        """Outputs (batch, length, width) and the final state -> (batch, width)."""
        if self.pooling == "last":
            last = state[0] if isinstance(state, tuple) else state
            return last[-self.recurrent.directions :].transpose(0, 1).flatten(1)
        if self.attention is None:
            return h.masked_fill(~present.unsqueeze(-1), -torch.inf).amax(1)
        a = self.attention(h).masked_fill(~present.unsqueeze(-1), -torch.inf).softmax(1)
        return (a * h).sum(1)


class TextCNN(nn.Module):
    """Convolutions of several widths over the embeddings, the largest response of each filter, and `head` (Kim 2014, arXiv:1408.5882).

    Args:
        vocab_size: tokens of the vocabulary.
        num_outputs: classes.
        embedding: width of the embeddings.
        filters: of each convolution.
        kernels: widths of the convolutions, in tokens.
        dropout: of the filter responses.
        max_norm: largest norm of the rows of the last layer, 3 in the paper; None: no constraint.
    """

    def __init__(
        self,
        vocab_size: int,
        num_outputs: int,
        embedding: int = 128,
        filters: int = 100,
        kernels: Sequence[int] = (3, 4, 5),
        dropout: float = 0.5,
        max_norm: float | None = 3.0,
    ):
        super().__init__()
        self.max_norm = max_norm
        self.embedding = nn.Embedding(vocab_size, embedding, padding_idx=PAD)
        nn.init.uniform_(self.embedding.weight, -0.25, 0.25)
        with torch.no_grad():
            self.embedding.weight[PAD] = 0
        self.convolutions = nn.ModuleList(
            nn.Conv1d(embedding, filters, kernel, padding=kernel - 1) for kernel in kernels
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(filters * len(kernels), num_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int64 -> (batch, num_outputs)."""
        x, lengths = self.embedding(tokens).transpose(1, 2), (tokens != PAD).sum(1)
        responses = []
        for convolution in cast(list[nn.Conv1d], self.convolutions):
            h = F.relu(convolution(x))
            windows = lengths + convolution.kernel_size[0] - 1  # that overlap the text, not only padding
            outside = torch.arange(h.shape[2], device=h.device) >= windows[:, None]
            responses.append(h.masked_fill(outside.unsqueeze(1), 0.0).amax(2))
        weight = self.head.weight if self.max_norm is None else self.head.weight.renorm(2, 0, self.max_norm)
        return F.linear(self.dropout(torch.cat(responses, 1)), weight, self.head.bias)


class TransformerClassifier(nn.Module):
    """A Transformer encoder, the mean of its outputs over the tokens, and `head`.

    Args:
        vocab_size: tokens of the vocabulary.
        num_outputs: classes.
        max_length: longest text.
        width: of the residual stream; the other arguments are those of `TransformerEncoder`.
    """

    def __init__(
        self,
        vocab_size: int,
        num_outputs: int,
        max_length: int,
        width: int = 64,
        heads: int = 4,
        layers: int = 2,
        hidden: int | None = None,
        dropout: float = 0.1,
        positions: Literal["sinusoidal", "learned", "none"] = "learned",
        norm_first: bool = True,
    ):
        super().__init__()
        self.encoder = TransformerEncoder(
            vocab_size, width, heads, layers, hidden, dropout, positions, max_length, norm_first
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int64 -> (batch, num_outputs)."""
        return self.head(self.dropout(masked_mean(self.encoder(tokens), tokens != PAD)))
