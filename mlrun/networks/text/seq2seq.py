"""Recurrent encoder-decoder: with a fixed context, with additive attention, with dot-product attention."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.preprocess.tokenizer import PAD
from mlrun.networks.text.recurrent import Recurrent


class AdditiveAttention(nn.Module):
    """e_ij = v^T tanh(W s_{i-1} + U h_j) (Bahdanau, Cho and Bengio 2015, arXiv:1409.0473, appendix A.1.2)."""

    def __init__(self, query_size: int, memory_size: int, width: int):
        super().__init__()
        self.W, self.U = nn.Linear(query_size, width, bias=False), nn.Linear(memory_size, width, bias=False)
        self.v = nn.Linear(width, 1, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        """(batch, sources, memory_size) -> (batch, sources, width): what of the scores does not depend on the query."""
        return self.U(memory)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """(batch, targets, query_size), (batch, sources, width) -> (batch, targets, sources)."""
        return self.v(torch.tanh(self.W(query)[:, :, None] + keys[:, None])).squeeze(-1)


class DotAttention(nn.Module):
    """score(s_i, h_j) = s_i^T W h_j, "general" in Luong, Pham and Manning 2015, arXiv:1508.04025, section 3.1."""

    def __init__(self, query_size: int, memory_size: int):
        super().__init__()
        self.W = nn.Linear(memory_size, query_size, bias=False)

    def keys(self, memory: Tensor) -> Tensor:
        return self.W(memory)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        return query @ keys.transpose(1, 2)


def look(attention: nn.Module, query: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """-> context (batch, targets, memory_size), the memory averaged by weights (batch, targets, sources) = softmax(scores)."""
    weights = attention.scores(query, memory.keys).masked_fill(~memory.mask[:, None], float("-inf")).softmax(-1)
    return weights @ memory.outputs, weights


@dataclass
class Memory:
    """What the encoder leaves: outputs (batch, sources, memory_size), their keys for attention (else None), mask (batch, sources),
    context (batch, memory_size) of the whole source, hidden: the decoder's first state, h or (h, c), each (layers, batch, hidden)."""

    outputs: Tensor
    keys: Tensor | None
    mask: Tensor
    context: Tensor
    hidden: Tensor | tuple[Tensor, Tensor]


