"""Language models with a fixed window and with recurrent layers. The Transformer is in gpt.py.

All share one interface: `network(tokens, state) -> (logits, state)`, with tokens (batch, length) int64 and logits
(batch, length, vocab_size). logits[:, t] depends on the tokens up to t and, through the state, on those of earlier calls.
With state None there are no earlier tokens.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.preprocess.tokenizer import PAD
from mlrun.networks.text.recurrent import Recurrent, State


class FixedWindow(nn.Module):
    """Neural probabilistic language model (Bengio et al. 2003, equation 1): y = b + W x + U tanh(d + H x).

    x is the concatenation of the embeddings of the last `window` tokens.

    Args:
        vocab_size: tokens of the vocabulary.
        window: tokens on which the next one depends.
        embedding: width of the token embedding.
        hidden: width of the hidden layer.
        dropout: of the hidden layer.
        direct: whether there is the direct connection W from the embeddings to the scores.
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
        # A matrix times the concatenated embeddings of a window, at every position of a row, is a convolution along it.
        self.H = nn.Conv1d(embedding, hidden, window)
        self.W = nn.Conv1d(embedding, vocab_size, window, bias=False) if direct else None
        self.U = nn.Linear(hidden, vocab_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Scores of the token after each position.

        Args:
            tokens: (batch, length) int64.
            state: the last window - 1 tokens (batch, window - 1); None: padding, as before the first token of a text.

        Returns:
            Logits (batch, length, vocab_size) and the new state.
        """
        if state is None:
            state = tokens.new_full((len(tokens), self.window - 1), PAD)
        context = torch.cat([state, tokens], dim=1)
        x = self.embedding(context).transpose(1, 2)
        logits = self.U(self.dropout(torch.tanh(self.H(x))).transpose(1, 2))
        if self.W is not None:
            logits = logits + self.W(x).transpose(1, 2)
        return logits, context[:, context.shape[1] - (self.window - 1) :]


class RecurrentLanguageModel(nn.Module):
    """Embedding, recurrent layers, and `head` (Mikolov et al. 2010; with LSTM and dropout Zaremba et al. 2014, arXiv:1409.2329).

    Args:
        vocab_size: tokens of the vocabulary.
        embedding: width of the token embedding; None: one-hot vectors, for small vocabularies.
        hidden: width of the recurrent layers.
        cell: their kind.
        num_layers: recurrent layers.
        dropout: of embeddings, between recurrent layers, and of the last layer's output.
        tied: the head shares the weights of the embedding (Press and Wolf 2017, arXiv:1608.05859), after a linear map where
            the widths differ.
        fused: see `Recurrent`.

    Raises:
        ValueError: if tied weights are requested without an embedding.
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
        if tied and embedding is None:  # nothing to share
            raise ValueError("tied weights need an embedding: give its width, or tied=false")
        self.vocab_size = vocab_size
        self.embedding = None if embedding is None else nn.Embedding(vocab_size, embedding)
        self.recurrent = Recurrent(embedding or vocab_size, hidden, cell, num_layers, dropout, fused=fused)
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(hidden, embedding, bias=False) if tied and embedding and hidden != embedding else None
        self.head = nn.Linear(embedding if tied and embedding else hidden, vocab_size)
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=(embedding or 1) ** -0.5 if tied else 1.0)
            if tied:
                self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Scores of the token after each position.

        Args:
            tokens: (batch, length) int64.
            state: as in `Recurrent`.

        Returns:
            Logits (batch, length, vocab_size) and the new state.
        """
        if self.embedding is None:
            x = F.one_hot(tokens, self.vocab_size).to(self.head.weight.dtype)
        else:
            x = self.dropout(self.embedding(tokens))
        h, state = self.recurrent(x, state)
        h = self.dropout(h)
        return self.head(h if self.narrow is None else self.narrow(h)), state
