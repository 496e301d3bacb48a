"""Decoding against enumeration, and against itself."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from mlrun.data.preprocess.tokenizer import BOS, EOS, PAD
from mlrun.generation import decoding
from mlrun.networks.text.transformer import Transformer

LENGTH, SIZE = 4, 7  # tokens 4, 5, 6 are words


class Table:
    """A model whose scores depend on the row and on all tokens so far, at random."""

    def __init__(self, rows, sharpness=1.5, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.table = sharpness * torch.randn(rows, LENGTH, SIZE**2, SIZE, generator=generator)

    def start(self, memory):
        return memory, []

    def step(self, tokens, state):
        rows, seen = state
        seen = [*seen, tokens[:, -1]]
        last = seen[-1] + SIZE * (seen[-2] if len(seen) > 1 else 0)
        return self.table[rows, len(seen) - 1, last], (rows, seen)

    def reorder(self, state, indices):
        return state[0][indices], [tokens[indices] for tokens in state[1]]


def begin(rows):
    return torch.full((rows, 1), BOS), torch.arange(rows)


def exhaustive(model, row, alpha):
    """The best of all texts that end within LENGTH tokens."""
    best, found = -math.inf, None
    memory, prompt = torch.tensor([row]), torch.full((1, 1), BOS)
    for length in range(LENGTH):
        for words in itertools.product([1, 4, 5, 6], repeat=length):
            text = torch.tensor([[*words, EOS]])
            total, count = decoding.log_probability(model, memory, prompt, text)
            score = decoding.normalized(total, count, alpha).item()
            if score > best:
                best, found = score, [*words, EOS]
    return found, best


@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
def test_a_beam_of_full_width_equals_exhaustive_search(alpha):
    model, (prompt, memory) = Table(12), begin(12)
    written = decoding.beam_search(model, memory, prompt, LENGTH, width=5**LENGTH, alpha=alpha)
    narrow = decoding.beam_search(model, memory, prompt, LENGTH, width=1, alpha=alpha)
    for row in range(12):
        text, score = exhaustive(model, row, alpha)
        assert [token for token in written.tokens[row].tolist() if token != PAD] == text
        assert written.score[row].item() == pytest.approx(score, abs=1e-5)
    assert not torch.equal(written.tokens[:, :1], narrow.tokens[:, :1])  # a beam of one falls short of it


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_beam_of_one_equals_greedy(alpha):
    model, (prompt, memory) = Table(200), begin(200)
    one, most = (
        decoding.beam_search(model, memory, prompt, LENGTH, 1, alpha),
        decoding.greedy(model, memory, prompt, LENGTH),
    )
    assert torch.equal(one.tokens, most.tokens)
    torch.testing.assert_close(one.log_probability, most.log_probability)


def test_wider_beams_find_more_probable_texts():
    model, (prompt, memory) = Table(200), begin(200)
    means = [
        decoding.beam_search(model, memory, prompt, LENGTH, width, 0.0).score.mean().item() for width in (1, 2, 4, 16)
    ]
    assert means == sorted(means) and means[0] < means[-1] - 0.1


def test_a_long_text_may_overtake_one_that_has_ended():
    """With alpha > 0 a row goes on while the mean per token can still rise: log(0.8 * 0.4) / 2 = -0.57 of "a", log(0.2) / 4 = -0.40 of "b c c"."""

    class Chain:
        def start(self, memory):
            return 0

        def step(self, tokens, state):
            probability = torch.full((len(tokens), SIZE), 1e-9)
            if state == 0:
                probability[:, 4], probability[:, 5] = 0.8, 0.2
            elif state == 1:
                first = torch.tensor([0, 0.15, 0, 0.4, 0.15, 0.15, 0.15]), torch.tensor([0, 0, 0, 0, 0, 0, 1.0])
                probability = torch.where(tokens == 4, *first).clamp(min=1e-9)
            else:
                probability[:, 6 if state < 3 else EOS] = 1.0
            return probability.log(), state + 1

        def reorder(self, state, indices):
            return state

    written = decoding.beam_search(Chain(), None, begin(1)[0], LENGTH, width=3, alpha=1.0)
    assert written.tokens.tolist() == [[5, 6, 6, EOS]]
    assert decoding.beam_search(Chain(), None, begin(1)[0], LENGTH, width=3, alpha=0.0).tokens.tolist()[0][:2] == [
        4,
        EOS,
    ]


def test_rows_do_not_disturb_each_other_and_end_at_eos():
    model, (prompt, memory) = Table(20), begin(20)
    together = decoding.beam_search(model, memory, prompt, LENGTH, 3)
    for row in range(20):
        alone = decoding.beam_search(model, memory[row : row + 1], prompt[:1], LENGTH, 3)
        assert together.tokens[row, : alone.tokens.shape[1]].tolist() == alone.tokens[0].tolist()
        assert not together.tokens[row, alone.tokens.shape[1] :].any()
    for tokens in (together.tokens, decoding.greedy(model, memory, prompt, LENGTH).tokens):
        for row in tokens.tolist():
            after = row[row.index(EOS) + 1 :] if EOS in row else []
            assert not any(after) and BOS not in row and all(row[: row.index(EOS) if EOS in row else None])
    everything = decoding.beam_search_all(model, memory, prompt, LENGTH, 3)
    for row, found in enumerate(everything):
        assert torch.equal(found.tokens[0], together.tokens[row])
        assert found.score.tolist() == sorted(found.score.tolist(), reverse=True)


def test_log_probability_is_that_of_the_search():
    model, (prompt, memory) = Table(20), begin(20)
    written = decoding.beam_search(model, memory, prompt, LENGTH, 3, alpha=0.5)
    total, length = decoding.log_probability(model, memory, prompt, written.tokens)
    torch.testing.assert_close(total, written.log_probability)
    torch.testing.assert_close(decoding.normalized(total, length, 0.5), written.score)


def test_sampling_follows_the_distribution():
    model, rows = Table(1), 20000
    prompt, memory = torch.full((rows, 1), BOS), torch.zeros(rows, dtype=torch.long)
    expected = decoding.next_log_probabilities(model.step(prompt[:1], model.start(memory[:1]))[0])[0]

    def shares(**options):
        drawn = decoding.sample(model, memory, prompt, 1, generator=torch.Generator().manual_seed(0), **options).tokens[
            :, 0
        ]
        return torch.bincount(drawn, minlength=SIZE) / rows

    torch.testing.assert_close(shares(), expected.exp(), rtol=0, atol=0.015)
    torch.testing.assert_close(shares(temperature=2.0), (expected / 2).softmax(0), rtol=0, atol=0.015)
    top = expected.topk(2).indices
    assert shares(top_k=2).nonzero().flatten().tolist() == sorted(top.tolist())
    assert shares(top_k=1)[top[0]] == 1 and shares(temperature=0.0)[top[0]] == 1
    assert shares(top_p=expected.exp().max().item() * 0.9)[top[0]] == 1


def test_truncation_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert decoding.truncated(logits, top_p=0.75).isfinite().tolist() == [[True, True, False, False]]
    assert decoding.truncated(logits, top_p=0.81).isfinite().tolist() == [[True, True, True, False]]
    assert decoding.truncated(logits.flip(1), top_k=1).isfinite().tolist() == [[False, False, False, True]]
    assert decoding.truncated(logits, top_k=3, top_p=1.0).isfinite().tolist() == [[True, True, True, False]]
    with pytest.raises(ValueError, match="top_p"):
        decoding.truncated(logits, top_p=0.0)


def test_with_and_without_a_cache():
    """A whole text anew for each token, as without a cache, gives what step by step gives."""
    torch.manual_seed(0)
    network = Transformer(9, 9, 16, 2, 2).eval()
    nn.init.normal_(network.decoder.embedding.tokens.weight)
    source = torch.randint(4, 9, (5, 6))
    memory, prompt = network.encode(source), torch.full((5, 1), BOS)
    written = decoding.greedy(network, memory, prompt, 8).tokens
    tokens = prompt
    for place in range(written.shape[1]):
        chosen = decoding.next_log_probabilities(network(source, tokens)[:, -1]).argmax(-1)
        going = written[:, place] != PAD
        assert torch.equal(chosen[going], written[going, place])
        tokens = torch.cat([tokens, chosen[:, None]], 1)


def test_whose_fault():
    assert decoding.fault(reference=-1.0, generated=-2.0) == "search"
    assert decoding.fault(reference=-2.0, generated=-1.0) == "model"
