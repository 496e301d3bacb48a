"""Recurrent layers: the written-out cells equal torch's kernels; padding changes nothing."""

from __future__ import annotations

import pytest
import torch

from mlrun.networks.text.recurrent import CELLS, Recurrent


def parts(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("lengths", [None, [7, 2, 5]])
@pytest.mark.parametrize("layers, bidirectional", [(1, False), (2, False), (2, True)])
@pytest.mark.parametrize("cell", CELLS)
def test_the_equations_equal_the_fused_kernels(cell, layers, bidirectional, lengths):
    torch.manual_seed(0)
    network = Recurrent(4, 6, cell, layers, bidirectional=bidirectional, forget_bias=1.0)
    x = torch.randn(3, 7, 4, requires_grad=True)
    lengths = None if lengths is None else torch.tensor(lengths)
    found = []
    start = tuple(torch.randn(layers * (1 + bidirectional), 3, 6) for _ in range(2 if cell == "lstm" else 1))
    for fused in (True, False):
        network.fused = fused
        outputs, state = network(x, start if cell == "lstm" else start[0], lengths)
        gradient = torch.autograd.grad(outputs.square().sum(), [x, *network.parameters()])
        found.append([outputs, *parts(state), *gradient])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_packed_rows_equal_rows_alone(cell, fused):
    torch.manual_seed(0)
    network = Recurrent(4, 6, cell, 2, bidirectional=True, fused=fused)
    x, lengths = torch.randn(3, 9, 4), torch.tensor([4, 9, 1])
    with torch.no_grad():
        outputs, state = network(x, lengths=lengths)
        for row, length in enumerate(lengths):
            alone, end = network(x[row : row + 1, :length])
            torch.testing.assert_close(outputs[row, :length], alone[0], atol=1e-6, rtol=1e-5)
            assert not outputs[row, length:].any()
            for together, single in zip(parts(state), parts(end)):
                torch.testing.assert_close(together[:, row], single[:, 0], atol=1e-6, rtol=1e-5)
        x[0, 4:] = 99.0  # padding
        torch.testing.assert_close(network(x, lengths=lengths)[0], outputs)


def test_a_carried_state_continues():
    network = Recurrent(4, 6, "lstm", 2)
    x = torch.randn(3, 8, 4)
    whole, _ = network(x)
    _, state = network(x[:, :5])
    torch.testing.assert_close(network(x[:, 5:], state)[0], whole[:, 5:])


def test_the_forget_gate_starts_open():
    biases = dict(Recurrent(2, 3, "lstm", forget_bias=1.0).layers.named_parameters())
    assert biases["bias_ih_l0"][3:6].tolist() == [1, 1, 1]


def test_an_unknown_cell_is_named():
    with pytest.raises(ValueError, match="rnn, gru, lstm"):
        Recurrent(2, 3, "ltsm")
