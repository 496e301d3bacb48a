"""Recurrent encoder-decoders: the papers' formulas, and what is theirs alone."""

from __future__ import annotations

import pytest
import torch

from mlrun.networks.text.seq2seq import AdditiveAttention, DotAttention, Memory, RecurrentSeq2Seq, attend


def made(**options):
    torch.manual_seed(0)
    return RecurrentSeq2Seq(11, 9, **{"embedding": 8, "hidden": 12, **options}).eval()


def tokens(rows, length, size):
    return torch.randint(1, size, (rows, length), generator=torch.Generator().manual_seed(1))


def test_attention_by_the_formulas():
    torch.manual_seed(0)
    s, h, mask = torch.randn(2, 1, 5), torch.randn(2, 4, 6), torch.tensor([[True] * 4, [True, True, False, False]])
    additive, dot = AdditiveAttention(5, 6, 7), DotAttention(5, 6)
    for attention, score in [
        (
            additive,
            lambda i, j: additive.v.weight[0] @ torch.tanh(additive.W.weight @ s[i, 0] + additive.U.weight @ h[i, j]),
        ),
        (dot, lambda i, j: s[i, 0] @ dot.W.weight @ h[i, j]),
    ]:
        context, weights = attend(attention, s, Memory(h, attention.keys(h), mask, None, None))
        for row, length in enumerate((4, 2)):
            expected = torch.stack([score(row, place) for place in range(length)]).softmax(0)
            torch.testing.assert_close(weights[row, 0, :length], expected)
            assert not weights[row, 0, length:].any()
            torch.testing.assert_close(context[row, 0], expected @ h[row, :length])


def test_without_attention_the_context_is_all_that_is_known():
    network, source, target = made(attention="none"), tokens(2, 6, 11), tokens(2, 5, 9)
    memory = network.encode(source)
    memory.outputs.zero_()
    torch.testing.assert_close(network._decode(target, memory)[0], network(source, target))


@pytest.mark.parametrize("attention", ["none", "additive", "dot"])
def test_scheduled_sampling_feeds_what_the_model_said(attention):
    network, source, target = made(attention=attention), tokens(8, 6, 11), tokens(8, 5, 9)
    free, said = network(source, target, teacher_forcing=0.0), target[:, :1]
    for _ in range(4):
        said = torch.cat([said, network(source, said)[:, -1:].argmax(-1)], 1)
    torch.testing.assert_close(free, network(source, said), rtol=0, atol=1e-5)
    assert not torch.allclose(free, network(source, target))


def test_dropout_between_layers_and_its_absence_in_evaluation():
    network = made(dropout=0.5, layers=2, attention="dot")
    source, target = tokens(3, 6, 11), tokens(3, 5, 9)
    torch.testing.assert_close(network(source, target), network(source, target))
    network.train()
    assert not torch.allclose(network(source, target), network(source, target))
