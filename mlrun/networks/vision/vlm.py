"""A vision-language model: a causal language model that reads an image before a question.

Liu et al. 2023, "Visual instruction tuning", arXiv:2304.08485; Tsimpoukelli et al. 2021, "Multimodal few-shot learning with frozen language
models", arXiv:2106.13884.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mlrun.networks.text.attention import KeyValueCache
from mlrun.networks.text.gpt import GPT
from mlrun.networks.vision.image_grid import ImageGrid

Memory = tuple[list[KeyValueCache], Tensor]  # the read images, and for each text the index of its image, (texts,)


class VisualLanguageModel(ImageGrid):
    """The projected places of an image are the first tokens of the language model, and a text follows.

    An image is read once for all its questions: what the language model keeps of it, keys and values, does not depend on the text.
    `start` and `step` are the interface of `mlrun.generation.decoding`.

    Args:
        image_shape, encoder, stride: see `ImageGrid`.
        language: a `GPT`.
        text_length: tokens of the longest text.
        blind: zeros in place of the image, so that the language model answers from the question alone.

    Raises:
        ValueError: image and text do not fit the context of the language model.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        encoder: nn.Module,
        language: GPT,
        text_length: int,
        stride: int = 8,
        blind: bool = False,
    ):
        width = language.embedding.embedding_dim
        super().__init__(image_shape, encoder, width, stride)
        rows, columns = self.grid_shape
        if rows * columns + text_length > language.context_length:
            raise ValueError(
                f"language.context_length={language.context_length}: must be at least {rows * columns + text_length}, "
                f"{rows * columns} places of the image and {text_length} tokens of a text"
            )
        self.language, self.blind = language, blind

    def encode(self, pixel_values: Tensor) -> list[KeyValueCache]:
        """(batch, channels, height, width) -> keys and values of the visual tokens in each block."""
        if self.blind:
            rows, columns = self.grid_shape
            vectors = pixel_values.new_zeros(len(pixel_values), rows * columns, self.project.out_channels)
        else:
            vectors = self.vectors(pixel_values)
        state = self.language.start()
        self.language.read(vectors, state)
        return state

    def forward(self, pixel_values: Tensor, tokens: Tensor, images: Tensor) -> Tensor:
        """Scores of the token after each position of the texts.

        Args:
            pixel_values: (batch, channels, height, width).
            tokens: (texts, length) int64, padded on the right.
            images: (texts,) int64, the index in the batch of the image that each text is about.

        Returns:
            (texts, length, vocab_size).
        """
        # padding is on the right, where the causal mask hides it
        scores, _ = self.language(tokens, self.start((self.encode(pixel_values), images)))
        return scores

    def start(self, memory: Memory) -> list[KeyValueCache]:
        """The state before the first token of each text."""
        caches, images = memory
        return [cache.rows(images) for cache in caches]

    def step(self, tokens: Tensor, state: list[KeyValueCache]) -> tuple[Tensor, list[KeyValueCache]]:
        """New tokens (texts, new) int64 -> scores after the last one (texts, vocab_size), and the state, changed in place."""
        scores, _ = self.language(tokens, state)
        return scores[:, -1], state
