"""Networks that read tokens and score the next one: a fixed window and recurrent layers. The Transformer is in gpt.py.

All share one interface: `network(tokens, state) -> (logits, state)` with tokens (batch, length) int64 and logits (batch, length, vocab_size),
of which logits[:, t] sees tokens up to t and, through the state, what was read before. state None: nothing was read before.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.preprocess.tokenizer import PAD
from mlrun.networks.text.recurrent import Recurrent


class FixedWindow(nn.Module):
    """Neural probabilistic language model (Bengio et al. 2003, equation 1): y = b + W x + U tanh(d + H x), x the embeddings of the last
    `window` tokens side by side. direct: with the connection W past the hidden layer.
    """

    def __init__(
        self,
        vocab_size: int,
        window: int = 8,
        embedding: int = 32,
        hidden: int = 256,
        dropout: float = 0.0,
        direct: bool = False,
    ):
        super().__init__()
        self.window = window
        self.embedding = nn.Embedding(vocab_size, embedding, padding_idx=PAD)
        # A matrix times neighbouring embeddings side by side, at every place of a row, is a convolution along it.
        self.H = nn.Conv1d(embedding, hidden, window)
        self.W = nn.Conv1d(embedding, vocab_size, window, bias=False) if direct else None
        self.U = nn.Linear(hidden, vocab_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, state: Tensor | None = None):
        """state: the last window - 1 tokens (batch, window - 1); padding stands before a text's first."""
        if state is None:
            state = tokens.new_full((len(tokens), self.window - 1), PAD)
        seen = torch.cat([state, tokens], dim=1)
        x = self.embedding(seen).transpose(1, 2)
        logits = self.U(self.dropout(torch.tanh(self.H(x))).transpose(1, 2))
        if self.W is not None:
            logits = logits + self.W(x).transpose(1, 2)
        return logits, seen[:, seen.shape[1] - (self.window - 1) :]


class RecurrentLanguageModel(nn.Module):
    """Embedding, recurrent layers, scores (Mikolov et al. 2010; with LSTM and dropout Zaremba et al. 2014, arXiv:1409.2329).

    embedding: its width; None feeds one-hot vectors, for small vocabularies. tied: the scores use the embedding's own weights
    (Press and Wolf 2017, arXiv:1608.05859), through a linear map where the widths differ.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding: int | None = 128,
        hidden: int = 256,
        cell: Literal["rnn", "gru", "lstm"] = "lstm",
        num_layers: int = 1,
        dropout: float = 0.0,
        tied: bool = False,
        fused: bool = True,
    ):
        super().__init__()
        if tied and embedding is None:
            raise ValueError("tied weights need an embedding: give its width, or tied=false")
        self.vocab_size = vocab_size
        self.embedding = None if embedding is None else nn.Embedding(vocab_size, embedding)
        self.recurrent = Recurrent(embedding or vocab_size, hidden, cell, num_layers, dropout, fused=fused)
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(hidden, embedding, bias=False) if tied and hidden != embedding else None
        self.head = nn.Linear(embedding if tied else hidden, vocab_size)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=(embedding or 1) ** -0.5 if tied else 1.0)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor, state=None):
        """state: as in `Recurrent`."""
        if self.embedding is None:
            x = F.one_hot(tokens, self.vocab_size).to(self.head.weight.dtype)
        else:
            x = self.dropout(self.embedding(tokens))
        h, state = self.recurrent(x, state)
        h = self.dropout(h)
        return self.head(h if self.narrow is None else self.narrow(h)), state
