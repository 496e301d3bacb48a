"""BERT: a Transformer encoder that is pre-trained on masked tokens, and the heads of its tasks (Devlin et al. 2018, arXiv:1810.04805).

The tensors of `transformers`' BERT fit: `translate` gives them the names that they have here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.networks.layers.activations import make_activation
from mlrun.networks.text.text_classifiers import masked_mean
from mlrun.networks.text.transformer import Block

Pooling = Literal["first", "mean"]
# of transformers' BERT -> of `Bert`
_RENAMED = (
    (r"^bert\.", ""),
    (r"^embeddings\.word_embeddings", "tokens"),
    (r"^embeddings\.position_embeddings", "positions"),
    (r"^embeddings\.token_type_embeddings", "segments"),
    (r"^embeddings\.LayerNorm", "norm"),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense", r"blocks.\1.attention.output"),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.LayerNorm", r"blocks.\1.norm_attention"),
    (r"^encoder\.layer\.(\d+)\.intermediate\.dense", r"blocks.\1.feed_forward.0"),
    (r"^encoder\.layer\.(\d+)\.output\.dense", r"blocks.\1.feed_forward.2"),
    (r"^encoder\.layer\.(\d+)\.output\.LayerNorm", r"blocks.\1.norm_feed_forward"),
    (r"^pooler\.dense", "pooler"),
)
_PREDICTOR = (
    (r"^cls\.predictions\.transform\.dense", "transform"),
    (r"^cls\.predictions\.transform\.LayerNorm", "transform_norm"),
    (r"^cls\.predictions\.bias", "bias"),
    (r"^cls\.seq_relationship", "follows"),
)
_STACKED = re.compile(r"^encoder\.layer\.(\d+)\.attention\.self\.(query|key|value)\.(weight|bias)$")


class Bert(nn.Module):
    """Vectors of tokens in their context: token, position and segment embeddings, post-norm blocks with GELU.

    Args:
        vocab_size: tokens of the vocabulary.
        width: of the vectors.
        heads: of each attention layer.
        layers: number of blocks.
        hidden: width of the feed-forward layers; None: 4 * width.
        dropout: of embeddings, attention weights and sublayer outputs.
        positions: longest text in tokens.
        activation: of the feed-forward layers.
        eps: of the norms.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int = 128,
        heads: int = 4,
        layers: int = 2,
        hidden: int | None = None,
        dropout: float = 0.1,
        positions: int = 128,
        activation: str = "gelu",
        eps: float = 1e-12,
    ):
        super().__init__()
        self.width = width
        self.tokens = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(positions, width)
        self.segments = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.blocks = nn.ModuleList(
            Block(width, heads, hidden, dropout, norm_first=False, activation=activation) for _ in range(layers)
        )
        self.pooler = nn.Linear(width, width)
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = eps
        initialize(self, width)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """Vectors of all tokens.

        Args:
            input_ids: (batch, tokens) int64.
            attention_mask: (batch, tokens), true or 1 where there are tokens; None: everywhere.
            token_type_ids: (batch, tokens) int64, the segment, 0 or 1; None: all 0.

        Returns:
            (batch, tokens, width).

        Raises:
            ValueError: more tokens than positions.
        """
        length, most = input_ids.shape[1], self.positions.num_embeddings
        if length > most:
            raise ValueError(
                f"{length} tokens, but the encoder has {most} positions: set model.preprocessor.max_length={most}"
            )
        x = self.tokens(input_ids) + self.positions.weight[:length]
        x = x + (self.segments.weight[0] if token_type_ids is None else self.segments(token_type_ids))
        x = self.dropout(self.norm(x))
        mask = None if attention_mask is None else attention_mask.bool()
        for block in self.blocks:
            x = block(x, mask)
        return x

    def pool(self, vectors: Tensor) -> Tensor:
        """(batch, tokens, width) -> (batch, width): the vector of the first token, [CLS], through the layer that pre-training used."""
        return torch.tanh(self.pooler(vectors[:, 0]))

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of `transformers`' BERT under the names of this class; others keep their names."""
        found: dict[str, Tensor] = {}
        stacked: dict[str, dict[str, Tensor]] = {}
        for full, tensor in tensors.items():
            name = full.removeprefix("bert.")
            if part := _STACKED.match(name):
                layer, projection, kind = part.groups()
                stacked.setdefault(f"blocks.{layer}.attention.project.{kind}", {})[projection] = tensor
            elif not name.endswith("position_ids"):
                found[renamed(name, _RENAMED)] = tensor
        for name, parts in stacked.items():
            if len(parts) < 3:  # an incomplete checkpoint: the tensor counts as absent
                continue
            found[name] = torch.cat([parts[projection] for projection in ("query", "key", "value")])
        return found


