"""Attention against the paper's formula and torch's own module; who may look at whom."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlrun.networks.text.attention import KeyValueCache, MultiHeadAttention, attend, kept_weights
from mlrun.networks.text.positions import Positions, sinusoids


def random_mask(*shape):
    mask = torch.rand(shape) < 0.6
    mask[..., 0] = True  # nobody may be left without anything to look at
    return mask


@pytest.mark.parametrize("bias", [True, False])
def test_equals_torchs_multi_head_attention(bias):
    torch.manual_seed(0)
    ours, theirs = MultiHeadAttention(24, 4, bias=bias), nn.MultiheadAttention(24, 4, bias=bias, batch_first=True)
    nn.init.normal_(ours.output.weight)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.project.weight)
        theirs.out_proj.weight.copy_(ours.output.weight)
        if bias:
            for parameter in (ours.project.bias, ours.output.bias):
                nn.init.normal_(parameter)
            theirs.in_proj_bias.copy_(ours.project.bias)
            theirs.out_proj.bias.copy_(ours.output.bias)
    x, y = torch.randn(3, 5, 24), torch.randn(3, 7, 24)
    seen = random_mask(3, 7)
    torch.testing.assert_close(ours(x, y, y, seen), theirs(x, y, y, key_padding_mask=~seen, need_weights=False)[0])
    seen = random_mask(3, 1, 5, 7).expand(3, 4, 5, 7)
    torch.testing.assert_close(ours(x, y, y, seen), theirs(x, y, y, attn_mask=~seen.reshape(12, 5, 7))[0])
    order = nn.Transformer.generate_square_subsequent_mask(5)
    torch.testing.assert_close(
        ours(x, x, x, causal=True), theirs(x, x, x, attn_mask=order, is_causal=True, need_weights=False)[0]
    )
    with kept_weights(ours):
        ours(x, y, y, seen)
        torch.testing.assert_close(ours.weights.mean(1), theirs(x, y, y, attn_mask=~seen.reshape(12, 5, 7))[1])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_the_formula_equals_the_fused_kernel(masked, causal):
    torch.manual_seed(0)
    attention, x = MultiHeadAttention(16, 2), torch.randn(2, 6, 16)
    mask = random_mask(2, 6, 6) if masked else None
    if masked:
        mask |= torch.eye(6, dtype=torch.bool)
    fused = attention(x, x, x, mask, causal)
    with kept_weights(attention):
        torch.testing.assert_close(attention(x, x, x, mask, causal), fused)
        torch.testing.assert_close(attention.weights.sum(-1), torch.ones(2, 2, 6))
        if masked:
            assert not attention.weights.masked_select(~mask[:, None].expand(2, 2, 6, 6)).any()
    assert attention.weights is None


def test_attend_by_hand():
    Q, K = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0**0.5, 0.0], [0.0, 3.0]])
    V = torch.tensor([[1.0], [0.0]])
    result, _weights = attend(Q, K, V)
    assert result.item() == pytest.approx(torch.e / (torch.e + 1))  # scores 1 and 0
    assert attend(Q, K, V, torch.tensor([False, True]))[1].tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("cut", [1, 3])
def test_a_cache_changes_nothing(cut):
    torch.manual_seed(0)
    attention, x = MultiHeadAttention(16, 4), torch.randn(2, 7, 16)
    cache, parts = KeyValueCache(), []
    for part in x.split(cut, 1):
        parts.append(attention(part, part, part, causal=True, cache=cache))
    assert len(cache) == 7
    torch.testing.assert_close(torch.cat(parts, 1), attention(x, x, x, causal=True))
    memory = torch.randn(2, 3, 16)
    torch.testing.assert_close(
        attention(x, None, None, cache=attention.project_memory(memory)), attention(x, memory, memory)
    )


def test_sinusoids_are_the_papers():
    table = sinusoids(50, 8)
    for position, i in [(0, 0), (7, 1), (49, 3)]:
        angle = torch.tensor(position / 10000 ** (2 * i / 8))
        torch.testing.assert_close(table[position, 2 * i : 2 * i + 2], torch.stack([angle.sin(), angle.cos()]))
    longer = Positions(8, 4)(torch.zeros(1, 9, 8))
    torch.testing.assert_close(longer[0], sinusoids(9, 8))
    with pytest.raises(ValueError, match="max_length"):
        Positions(8, 4, "learned")(torch.zeros(1, 5, 8))
