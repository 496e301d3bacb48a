"""Generating a text token by token with any model that scores the next one: greedy, beam search, sampling.

A model offers
    start(memory) -> state                  memory: the output of an encoder, None for a language model
    step(tokens, state) -> (logits, state)  tokens (rows, new) int64: those after the ones in the state; logits (rows, vocabulary) of the next
    reorder(state, indices) -> state        the state of these rows, in this order; only for beam search
and decides what its state holds (keys and values, a recurrent state). All rows are generated together, and a row ends at EOS.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mlrun.data.preprocess.tokenizer import BOS, EOS, PAD

NEVER = (PAD, BOS)  # tokens that only frame a text


class Decoder(Protocol):
    """A model that scores the next token."""

    def start(self, memory: Any) -> Any:
        """The state before the first token."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """(rows, new) tokens -> logits (rows, vocabulary) of the next one, and the state that has seen them."""


class BeamDecoder(Decoder, Protocol):
    """A model whose state can be rearranged, as beam search does."""

    def reorder(self, state: Any, indices: Tensor) -> Any:
        """The state of these rows, in this order."""


@dataclass
class GenerationOutput:
    """Generated texts.

    tokens: (rows, length) int64 without the prompt, each row up to its EOS, then PAD.
    log_probability: (rows,) of a row's tokens, EOS included.
    score: (rows,) by which texts are ranked, see `normalized`.
    """

    tokens: Tensor
    log_probability: Tensor
    score: Tensor


def normalized(log_probability: Tensor, length: int | Tensor, alpha: float) -> Tensor:
    """log P / L^alpha: 0 ranks by probability, which prefers short texts; 1 by the mean per token (Wu et al. 2016, arXiv:1609.08144, without its +5)."""
    lengths = torch.as_tensor(length, dtype=log_probability.dtype, device=log_probability.device)
    return log_probability / lengths**alpha


@torch.inference_mode()
def greedy(model: Decoder, memory: Any, prompt: Tensor, max_length: int) -> GenerationOutput:
    """The most probable token each time. prompt: (rows, tokens), a column of BOS for translation; max_length: tokens to generate at most."""
    return _generate(model, memory, prompt, max_length, lambda log_probabilities: log_probabilities.argmax(-1))


@torch.inference_mode()
def sample(
    model: Decoder,
    memory: Any,
    prompt: Tensor,
    max_length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> GenerationOutput:
    """Tokens drawn from softmax(logits / temperature), restricted by `truncated`; temperature 0 is greedy.

    The log probabilities are those of the model itself, at temperature 1.

    Args:
        model, memory, prompt, max_length: as in `greedy`.
        temperature: not negative; below 1 prefers probable tokens.
        top_k, top_p: see `truncated`.
        generator: on the model's device.

    Raises:
        ValueError: a setting is out of its range.
    """
    if temperature < 0:
        raise ValueError(f"temperature={temperature}: must not be negative")
    if temperature == 0:
        return greedy(model, memory, prompt, max_length)

    def choose(log_probabilities: Tensor) -> Tensor:
        probabilities = truncated(log_probabilities / temperature, top_k, top_p).softmax(-1)
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)

    return _generate(model, memory, prompt, max_length, choose)


def truncated(logits: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """(..., vocabulary) with -inf for all but the top_k highest (Fan et al. 2018), and for all but the smallest set of the most
    probable ones whose probabilities add up to top_p (Holtzman et al. 2020, arXiv:1904.09751)."""
    if top_k is not None:
        if top_k < 1:
            raise ValueError(f"top_k={top_k}: must be at least 1")
        least = logits.topk(min(top_k, logits.shape[-1]), -1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if top_p is not None:
        if not 0 < top_p <= 1:
            raise ValueError(f"top_p={top_p}: must be above 0 and at most 1")
        ordered, order = logits.sort(-1, descending=True)
        probabilities = ordered.softmax(-1)
        beyond = probabilities.cumsum(-1) - probabilities >= top_p  # the more probable ones are enough
        logits = logits.masked_fill(beyond.scatter(-1, order, beyond), -math.inf)
    return logits


def _generate(
    model: Decoder, memory: Any, prompt: Tensor, max_length: int, choose: Callable[[Tensor], Tensor]
) -> GenerationOutput:
    rows, device = len(prompt), prompt.device
    state, tokens = model.start(memory), prompt
    generated = torch.full((rows, max_length), PAD, dtype=torch.long, device=device)
    total, length = torch.zeros(rows, device=device), torch.zeros(rows, device=device)
    open_rows = torch.ones(rows, dtype=torch.bool, device=device)
    for place in range(max_length):
        logits, state = model.step(tokens, state)
        log_probabilities = next_log_probabilities(logits)
        chosen = choose(log_probabilities)
        gained = log_probabilities.gather(1, chosen[:, None]).squeeze(1)
        generated[:, place] = torch.where(open_rows, chosen, PAD)
        total = total + torch.where(open_rows, gained, 0.0)
        length = length + open_rows
        open_rows = open_rows & (chosen != EOS)
        if place % 4 == 3 and not open_rows.any():  # a transfer from the GPU in every step would stall it
            break
        tokens = chosen[:, None]
    tokens = generated[:, : place + 1] if max_length else generated
    return GenerationOutput(tokens, total, normalized(total, length.clamp(min=1), 1.0))


def next_log_probabilities(logits: Tensor) -> Tensor:
    """(rows, vocabulary) in single precision; PAD and BOS are never generated."""
    logits = logits.float().clone()
    logits[:, NEVER] = -math.inf
    return logits.log_softmax(-1)


def beam_search(
    model: BeamDecoder, memory: Any, prompt: Tensor, max_length: int, width: int = 4, alpha: float = 1.0
) -> GenerationOutput:
    """The text with the highest log P / L^alpha that a beam of `width` texts per row meets.

    A text that ends leaves the beam, which is narrower by one from then on (Sutskever et al. 2014); so width 1 is greedy search.
    A text cut at max_length counts only where none ended.

    Args:
        model, memory, prompt, max_length: as in `greedy`.
        width: texts in the beam of a row.
        alpha: of `normalized`.

    Raises:
        ValueError: width is less than 1.
    """
    tokens, total, score = _beams(model, memory, prompt, max_length, width, alpha)
    return GenerationOutput(tokens[:, 0], total[:, 0], score[:, 0])


def beam_search_all(
    model: BeamDecoder, memory: Any, prompt: Tensor, max_length: int, width: int = 4, alpha: float = 1.0
) -> list[GenerationOutput]:
    """For each row all texts that ended in its beam (or were cut, where none ended), best first; arguments as in `beam_search`."""
    tokens, total, score = _beams(model, memory, prompt, max_length, width, alpha)
    return [
        GenerationOutput(tokens[row, found], total[row, found], score[row, found])
        for row, found in enumerate(score.isfinite())
    ]


@torch.inference_mode()
def _beams(
    model: BeamDecoder, memory: Any, prompt: Tensor, max_length: int, width: int, alpha: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens (rows, width, length), log P and score (rows, width) of the texts that ended, best first; the score of none is -inf."""
    if width < 1:
        raise ValueError(f"width={width}: must be at least 1")
    rows, device = len(prompt), prompt.device
    logits, state = model.step(prompt, model.start(memory))
    scores = next_log_probabilities(logits)  # (rows, vocabulary) of one beam, before there are several
    vocabulary, first = scores.shape[1], torch.arange(rows, device=device)[:, None] * width
    state = model.reorder(state, torch.arange(rows, device=device).repeat_interleave(width))
    scores = torch.cat([scores[:, None], scores.new_full((rows, width - 1, vocabulary), -math.inf)], 1)
    tokens = torch.full((rows, width, max_length), PAD, dtype=torch.long, device=device)
    done_tokens, done_total = tokens.clone(), torch.full((rows, width), -math.inf, device=device)
    rank = torch.arange(width, device=device)
    done_score, ended = done_total.clone(), torch.zeros(rows, dtype=torch.long, device=device)
    for place in range(max_length):
        total, flat = scores.flatten(1).topk(width, -1)  # (rows, width), best first
        total = total.masked_fill(rank >= width - ended[:, None], -math.inf)
        source, token = flat // vocabulary, flat % vocabulary
        tokens = tokens.gather(1, source[:, :, None].expand_as(tokens))
        tokens[:, :, place] = token
        ends = (token == EOS) & total.isfinite()
        slot = (ended[:, None] + ends.cumsum(1) - 1)[ends]  # at most `width` texts of a row ever end
        row = ends.nonzero()[:, 0]
        done_tokens[row, slot], done_total[row, slot] = tokens[ends], total[ends]
        done_score[row, slot] = normalized(total[ends], place + 1, alpha)
        ended = ended + ends.sum(1)
        total = total.masked_fill(ends, -math.inf)
        open_rows = normalized(total.amax(1), max_length if alpha > 0 else place + 1, alpha) > done_score.amax(1)
        total = total.masked_fill(~open_rows[:, None], -math.inf)  # log P only falls: the other rows are decided
        if place + 1 == max_length or not total.isfinite().any():
            break
        state = model.reorder(state, (first + source).flatten())
        logits, state = model.step(token.view(-1, 1), state)
        scores = total[:, :, None] + next_log_probabilities(logits).view(rows, width, vocabulary)
    cut = (ended == 0)[:, None] & total.isfinite()
    done_tokens = torch.where(cut[:, :, None], tokens, done_tokens)
    done_total = torch.where(cut, total, done_total)
    done_score = torch.where(cut, normalized(total, max_length, alpha), done_score)
    order = done_score.argsort(dim=1, descending=True, stable=True)
    done_tokens = done_tokens.gather(1, order[:, :, None].expand_as(done_tokens))[:, :, : place + 1]
    return done_tokens, done_total.gather(1, order), done_score.gather(1, order)


@torch.inference_mode()
def log_probability(model: Decoder, memory: Any, prompt: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """log P of given texts (rows, length), each with EOS and then PAD, and their numbers of tokens: (rows,) both."""
    state, given, total = model.start(memory), prompt, torch.zeros(len(tokens), device=tokens.device)
    for place in range(tokens.shape[1]):
        logits, state = model.step(given, state)
        given = tokens[:, place : place + 1]
        gained = next_log_probabilities(logits).gather(1, given).squeeze(1)
        total = total + torch.where(given.squeeze(1) == PAD, 0.0, gained)
    return total, (tokens != PAD).sum(1)


def fault(reference: float, generated: float) -> str:
    """Beam error analysis, given the scores of a reference and of the worse text that was generated: "search" if the model ranks the
    reference first and the beam missed it, "model" if it does not."""
    return "search" if reference > generated else "model"
