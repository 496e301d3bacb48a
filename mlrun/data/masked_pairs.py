"""Batches for BERT's pre-training: two segments of text in a row, with some tokens masked; drawn anew in every epoch.

Devlin et al. 2018, arXiv:1810.04805, section 3.1 and appendix A.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mlrun.data.batches import Batch, Batches
from mlrun.data.preprocess.text import IGNORED
from mlrun.data.preprocess.wordpiece import WordPiece
from mlrun.errors import DataError

SENTENCE_END = re.compile(r"\n\s*\n|(?<=[.!?])\s+")


@dataclass
class Documents:
    """Texts as tokens, one after another, and where their sentences begin.

    tokens: (tokens,) int32. starts: (sentences + 1,) the first token of each sentence, and the number of tokens. last: (sentences,) the last
    sentence of the text that a sentence belongs to.
    """

    tokens: Tensor
    starts: Tensor
    last: Tensor

    @classmethod
    def of(cls, texts: Iterable[str], tokenizer: WordPiece) -> Documents:
        """The sentences of some texts: they end at a full stop, or at an empty line."""
        divided = [[one for one in SENTENCE_END.split(text) if one.strip()] for text in texts]
        encoded = [ids for ids in tokenizer.encode_all(one for text in divided for one in text)]
        of_text = np.repeat(np.arange(len(divided)), [len(text) for text in divided])
        kept = np.array([len(ids) > 0 for ids in encoded], dtype=bool)
        lengths = np.array([len(ids) for ids in encoded], dtype=np.int64)[kept]
        texts_kept = of_text[kept]
        ends = np.searchsorted(texts_kept, texts_kept, side="right") - 1
        tokens = np.concatenate([np.zeros(0, dtype=np.int32), *encoded])
        starts = np.concatenate([[0], np.cumsum(lengths)])
        return cls(torch.from_numpy(tokens), torch.from_numpy(starts), torch.from_numpy(ends))


class MaskedPairs(Batches):
    """Rows [CLS] first [SEP] second [SEP] of at most `length` tokens.

    The first segment is one sentence or several of a text; the second one is what follows there, or in half of the rows begins with a sentence
    drawn from all texts. Of the other tokens than [CLS] and [SEP] a share `masked` is to be predicted: 80 % of these are replaced
    by [MASK], 10 % by a random token, 10 % stay. Without `shuffle` every pass draws the same.

    A batch holds `input_ids`, `token_type_ids` (batch, tokens) int64, `attention_mask` (batch, tokens) bool, `labels` (batch, tokens), the
    original token where it is to be predicted and IGNORED elsewhere, and `next_sentence_label` (batch,), 0 if the second
    segment follows the first, 1 if not.

    Args:
        documents: the texts.
        tokenizer: its special tokens.
        length: most tokens of a row.
        batch_size: rows of a batch.
        masked: share of the tokens that are predicted.
        pairs: False: the second segment always follows the first.
        rows: of a pass at most; None: as many as have the tokens of the texts.
        device, shuffle, seed, shard: see `Batches`.

    Raises:
        DataError: no text has two sentences.
    """

    def __init__(
        self,
        documents: Documents,
        tokenizer: WordPiece,
        length: int,
        batch_size: int,
        masked: float = 0.15,
        pairs: bool = True,
        rows: int | None = None,
        device: torch.device | str = "cpu",
        shuffle: bool = False,
        seed: int = 0,
        shard: tuple[int, int] = (0, 1),
    ):
        self.documents, self.tokenizer, self.room = documents, tokenizer, length - 3
        self.first = (
            (torch.arange(len(documents.last)) < documents.last).nonzero().flatten()
        )  # sentences with a next one
        if not len(self.first):
            raise DataError(
                "pre-training needs texts of two sentences or more; sentences end at a full stop or an empty line"
            )
        all_rows = max(1, len(documents.tokens) // self.room)
        super().__init__(all_rows if rows is None else min(rows, all_rows), batch_size, shuffle, seed, shard)
        self.masked, self.pairs, self.seed, self.device = masked, pairs, seed, torch.device(device)
        plain = [index for index in range(len(tokenizer)) if index not in tokenizer.special]
        self.plain = torch.tensor(plain)

    def _order(self) -> int:
        if not self.shuffle:
            self.generator.manual_seed(self.seed)
        return int(torch.randint(2**62, (), generator=self.generator))

    def _read(self, order: int, bounds: list[tuple[int, int]]) -> Iterator[Batch]:
        rank, ranks = self.shard
        for first, end in bounds:
            generator = torch.Generator().manual_seed(order + first * ranks + rank)  # the same after an interruption
            batch = self._mask(self._segments(end - first, generator), generator)
            yield batch if self.device.type == "cpu" else Batch({k: v.to(self.device) for k, v in batch.items()})

    def _segments(self, rows: int, generator: torch.Generator) -> Batch:
        """Pairs of segments, nothing masked."""
        starts, last = self.documents.starts, self.documents.last
        sentence = self.first[torch.randint(len(self.first), (rows,), generator=generator)]
        most = torch.randint(max(1, self.room // 4), max(2, 3 * self.room // 4), (rows,), generator=generator)
        split = torch.searchsorted(starts, starts[sentence] + most, right=True) - 1
        split = torch.minimum(
            torch.maximum(split, sentence + 1), last[sentence]
        )  # the next sentence belongs to the second
        first_end = starts[split]
        first_size = torch.minimum(first_end - starts[sentence], most)
        elsewhere = torch.zeros(rows, dtype=torch.bool)
        if self.pairs:
            elsewhere = torch.rand(rows, generator=generator) < 0.5
        drawn = torch.randint(len(last), (rows,), generator=generator)
        second = torch.where(elsewhere, drawn, split)
        second_size = torch.minimum(starts[last[second] + 1] - starts[second], self.room - first_size)
        return self._compose(first_end - first_size, first_size, starts[second], second_size, elsewhere)

    def _compose(
        self, first: Tensor, first_size: Tensor, second: Tensor, second_size: Tensor, elsewhere: Tensor
    ) -> Batch:
        place = torch.arange(3 + int((first_size + second_size).max()))
        a, b = first_size[:, None], second_size[:, None]
        in_first = (place >= 1) & (place <= a)
        in_second = (place >= a + 2) & (place <= a + b + 1)
        source = torch.where(in_first, first[:, None] + place - 1, second[:, None] + place - a - 2)
        ids = self.documents.tokens[torch.where(in_first | in_second, source, 0)].long()
        ids = torch.where(in_first | in_second, ids, self.tokenizer.pad)
        ids[:, 0] = self.tokenizer.cls
        ids[(place == a + 1) | (place == a + b + 2)] = self.tokenizer.sep
        inside = place <= a + b + 2
        segments = (inside & (place >= a + 2)).long()
        return Batch(
            input_ids=ids, attention_mask=inside, token_type_ids=segments, next_sentence_label=elsewhere.long()
        )

    def _mask(self, batch: Batch, generator: torch.Generator) -> Batch:
        ids = batch["input_ids"]
        special = (ids == self.tokenizer.pad) | (ids == self.tokenizer.cls) | (ids == self.tokenizer.sep)
        chosen = (torch.rand(ids.shape, generator=generator) < self.masked) & ~special
        batch["labels"] = torch.where(chosen, ids, IGNORED)
        way = torch.rand(ids.shape, generator=generator)
        drawn = self.plain[torch.randint(len(self.plain), ids.shape, generator=generator)]
        batch["input_ids"] = torch.where(
            chosen & (way < 0.8), self.tokenizer.mask, torch.where(chosen & (way >= 0.9), drawn, ids)
        )
        return batch
