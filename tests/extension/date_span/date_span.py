"""The span of a date in a text: data, network, task and evaluator."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from mlrun.data.features import Span, Text
from mlrun.data.row_data import Content, RowData
from mlrun.evaluation.evaluator import Better, Evaluator
from mlrun.tasks.task import Loss, Task

MONTHS = "January February March April May June July August September October November December".split()
SENTENCES = (
    "Thank you for your letter of {}.",
    "The meeting on {} is cancelled, call room {}.",
    "Order {}: it was shipped on {} and costs {} euros.",
    "We moved here in room {} before {}.",
)


class Letters(RowData):
    """Sentences with one date and other numbers; the target is where the date stands."""

    def __init__(self, problem, name, seed, rows=600, **options):
        super().__init__(problem, name, seed, **options)
        self.count = rows
        self.preprocessing["tokenizer"] = {"kind": "characters"}

    def read(self):
        random, texts, spans = np.random.default_rng(0), [], []
        for _ in range(self.count):
            day, month, year = random.integers(1, 29), random.integers(12), random.integers(1950, 2030)
            date = (f"{day} {MONTHS[month]} {year}", f"{year}-{month + 1:02}-{day:02}")[random.integers(2)]
            sentence = SENTENCES[random.integers(len(SENTENCES))]
            place = random.integers(sentence.count("{}"))
            others = (str(random.integers(100, 9999)) for _ in range(9))
            parts = sentence.split("{}")
            text = parts[0]
            for at, part in enumerate(parts[1:]):
                if at == place:
                    spans.append((len(text), len(text) + len(date)))
                text += (date if at == place else next(others)) + part
            texts.append(text)
        column = np.empty(len(texts), dtype=object)
        column[:] = texts
        return Content(
            {"text": column, "date": np.array(spans)}, {"text": Text(), "date": Span(of="text")}, "generated", ("date",)
        )


class SpanNetwork(nn.Module):
    """(batch, tokens) ids -> scores of each token as the first and as the last of the span, (batch, tokens, 2)."""

    def __init__(self, vocab_size, width):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width)
        self.reader = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 2)

    def forward(self, input_ids, attention_mask):
        scores = self.head(self.reader(self.embedding(input_ids))[0])
        return scores.masked_fill(~attention_mask[..., None], -torch.inf)


class SpanFinding(Task):
    """Minimizes the cross-entropy of the first and of the last token (Devlin et al. 2018, section 4.2)."""

    monitor = "exact_match"

    def __init__(self, network):
        super().__init__()
        self.network = network

    def loss(self, batch):
        first, last = self.feed(batch).unbind(-1)
        value = F.cross_entropy(first, batch["start_positions"]) + F.cross_entropy(last, batch["end_positions"])
        return Loss(value / 2, len(first))

    def predict(self, batch):
        first, last = self.feed(batch).unbind(-1)
        return {"start_logits": first, "end_logits": last}


class ExactMatch(Evaluator):
    """The share of texts whose span is exactly right."""

    metrics = {"exact_match": Better.LARGER}

    def begin(self, subject):
        super().begin(subject)
        self.right, self.rows = 0, 0

    def update(self, batch, examples, predictions):
        self.right += int((predictions.spans == examples["date"]).all(axis=1).sum())
        self.rows += len(predictions)

    def compute(self):
        return {"exact_match": self.right / max(1, self.rows)}
