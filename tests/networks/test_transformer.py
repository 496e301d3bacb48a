"""The Transformer: equality with torch's own layers, and what is its alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlrun.networks.text.transformer import Block, Transformer


def made(**options):
    torch.manual_seed(0)
    return Transformer(11, 9, **{"width": 16, "heads": 2, "layers": 2, "max_length": 20, **options}).eval()


def tokens(rows, length, size):
    return torch.randint(1, size, (rows, length), generator=torch.Generator().manual_seed(1))


def test_rows_can_be_taken_on_from_anywhere():
    network, source, target = made(), tokens(3, 6, 11), tokens(3, 4, 9)
    state = network.start(network.encode(source))
    _, state = network.step(target[:, :3], state)
    rows = torch.tensor([2, 2, 0])
    score, _ = network.step(target[rows, 3:], network.reorder(state, rows))
    torch.testing.assert_close(score, network(source, target)[rows, -1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
def test_a_block_equals_torchs_layers(norm_first):
    torch.manual_seed(0)
    theirs = nn.TransformerDecoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=norm_first).eval()
    ours = Block(16, 2, 32, norm_first=norm_first, cross=True).eval()
    with torch.no_grad():
        for own, other in [
            (ours.attention, theirs.self_attn), (ours.cross_attention, theirs.multihead_attn),
        ]:  # fmt: skip
            own.project.weight.copy_(other.in_proj_weight)
            own.project.bias.copy_(other.in_proj_bias)
            own.output.load_state_dict(other.out_proj.state_dict())
        for own, other in [(ours.feed_forward[0], theirs.linear1), (ours.feed_forward[2], theirs.linear2)]:
            own.load_state_dict(other.state_dict())
    x, memory = torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    order = nn.Transformer.generate_square_subsequent_mask(5)
    torch.testing.assert_close(
        ours(x, causal=True, memory=memory), theirs(x, memory, tgt_mask=order), rtol=0, atol=1e-5
    )


def test_the_papers_base_model_has_its_size():
    network = Transformer(37000, 37000, 512, 8, 6, hidden=2048, shared=True, norm_first=False)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == pytest.approx(65e6, rel=0.04)  # table 3


def test_scheduled_sampling_feeds_what_the_model_said():
    network, source, target = made(), tokens(64, 6, 11), tokens(64, 5, 9)
    said = network(source, target).argmax(-1)
    mixed = network._mixed(target, *network.encode(source), 0.0)
    assert torch.equal(mixed[:, 1:], said[:, :-1]) and torch.equal(mixed[:, 0], target[:, 0])
    torch.manual_seed(0)
    kept = (network._mixed(target, *network.encode(source), 0.7) == target)[:, 1:].float().mean()
    assert 0.65 < kept < 0.85
