"""Recurrent encoder-decoder: with a fixed context, with additive attention, with dot-product attention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.preprocess.tokenizer import PAD
from mlrun.networks.text.recurrent import Recurrent, State


class AdditiveAttention(nn.Module):
    """e_ij = v^T tanh(W s_{i-1} + U h_j) (Bahdanau, Cho and Bengio 2015, arXiv:1409.0473, appendix A.1.2).

    Args:
        query_size: width of the decoder's state s.
        memory_size: width of the encoder's outputs h.
        width: of the hidden layer.
    """

    def __init__(self, query_size: int, memory_size: int, width: int):
        super().__init__()
        self.W, self.U = nn.Linear(query_size, width, bias=False), nn.Linear(memory_size, width, bias=False)
        self.v = nn.Linear(width, 1, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """The part of the scores that does not depend on the query: (batch, sources, memory_size) -> (batch, sources, width)."""
        return self.U(memory)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """(batch, targets, query_size) and keys (batch, sources, width) -> (batch, targets, sources)."""
        return self.v(torch.tanh(self.W(query)[:, :, None] + keys[:, None])).squeeze(-1)


class DotAttention(nn.Module):
    """score(s_i, h_j) = s_i^T W h_j, the "general" score of Luong, Pham and Manning 2015, arXiv:1508.04025, section 3.1.

    Args:
        query_size: width of the decoder's state s.
        memory_size: width of the encoder's outputs h.
    """

    def __init__(self, query_size: int, memory_size: int):
        super().__init__()
        self.W = nn.Linear(memory_size, query_size, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """(batch, sources, memory_size) -> (batch, sources, query_size)."""
        return self.W(memory)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """(batch, targets, query_size) and keys (batch, sources, query_size) -> (batch, targets, sources)."""
        return query @ keys.transpose(1, 2)


def attend(attention: AdditiveAttention | DotAttention, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """The average of the memory, weighted by the softmax of the scores.

    Args:
        attention: computes the scores.
        query: states of the decoder (batch, targets, query_size).
        memory: with keys.

    Returns:
        Context (batch, targets, memory_size) and weights (batch, targets, sources).
    """
    assert memory.keys is not None
    scores = attention.scores(query, memory.keys).masked_fill(~memory.mask[:, None], float("-inf"))
    weights = scores.softmax(-1)
    return weights @ memory.outputs, weights


@dataclass
class Memory:
    """What the decoder gets from the encoder, and its own state.

    Args:
        outputs: of the encoder (batch, sources, memory_size).
        keys: of the outputs, for attention; None without attention.
        mask: boolean (batch, sources), True where there is a token.
        context: of the whole source (batch, memory_size).
        hidden: state of the decoder, h or (h, c), each (layers, batch, hidden).
    """

    outputs: Tensor
    keys: Tensor | None
    mask: Tensor
    context: Tensor
    hidden: State


class RecurrentSeq2Seq(nn.Module):
    """Recurrent encoder and decoder with the same kind of cell.

    `start`, `step` and `reorder` are the interface of `mlrun.generation.decoding`.

    Args:
        source_vocab_size: tokens of the source language.
        target_vocab_size: tokens of the target language.
        embedding: width of the token embeddings; None: one-hot vectors, for small vocabularies.
        hidden: width of the recurrent layers.
        cell: their kind.
        layers: recurrent layers of the encoder, and of the decoder.
        attention: "none": the final state c of the encoder is an input of every decoder step (Cho et al. 2014, arXiv:1406.1078);
            "additive": s_i = f(s_{i-1}, y_{i-1}, c_i) with c_i attended to from s_{i-1} (Bahdanau et al. 2015);
            "dot": s_i = f(s_{i-1}, y_{i-1}), then c_i attended to from s_i (Luong et al. 2015), for a known target in one pass.
        bidirectional: whether the encoder reads both ways.
        dropout: of embeddings, between recurrent layers, and before the output layer.
    """

    def __init__(
        self,
        source_vocab_size: int,
        target_vocab_size: int,
        embedding: int | None = 64,
        hidden: int = 128,
        cell: Literal["rnn", "gru", "lstm"] = "gru",
        layers: int = 1,
        attention: Literal["none", "additive", "dot"] = "additive",
        bidirectional: bool = True,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.source_embedding = TokenVectors(source_vocab_size, embedding)
        self.target_embedding = TokenVectors(target_vocab_size, embedding)
        self.encoder = Recurrent(self.source_embedding.width, hidden, cell, layers, dropout, bidirectional)
        memory_size, token_size = self.encoder.output_size, self.target_embedding.width
        self.bridge = nn.Linear(memory_size, hidden)  # from the encoder's final state to the decoder's first, tanh(W h)
        self.kind = attention
        self.attention: AdditiveAttention | DotAttention | None
        if attention == "additive":
            self.attention = AdditiveAttention(hidden, memory_size, hidden)
        elif attention == "dot":
            self.attention = DotAttention(hidden, memory_size)
        elif attention == "none":
            self.attention = None
        else:
            raise ValueError(f"attention={attention}: choose one of none, additive, dot")
        self.decoder = Recurrent(token_size + (0 if attention == "dot" else memory_size), hidden, cell, layers, dropout)
        # combines state, context and last token before the output layer
        self.combine = nn.Linear(hidden + memory_size + token_size, hidden)
        self.output = nn.Linear(hidden, target_vocab_size)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def encode(self, source: Tensor) -> Memory:
        """source: (batch, sources) int64, padded with 0."""
        mask = source != PAD
        outputs, final = self.encoder(self.dropout(self.source_embedding(source)), lengths=mask.sum(1))
        h = self._join_directions(final[0] if isinstance(final, tuple) else final)
        hidden = torch.tanh(self.bridge(h))
        keys = None if self.attention is None else self.attention.keys(outputs)
        if isinstance(final, tuple):
            cell = torch.tanh(self.bridge(self._join_directions(final[1])))
            return Memory(outputs, keys, mask, h[-1], (hidden, cell))
        return Memory(outputs, keys, mask, h[-1], hidden)

    def _join_directions(self, state: Tensor) -> Tensor:
        """(layers * directions, batch, hidden) -> (layers, batch, directions * hidden)."""
        return state.unflatten(0, (-1, self.encoder.directions)).transpose(1, 2).flatten(2)

    def forward(
        self, source: Tensor, target: Tensor, teacher_forcing: float = 1.0, with_attention: bool = False
    ) -> Tensor | tuple[Tensor, Tensor | None]:
        """Scores of the token after each position of the target.

        Args:
            source: (batch, sources) int64, padded with 0.
            target: (batch, targets) int64, padded with 0.
            teacher_forcing: fraction of the target's tokens that are given; in place of the others, the decoder gets its
                own predictions (scheduled sampling, Bengio et al. 2015, arXiv:1506.03099).
            with_attention: also return the attention weights.

        Returns:
            (batch, targets, target_vocab_size); `with_attention`: a tuple of it and (batch, 1, targets, sources), None
            without attention.
        """
        memory = self.encode(source)
        if teacher_forcing >= 1:
            scores, weights, _hidden = self._decode(target, memory)
        else:
            scores, weights = self._sampled(target, memory, teacher_forcing)
        return (scores, None if weights is None else weights[:, None]) if with_attention else scores

    def _decode(self, tokens: Tensor, memory: Memory) -> tuple[Tensor, Tensor | None, State]:
        """Scores, attention weights and the hidden state after known tokens (batch, targets)."""
        y = self.dropout(self.target_embedding(tokens))
        if isinstance(self.attention, AdditiveAttention):
            return self._step_by_step(y, memory, self.attention)
        if self.attention is None:
            context = memory.context[:, None].expand(-1, y.shape[1], -1)
            s, hidden = self.decoder(torch.cat([y, context], -1), memory.hidden)
            return self._scores(s, context, y), None, hidden
        s, hidden = self.decoder(y, memory.hidden)
        context, weights = attend(self.attention, s, memory)
        return self._scores(s, context, y), weights, hidden

    def _step_by_step(self, y: Tensor, memory: Memory, attention: AdditiveAttention) -> tuple[Tensor, Tensor, State]:
        """As `_decode`, where the context of a step depends on the state before it. y: (batch, targets, width)."""
        hidden, states, contexts, weights = memory.hidden, [], [], []
        for t in range(y.shape[1]):
            before = (hidden[0] if isinstance(hidden, tuple) else hidden)[-1]  # of the top layer
            context, step_weights = attend(attention, before[:, None], memory)
            s, hidden = self.decoder(torch.cat([y[:, t : t + 1], context], -1), hidden)
            states.append(s)
            contexts.append(context)
            weights.append(step_weights)
        return self._scores(torch.cat(states, 1), torch.cat(contexts, 1), y), torch.cat(weights, 1), hidden

    def _scores(self, s: Tensor, context: Tensor, y: Tensor) -> Tensor:
        return self.output(self.dropout(torch.tanh(self.combine(torch.cat([s, context, y], -1)))))

    def _sampled(self, target: Tensor, memory: Memory, teacher_forcing: float) -> tuple[Tensor, Tensor | None]:
        """Scores and attention weights where the decoder gets some of its own predictions."""
        scores, weights, token = [], [], target[:, :1]
        given = (torch.rand(target.shape, device=target.device) < teacher_forcing) | (target == PAD)
        for t in range(target.shape[1]):
            token = target[:, :1] if t == 0 else torch.where(given[:, t : t + 1], target[:, t : t + 1], token)
            score, step_weights, hidden = self._decode(token, memory)
            memory = replace(memory, hidden=hidden)
            scores.append(score)
            if step_weights is not None:
                weights.append(step_weights)
            token = score.detach().argmax(-1)
        return torch.cat(scores, 1), torch.cat(weights, 1) if weights else None

    # --- decoding: the state is a Memory whose hidden state advances ------------------------------------------------

    def start(self, memory: Memory) -> Memory:
        """The state before the first token, from what `encode` returned."""
        return memory

    def step(self, tokens: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        """New tokens (batch, new) int64 -> scores after the last one (batch, target_vocab_size), and the new state."""
        scores, _weights, hidden = self._decode(tokens, state)
        return scores[:, -1], replace(state, hidden=hidden)

    def reorder(self, state: Memory, indices: Tensor) -> Memory:
        """The state of the rows `indices` (rows,) of the batch, in this order."""
        hidden = state.hidden
        return Memory(
            outputs=state.outputs.index_select(0, indices),
            keys=None if state.keys is None else state.keys.index_select(0, indices),
            mask=state.mask.index_select(0, indices),
            context=state.context.index_select(0, indices),
            hidden=(hidden[0].index_select(1, indices), hidden[1].index_select(1, indices))
            if isinstance(hidden, tuple)
            else hidden.index_select(1, indices),
        )


class TokenVectors(nn.Module):
    """Vectors of tokens: learned ones, or one-hot vectors.

    Args:
        vocab_size: tokens of the vocabulary.
        width: of learned vectors; None: one-hot.
    """

    def __init__(self, vocab_size: int, width: int | None):
        super().__init__()
        self.vocab_size, self.width = vocab_size, width or vocab_size
        self.table = nn.Embedding(vocab_size, width) if width else None

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int64 -> (batch, length, width)."""
        if self.table is None:
            return F.one_hot(tokens, self.vocab_size).to(torch.get_default_dtype())
        return self.table(tokens)