class WithEncoder(nn.Module):
    """A network on top of an encoder with `Bert`'s interface."""

    encoder: Any

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors of the encoder under the names of this network."""
        own = set(self.encoder.state_dict())
        return {
            f"encoder.{name}" if name in own else name: tensor
            for name, tensor in self.encoder.translate(tensors).items()
        }


class TextEncoder(WithEncoder):
    """A vector for a text: the mean of the vectors of its tokens.

    Args:
        encoder: see `Bert`.
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """(batch, tokens) each -> (batch, width)."""
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        return masked_mean(self.encoder(input_ids, attention_mask, token_type_ids), mask)


class BertForPretraining(TextEncoder):
    """The encoder with the two heads of pre-training: the token at a position, and whether the second segment follows the first.

    Args:
        encoder: see `Bert`. The scores of the tokens share its token embedding.
        activation: of the layer before the scores.
    """

    def __init__(self, encoder: nn.Module, activation: str = "gelu"):
        super().__init__(encoder)
        width, eps = self.encoder.width, self.encoder.norm.eps
        self.transform = nn.Linear(width, width)
        self.activation = make_activation(activation)
        self.transform_norm = nn.LayerNorm(width, eps=eps)
        self.bias = nn.Parameter(torch.zeros(self.encoder.tokens.num_embeddings))
        self.follows = nn.Linear(width, 2)
        for layer in (self.transform, self.follows):
            initialize(layer, width)

    def token_scores(self, vectors: Tensor) -> Tensor:
        """(..., width) -> (..., vocab_size) logits of the tokens at the positions of these vectors."""
        x = self.transform_norm(self.activation(self.transform(vectors)))
        return F.linear(x, self.encoder.tokens.weight, self.bias)

    def order_scores(self, vectors: Tensor) -> Tensor:
        """(batch, tokens, width) -> (batch, 2) logits: the second segment follows the first (0), or is from elsewhere (1)."""
        return self.follows(self.encoder.pool(vectors))

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {renamed(name, _PREDICTOR): tensor for name, tensor in super().translate(tensors).items()}


class BertClassifier(WithEncoder):
    """Scores of a text, or of two texts.

    Args:
        encoder: see `Bert`.
        num_outputs: classes, or 1 for a value.
        dropout: before the head.
        pooling: "first": [CLS] through the pooling layer; "mean": the mean of the vectors of the tokens.
    """

    def __init__(self, encoder: nn.Module, num_outputs: int, dropout: float = 0.1, pooling: Pooling = "first"):
        super().__init__()
        if pooling not in ("first", "mean"):
            raise ValueError(f"pooling={pooling!r}: choose one of first, mean")
        self.encoder, self.pooling = encoder, pooling
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.width, num_outputs)
        initialize(self.head, self.encoder.width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """(batch, tokens) each -> (batch, num_outputs)."""
        vectors = self.encoder(input_ids, attention_mask, token_type_ids)
        pooled = self.encoder.pool(vectors) if self.pooling == "first" else masked_mean(vectors, attention_mask.bool())
        return self.head(self.dropout(pooled))


class BertTokenScores(WithEncoder):
    """Scores of every token: of the tags, or (`num_outputs` = 2) as the first and the last token of a span.

    Args:
        encoder: see `Bert`.
        num_outputs: scores of a token.
        dropout: before the head.
    """

    def __init__(self, encoder: nn.Module, num_outputs: int, dropout: float = 0.1):
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.width, num_outputs)
        initialize(self.head, self.encoder.width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """(batch, tokens) each -> (batch, tokens, num_outputs)."""
        return self.head(self.dropout(self.encoder(input_ids, attention_mask, token_type_ids)))


def initialize(module: nn.Module, width: int) -> None:
    """Normal weights and zero biases in all layers.

    The standard deviation is 0.02 at BERT-base's width of 768, and scales so that a layer's outputs keep their size at other widths. With 0.02,
    a network of width 128 did not learn sentence order in one pass over the default text.

    Args:
        module: its linear layers and embeddings are initialized.
        width: of the encoder.
    """
    std = 0.02 * math.sqrt(768 / width)
    for layer in module.modules():
        if isinstance(layer, (nn.Linear, nn.Embedding)):
            nn.init.normal_(layer.weight, std=std)
        if isinstance(layer, nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


def renamed(name: str, rules: tuple[tuple[str, str], ...]) -> str:
    """The name after all rules (pattern, replacement)."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name