class RecurrentSeq2Seq(nn.Module):
    """Encoder and decoder of the same kind of cells.

    forward: source (batch, sources), target (batch, targets), both int64 with 0 where there is no token -> scores of the token after each
    of the target's (batch, targets, target_vocab_size). `start`, `step` and `reorder` are what `mlrun.generation.decoding` asks for.

    Args:
        embedding: width of the vectors of tokens; None: one-hot vectors, for small vocabularies.
        attention: "none": every step of the decoder is fed the end of the encoder, c (Cho et al. 2014, arXiv:1406.1078);
            "additive": s_i = f(s_{i-1}, y_{i-1}, c_i) with c_i chosen by s_{i-1} (Bahdanau et al. 2015);
            "dot": s_i = f(s_{i-1}, y_{i-1}), then c_i chosen by s_i (Luong et al. 2015), all steps of a known target at once.
        bidirectional: of the encoder.
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
        memory_size, fed = self.encoder.output_size, self.target_embedding.width
        self.bridge = nn.Linear(memory_size, hidden)  # from the encoder's ends to the decoder's beginning, tanh(W h)
        self.kind = attention
        self.attention = {
            "none": lambda: None,
            "additive": lambda: AdditiveAttention(hidden, memory_size, hidden),
            "dot": lambda: DotAttention(hidden, memory_size),
        }[attention]()
        self.decoder = Recurrent(fed + (0 if attention == "dot" else memory_size), hidden, cell, layers, dropout)
        # of state, context and last token, before the output
        self.combine = nn.Linear(hidden + memory_size + fed, hidden)
        self.output = nn.Linear(hidden, target_vocab_size)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def encode(self, source: Tensor) -> Memory:
        mask = source != PAD
        outputs, ends = self.encoder(self.dropout(self.source_embedding(source)), lengths=mask.sum(1))
        hidden = tuple(
            torch.tanh(self.bridge(self._sides(part))) for part in (ends if isinstance(ends, tuple) else (ends,))
        )
        context = self._sides(ends[0] if isinstance(ends, tuple) else ends)[-1]
        keys = None if self.attention is None else self.attention.keys(outputs)
        return Memory(outputs, keys, mask, context, hidden if len(hidden) > 1 else hidden[0])

    def _sides(self, ends: Tensor) -> Tensor:
        """(layers * directions, batch, hidden) -> (layers, batch, directions * hidden)."""
        return ends.unflatten(0, (-1, self.encoder.directions)).transpose(1, 2).flatten(2)

    def forward(self, source: Tensor, target: Tensor, teacher_forcing: float = 1.0, with_attention: bool = False):
        """teacher_forcing: share of the target's tokens that are fed as they are, instead of what the model has just said
        (scheduled sampling, Bengio et al. 2015, arXiv:1506.03099). with_attention: the weights too, (batch, 1, targets, sources)."""
        memory = self.encode(source)
        if teacher_forcing >= 1:
            scores, weights, _ = self._decode(target, memory)
        else:
            scores, weights = self._sampled(target, memory, teacher_forcing)
        return (scores, None if weights is None else weights[:, None]) if with_attention else scores

    def _decode(self, tokens: Tensor, memory: Memory):
        """Scores, attention weights and the hidden state after known tokens (batch, targets)."""
        y = self.dropout(self.target_embedding(tokens))
        if self.kind == "additive":
            return self._step_by_step(y, memory)
        if self.kind == "none":
            context, weights = memory.context[:, None].expand(-1, y.shape[1], -1), None
            s, hidden = self.decoder(torch.cat([y, context], -1), memory.hidden)
        else:
            s, hidden = self.decoder(y, memory.hidden)
            context, weights = look(self.attention, s, memory)
        return self._scores(s, context, y), weights, hidden

    def _step_by_step(self, y: Tensor, memory: Memory):
        hidden, states, contexts, weights = memory.hidden, [], [], []
        for t in range(y.shape[1]):
            before = (hidden[0] if isinstance(hidden, tuple) else hidden)[-1]  # of the top layer
            context, looked = look(self.attention, before[:, None], memory)
            s, hidden = self.decoder(torch.cat([y[:, t : t + 1], context], -1), hidden)
            states.append(s)
            contexts.append(context)
            weights.append(looked)
        return self._scores(torch.cat(states, 1), torch.cat(contexts, 1), y), torch.cat(weights, 1), hidden

    def _scores(self, s: Tensor, context: Tensor, y: Tensor) -> Tensor:
        return self.output(self.dropout(torch.tanh(self.combine(torch.cat([s, context, y], -1)))))

    def _sampled(self, target: Tensor, memory: Memory, share: float):
        scores, weights, token = [], [], target[:, :1]
        true = (torch.rand(target.shape, device=target.device) < share) | (target == PAD)
        for t in range(target.shape[1]):
            token = target[:, :1] if t == 0 else torch.where(true[:, t : t + 1], target[:, t : t + 1], token)
            score, looked, hidden = self._decode(token, memory)
            memory = replace(memory, hidden=hidden)
            scores.append(score)
            weights.append(looked)
            token = score.detach().argmax(-1)
        return torch.cat(scores, 1), None if weights[0] is None else torch.cat(weights, 1)

    # --- decoding: the state is a Memory whose hidden state moves on ------------------------------------------------

    def start(self, memory: Memory) -> Memory:
        return memory

    def step(self, tokens: Tensor, state: Memory) -> tuple[Tensor, Memory]:
        scores, _, hidden = self._decode(tokens, state)
        return scores[:, -1], replace(state, hidden=hidden)

    def reorder(self, state: Memory, indices: Tensor) -> Memory:
        def rows(x, dim=0):
            return (
                tuple(rows(part, dim) for part in x)
                if isinstance(x, tuple)
                else None
                if x is None
                else x.index_select(dim, indices)
            )

        return Memory(
            rows(state.outputs), rows(state.keys), rows(state.mask), rows(state.context), rows(state.hidden, 1)
        )


class TokenVectors(nn.Module):
    """Tokens (batch, length) -> (batch, length, width): learned vectors, or one-hot ones where no width is given."""

    def __init__(self, vocab_size: int, width: int | None):
        super().__init__()
        self.vocab_size, self.width = vocab_size, width or vocab_size
        self.table = nn.Embedding(vocab_size, width) if width else None

    def forward(self, tokens: Tensor) -> Tensor:
        if self.table is None:
            return F.one_hot(tokens, self.vocab_size).to(torch.get_default_dtype())
        return self.table(tokens)
