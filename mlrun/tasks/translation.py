"""One text from another: translation, transliteration, sums as strings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.data.preprocess.text import as_texts
from mlrun.data.preprocess.tokenizer import BOS, PAD
from mlrun.evaluation import metrics as measures
from mlrun.generation import decoding
from mlrun.tasks.task import Task

ANSWER_ROWS = 256  # texts that are answered at once
EXPLAINED = 500  # wrong answers at most that a beam's error analysis looks at
DRAWN = 4  # attention maps


class Translation(Task):
    """Minimizes the cross-entropy of each next token of the target, and writes targets by `mlrun.generation.decoding`.

    Validation writes greedily, the final evaluation and `answer` by beam search where beam_width > 1.

    Args:
        network: (source, target) -> scores of the next tokens, with `encode`, `start`, `step` and `reorder`; see `mlrun.networks.text.transformer`.
        measure: "exact_match" or "bleu", a fact of the dataset: what the best epoch is chosen by.
        max_target_length: tokens to write at most.
        label_smoothing: share of the target probability spread over all tokens (Szegedy et al. 2016); not in validation.
        teacher_forcing: share of the true tokens that the decoder is fed in training, a number or a function of the share of the training
            that is over, such as `mlrun.data.environments.exploration.Linear` (scheduled sampling, Bengio et al. 2015).
        guided_attention: weight of the loss that pulls attention towards the diagonal (Tachibana et al. 2018, arXiv:1710.08969, section 4.1);
            guided_width: its g, how far from the diagonal is free.
        length_penalty: alpha of log P / L^alpha.
    """

    mode = "max"

    def __init__(
        self,
        network: nn.Module,
        measure: str,
        max_target_length: int,
        label_smoothing: float = 0.0,
        teacher_forcing: float | Callable = 1.0,
        guided_attention: float = 0.0,
        guided_width: float = 0.2,
        beam_width: int = 1,
        length_penalty: float = 1.0,
    ):
        super().__init__()
        if beam_width < 1:
            raise ValueError(f"beam_width={beam_width}: must be at least 1")
        if guided_attention and getattr(network, "attention", True) is None:
            raise ValueError(
                f"guided_attention={guided_attention}: this network has no attention; see network.attention"
            )
        self.network, self.measure, self.max_target_length = network, measure, max_target_length
        self.label_smoothing, self.teacher_forcing = label_smoothing, teacher_forcing
        self.guided_attention, self.guided_width = guided_attention, guided_width
        self.beam_width, self.length_penalty = beam_width, length_penalty
        self.monitor = f"val/{measure}"
        self._written: list[Tensor] = []

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.network(source, target)

    def training_step(self, batch, batch_index):
        source, target = batch
        fed, wanted = target[:, :-1], target[:, 1:]
        share = self.teacher_forcing(self.progress) if callable(self.teacher_forcing) else self.teacher_forcing
        if self.guided_attention:
            scores, weights = self.network(source, fed, share, with_attention=True)
        else:
            scores, weights = self.network(source, fed, share), None
        loss = cross_entropy(scores, wanted, self.label_smoothing)
        self.tally("train", 1, loss=loss.detach())
        if weights is not None:
            loss = loss + self.guided_attention * guided_attention_loss(
                weights, source != PAD, wanted != PAD, self.guided_width
            )
        return loss

    @property
    def progress(self) -> float:
        """Share of the training that is over."""
        return self.global_step / max(1, self.trainer.estimated_stepping_batches)

    def on_validation_epoch_start(self):
        self._written = []

    def validation_step(self, batch, batch_index):
        source, target = batch
        memory = self.network.encode(source)
        self._tally_tokens("val", self.network(source, target[:, :-1]), target[:, 1:])
        self._written.append(decoding.greedy(self.network, memory, beginning(source), self.max_target_length).tokens)

    def _tally_tokens(self, stage: str, scores: Tensor, wanted: Tensor) -> None:
        valid = wanted != PAD
        count = valid.sum()
        right = ((scores.argmax(-1) == wanted) & valid).sum()
        self.tally(stage, count, loss=cross_entropy(scores, wanted).float() * count, token_accuracy=right)

    def epoch_metrics(self, stage):
        metrics = super().epoch_metrics(stage)
        if stage == "val" and self._written:
            texts, (_, references) = (
                self._in_order(self._written, self.trainer.val_dataloaders, self.data),
                self.data.references("val"),
            )
            # of this process's share
            kept = [(text, expected) for text, expected in zip(texts, references) if text is not None]
            scored = measures.translation(*zip(*kept), bleu=self.measure == "bleu")
            metrics.update({f"{stage}/{name}": value for name, value in scored.items()})
            self._written = []
        return metrics

    def _in_order(self, written: list[Tensor], loader, data) -> list[str | None]:
        """Texts in the order of `data.references`; None where another process has written."""
        rank, ranks = loader.shard
        texts = [None] * loader.rows
        rows = (ids for batch in written for ids in batch.tolist())
        for row, ids in zip(loader.order[rank::ranks].tolist(), rows):
            texts[row] = data.transform.text(ids)
        return texts

    @torch.inference_mode()
    def write(self, source: Tensor) -> decoding.Written:
        """The translations of sources (rows, sources), as the settings say."""
        memory, prompt = self.network.encode(source), beginning(source)
        if self.beam_width == 1:
            return decoding.greedy(self.network, memory, prompt, self.max_target_length)
        return decoding.beam_search(
            self.network, memory, prompt, self.max_target_length, self.beam_width, self.length_penalty
        )

    @torch.inference_mode()
    def evaluate(self, loader, data):
        written, scores, compared = [], [], []
        for source, target in loader:
            self._tally_tokens("evaluation", self.network(source, target[:, :-1]), target[:, 1:])
            found = self.write(source)
            written.append(found.tokens)
            if self.beam_width > 1:
                total, length = decoding.log_probability(
                    self.network, self.network.encode(source), beginning(source), target[:, 1:]
                )
                compared.append(decoding.normalized(total, length, self.length_penalty))
                scores.append(found.score)
        sums = {name: float(value) for name, value in self._sums.pop("evaluation").items()}
        texts, (sources, references) = self._in_order(written, loader, data), data.references(loader.part)
        places = torch.argsort(loader.order)
        ranks = [torch.cat(parts).cpu()[places].tolist() if parts else None for parts in (scores, compared)]
        self.outcome = Translations(sources, references, texts, *ranks)
        means = {name: sums[name] / sums["count"] for name in ("loss", "token_accuracy")}
        return {**measures.translation(texts, references, bleu=self.measure == "bleu"), **means}

    @torch.inference_mode()
    def answer(self, rows, transform) -> np.ndarray:
        """(rows,) texts for a list, array or column of texts."""
        texts = as_texts(rows)
        answers = np.empty(len(texts), dtype=object)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for start in range(0, len(order), ANSWER_ROWS):
            chosen = order[start : start + ANSWER_ROWS]
            source = torch.from_numpy(transform([texts[row] for row in chosen])).to(self.device)
            for row, ids in zip(chosen, self.write(source).tokens.tolist()):
                answers[row] = transform.text(ids)
        return answers

    def figures(self, data, part):
        from mlrun.report.translation import attention_maps, beam_errors, translations

        yield "translations", translations(self.outcome)
        if self.outcome.scores:
            yield "beam_errors", beam_errors(self.outcome, EXPLAINED)
        maps = self._attention_maps(data)
        if maps:
            yield "attention", attention_maps(maps)

    @torch.inference_mode()
    def _attention_maps(self, data) -> list:
        """(source tokens, written tokens, weights (written, sources)) of some texts, the mean over layers and heads."""
        maps, encoding = [], data.transform
        for text in _various(self.outcome.sources, DRAWN):
            ids = encoding.source_ids(text)
            source = torch.from_numpy(ids.astype(np.int64))[None].to(self.device)
            tokens = self.write(source).tokens
            tokens = tokens[:, : (tokens != PAD).sum()]
            fed = torch.cat([beginning(source), tokens[:, :-1]], 1)
            _, weights = self.network(source, fed, with_attention=True)
            if weights is None:
                return []
            names = [
                [tokenizer.vocabulary[token] for token in row]
                for tokenizer, row in ((encoding.source, ids), (encoding.target, tokens[0].tolist()))
            ]
            maps.append((*names, weights[0].mean(0).float().cpu().numpy()))
        return maps


@dataclass
class Translations:
    """What was written for each source, and what might have been. scores, reference_scores: log P / L^alpha of what was written and of the
    first reference, where a beam was used."""

    sources: list[str]
    references: list[list[str]]
    written: list[str]
    scores: list[float] | None = None
    reference_scores: list[float] | None = None


def beginning(source: Tensor) -> Tensor:
    """(rows, 1): what a text begins with."""
    return torch.full((len(source), 1), BOS, dtype=torch.long, device=source.device)


def cross_entropy(scores: Tensor, wanted: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean over the tokens that are there. scores: (batch, targets, vocabulary); wanted: (batch, targets)."""
    return F.cross_entropy(scores.flatten(0, 1), wanted.flatten(), ignore_index=PAD, label_smoothing=label_smoothing)


def guided_attention_loss(weights: Tensor, source_mask: Tensor, target_mask: Tensor, width: float) -> Tensor:
    """Mean of A_nt (1 - exp(-(n/N - t/T)^2 / (2 g^2))): what attention lies far from the diagonal.

    weights: (batch, heads, targets, sources); masks: (batch, sources) and (batch, targets), True where there is a token; width: g.
    """

    def share(mask):
        return torch.arange(mask.shape[1], device=mask.device) / mask.sum(1, keepdim=True)

    distance = share(target_mask)[:, :, None] - share(source_mask)[:, None, :]
    penalty = (1 - torch.exp(-(distance**2) / (2 * width**2))) * target_mask[:, :, None] * source_mask[:, None, :]
    return (weights * penalty[:, None]).sum() / (weights.shape[1] * target_mask.sum())


def _various(texts: list[str], count: int) -> list[str]:
    """Some texts of different length, none of them long."""
    # a set has another order each time
    short = sorted(dict.fromkeys(text for text in texts[:200] if len(text) <= 60), key=len)
    return short[len(short) // (2 * count) :: max(1, len(short) // count)][:count]
