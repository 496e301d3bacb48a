"""ELMo (Peters et al. 2018, arXiv:1802.05365): words from their characters, a language model in each direction, and a mixture of its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.preprocess.tokenizer import PAD
from mlrun.networks.text.recurrent import Recurrent

BYTES = 256  # UTF-8 bytes; three more symbols: padding, begin and end of a word
SYMBOLS = BYTES + 3


def spelled(vocabulary: Sequence[str], length: int) -> Tensor:
    """(vocabulary, length + 2) int64: the bytes of each word between its begin and end, cut after `length` bytes."""
    table = torch.full((len(vocabulary), length + 2), BYTES)
    for row, word in enumerate(vocabulary):
        symbols = [BYTES + 1, *word.encode("utf-8", "replace")[:length], BYTES + 2]
        table[row, : len(symbols)] = torch.tensor(symbols)
    return table


class ELMo(nn.Module):
    """Convolutions over a word's characters, a highway layer, then LSTM layers that read the text forwards and others that read it backwards.

    The vector of a word depends on its spelling only, so that the weights suit every vocabulary. It is normalized, which the paper does not do:
    at a learning rate that suits a short training, unbounded vectors saturate the LSTMs for good.

    Args:
        vocabulary: the tokens in the order of their ids.
        width: of the vectors of one direction.
        layers: LSTM layers in each direction.
        characters: width of the embeddings of characters.
        filters: number of the convolution's filters of each width, from 1 character on.
        longest: bytes of a word that are read.
        dropout: of the input of each LSTM.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        width: int = 96,
        layers: int = 2,
        characters: int = 16,
        filters: Sequence[int] = (32, 32, 64, 64),
        longest: int = 16,
        dropout: float = 0.1,
    ):
        super().__init__()
        self.width, self.layers = width, layers
        self.register_buffer("spelling", spelled(vocabulary, longest), persistent=False)
        self.characters = nn.Embedding(SYMBOLS, characters, padding_idx=BYTES)
        self.convolutions = nn.ModuleList(nn.Conv1d(characters, count, size) for size, count in enumerate(filters, 1))
        total = sum(filters)
        self.highway = nn.Linear(total, 2 * total)
        self.projection, self.norm = nn.Linear(total, width), nn.LayerNorm(width)
        self.forwards, self.backwards = (
            nn.ModuleList(Recurrent(width, width, "lstm") for _ in range(layers)) for _ in range(2)
        )
        self.dropout = nn.Dropout(dropout)

    def words(self, ids: Tensor) -> Tensor:
        """(batch, length) -> (batch, length, width), from the spelling; each different word is computed once."""
        different, places = torch.unique(ids, return_inverse=True)
        x = self.characters(cast(Tensor, self.spelling)[different]).transpose(1, 2)
        h = torch.cat([F.relu(one(x)).amax(2) for one in self.convolutions], 1)
        transformed, gate = self.highway(h).chunk(2, 1)
        gate = torch.sigmoid(gate)
        return self.norm(self.projection(gate * F.relu(transformed) + (1 - gate) * h))[places]

    def directions(self, ids: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(batch, length) -> outputs (batch, length, width) of each layer forwards and backwards, the words themselves first."""
        x = self.words(ids)
        lengths = (ids != PAD).sum(1)
        place = torch.arange(ids.shape[1], device=ids.device)
        turned = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)  # its own inverse
        whole = None if bool((lengths == ids.shape[1]).all()) else lengths
        found = []
        for layers, reversed_ in ((self.forwards, False), (self.backwards, True)):
            h, outputs = x, [x]
            for depth, layer in enumerate(layers):
                source = h if not reversed_ else _gathered(h, turned)
                after, _ = cast(Recurrent, layer)(self.dropout(source), lengths=whole)
                after = after if not reversed_ else _gathered(after, turned)
                h = after if depth == 0 else after + h  # a residual connection between the LSTMs
                outputs.append(h)
            found.append(outputs)
        return found[0], found[1]

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, length) -> (batch, layers + 1, length, 2 * width)."""
        forwards, backwards = self.directions(ids)
        return torch.stack([torch.cat(pair, 2) for pair in zip(forwards, backwards)], 1)


def _gathered(h: Tensor, places: Tensor) -> Tensor:
    return h.gather(1, places.unsqueeze(2).expand_as(h))


class ELMoLanguageModel(nn.Module):
    """ELMo, and an adaptive softmax over the vocabulary for the next and for the previous word (Grave et al. 2017, arXiv:1609.04309).

    Args:
        elmo: the network that is to be used elsewhere.
        vocab_size: words; the ids need not be sorted by frequency, but gain speed where they are.
        shares: parts of the vocabulary at which the clusters of the softmax begin.
    """

    def __init__(self, elmo: ELMo, vocab_size: int, shares: Sequence[float] = (0.1, 0.4)):
        super().__init__()
        self.elmo = elmo
        cutoffs = sorted({max(1, min(vocab_size - 1, round(share * vocab_size))) for share in shares})
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(elmo.width, vocab_size, cutoffs, div_value=2.0)

    def loss(self, ids: Tensor) -> Tensor:
        """(batch, length) -> mean negative log probability of the words, each from those before it and from those after it."""
        forwards, backwards = self.elmo.directions(ids)
        ahead, behind = ids[:, 1:].flatten(), ids[:, :-1].flatten()
        return (
            self.softmax(forwards[-1][:, :-1].flatten(0, 1), ahead).loss
            + self.softmax(backwards[-1][:, 1:].flatten(0, 1), behind).loss
        ) / 2

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean over words and layers: (batch, length) -> (batch, 2 * width)."""
        present = attention_mask.unsqueeze(-1).to(self.elmo.projection.weight.dtype)
        return (self.elmo(input_ids).mean(1) * present).sum(1) / present.sum(1).clamp(min=1)


class ELMoClassifier(nn.Module):
    """Embeddings of the tokens and ELMo's features, recurrent layers over both, the maximum over the text, and `head`.

    The features are gamma * sum_k s_k h_k with softmax weights s (equation 1); s and gamma are trained with the classifier.

    Args:
        elmo: trained elsewhere, see `model.init_from`; None: no features.
        vocab_size: tokens of the vocabulary.
        num_outputs: classes.
        embedding: width of the token embeddings.
        hidden: width of the recurrent layer in each direction.
        dropout: of its input and of the pooled vector.
    """

    def __init__(
        self,
        elmo: ELMo | None,
        vocab_size: int,
        num_outputs: int,
        embedding: int = 64,
        hidden: int = 64,
        dropout: float = 0.2,
    ):
        super().__init__()
        self.elmo = elmo
        self.embedding = nn.Embedding(vocab_size, embedding, padding_idx=PAD)
        if elmo is not None:
            self.mixture, self.scale = nn.Parameter(torch.zeros(elmo.layers + 1)), nn.Parameter(torch.ones(()))
        self.recurrent = Recurrent(embedding + (2 * elmo.width if elmo else 0), hidden, "gru", bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, num_outputs)

    def features(self, tokens: Tensor) -> Tensor:
        """(batch, length) -> (batch, length, 2 * width)."""
        assert self.elmo is not None
        trained = any(parameter.requires_grad for parameter in self.elmo.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            layers = self.elmo(tokens)
        return self.scale * torch.einsum("l,bltw->btw", self.mixture.softmax(0), layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, length) int64 -> (batch, num_outputs)."""
        present = tokens != PAD
        x = self.embedding(tokens)
        if self.elmo is not None:
            x = torch.cat([x, self.features(tokens)], 2)
        h, _ = self.recurrent(self.dropout(x), lengths=present.sum(1))
        return self.head(self.dropout(h.masked_fill(~present.unsqueeze(-1), -torch.inf).amax(1)))
