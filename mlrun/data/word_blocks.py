"""Batches for word vectors: blocks of consecutive words, thinned out, with a window at each position and noise words for each block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mlrun.data.batches import Batch, Batches
from mlrun.data.preprocess.words import Corpus

Bounds = list[tuple[int, int]]


def kept_share(counts: np.ndarray, subsample: float) -> np.ndarray:
    """(vocabulary,) probabilities that an occurrence of a word stays in the text: (sqrt(f / t) + 1) t / f, at most 1.

    As in the authors' program; f is the word's share of all words, t is `subsample`. Mikolov et al. 2013, arXiv:1310.4546, section 2.3.
    """
    if not subsample:
        return np.ones(len(counts))
    share = np.maximum(counts, 1) / max(1, counts.sum()) / subsample
    return np.minimum(1.0, (np.sqrt(share) + 1) / share)


def thinned(corpus: Corpus, share: np.ndarray, random: np.random.Generator) -> Corpus:
    """What stays of a text if each occurrence of a word stays with its probability in `share`: its neighbours move closer together."""
    kept = random.random(len(corpus.tokens), np.float32) < share[corpus.tokens].astype(np.float32)
    return Corpus(corpus.tokens[kept], corpus.texts[kept])


class NoiseWords:
    """The distribution of the noise words, count ** exponent.

    Args:
        counts: (vocabulary,) of the training texts; a word without occurrences is never drawn.
        exponent: 0.75 in the paper; 1: as often as they occur, 0: all alike.
    """

    def __init__(self, counts: np.ndarray, exponent: float = 0.75):
        weights = np.where(counts > 0, np.power(np.maximum(counts, 1), float(exponent)), 0.0)
        self.cumulative = torch.from_numpy(np.cumsum(weights) / weights.sum())

    def draw(self, rows: int, count: int, generator: torch.Generator) -> Tensor:
        """(rows, count) ids, int64."""
        return torch.searchsorted(self.cumulative, torch.rand(rows, count, generator=generator, dtype=torch.float64))


class WordBlocks(Batches):
    """Blocks of `length` consecutive words; pairs of words that a block's end separates are not used in this epoch.

    In every epoch the text is thinned out anew and the blocks begin at another place, in random order. Without `shuffle` each pass is the same.

    A batch holds
        input_ids (blocks, length) int64, padded with 0,
        texts (blocks, length) int32, the text of each word, -1 for padding: windows end where a text ends,
        reach (blocks, length) int8, the words that the window has on each side, drawn from 1 to `window`,
        negatives (blocks, negatives) int64, noise words, if there are any.

    Args:
        corpus: the words.
        counts: (vocabulary,) of the training texts.
        blocks: of a batch.
        length: words of a block.
        window: words on each side at most.
        subsample: t of `kept_share`; 0: nothing is left out.
        noise, negatives: distribution and number of the noise words of a block; None: no noise words.
        device, shuffle, seed, shard: see `Batches`.
    """

    def __init__(
        self,
        corpus: Corpus,
        counts: np.ndarray,
        blocks: int,
        length: int = 64,
        window: int = 5,
        subsample: float = 0.0,
        noise: NoiseWords | None = None,
        negatives: int = 0,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
    ):
        share = kept_share(counts, subsample)
        self._share = None if subsample == 0 else share
        rows = max(1, round(float(share[corpus.tokens].sum()) / length))
        super().__init__(rows, blocks, shuffle, seed, shard)
        self.corpus, self.length, self.window, self.device = corpus, length, window, torch.device(device)
        self.noise, self.negatives, self.seed = noise, negatives, seed

    def _order(self) -> tuple[Tensor, Any]:
        if not self.shuffle:
            self.generator.manual_seed(self.seed)
        random = np.random.default_rng(int(torch.randint(2**62, (), generator=self.generator)))
        corpus = self.corpus if self._share is None else thinned(self.corpus, self._share, random)
        offset = int(random.integers(self.length)) if self.shuffle else 0
        ids = np.zeros(self.rows * self.length, dtype=np.int32)
        of_text = np.full(len(ids), -1, dtype=np.int32)
        tokens, texts = (words[offset : offset + len(ids)] for words in (corpus.tokens, corpus.texts))
        ids[: len(tokens)], of_text[: len(texts)] = tokens, texts
        blocks = [torch.from_numpy(one).view(self.rows, self.length) for one in (ids, of_text)]
        return super()._order(), blocks

    def _read(self, order: tuple[Tensor, Any], bounds: Bounds) -> Iterator[Batch]:
        rows, (ids, texts) = order
        start = int(torch.randint(2**62, (), generator=self.generator))
        for first, end in bounds:
            chosen = rows[first:end]
            generator = torch.Generator().manual_seed(start + first)  # the same after an interruption
            batch = Batch(input_ids=ids[chosen].long(), texts=texts[chosen])
            shape = batch["input_ids"].shape
            batch["reach"] = torch.randint(1, self.window + 1, shape, generator=generator, dtype=torch.int8)
            if self.noise is not None:
                batch["negatives"] = self.noise.draw(len(chosen), self.negatives, generator)
            yield batch if self.device.type == "cpu" else Batch({k: v.to(self.device) for k, v in batch.items()})


def pair_mask(texts: Tensor, reach: Tensor) -> Tensor:
    """(blocks, length, length) bool: whether the word at position j is in the window around position t, mask[:, t, j].

    texts, reach: see `WordBlocks`.
    """
    place = torch.arange(texts.shape[1], device=texts.device)
    distance = (place[:, None] - place).abs().to(reach.dtype if texts.shape[1] < 128 else torch.int16)
    inside = (distance <= reach[:, :, None]) & (distance > 0)
    return inside & (texts[:, :, None] == texts[:, None, :]) & (texts[:, :, None] >= 0)
