"""Linear and MLP: shapes, order of layers, and what a bad start does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlrun.networks.linear import Linear
from mlrun.networks.mlp import MLP


@pytest.mark.parametrize("shape", [[5], [1, 8, 8], (3, 4, 4)])
@pytest.mark.parametrize("outputs", [1, 10])
def test_shapes(shape, outputs):
    x = torch.randn(7, *shape)
    for net in (Linear(shape, outputs), MLP(shape, outputs, hidden=[6, 4]), MLP(shape, outputs, hidden=[])):
        assert net(x).shape == (7, outputs)


def test_linear_is_an_affine_map():
    net = Linear([2, 3], 4)
    x = torch.randn(5, 2, 3)
    torch.testing.assert_close(net(x), x.reshape(5, 6) @ net.head.weight.T + net.head.bias)
    assert Linear([6], 4, bias=False).head.bias is None


def test_order_of_layers():
    net = MLP([4], 2, hidden=[8, 6], activation="tanh", norm="batch", dropout=0.25)
    block = [nn.Linear, nn.BatchNorm1d, nn.Tanh, nn.Dropout]
    assert [type(layer) for layer in net.body] == block * 2
    assert [net.body[4].in_features, net.body[4].out_features, net.head.in_features] == [8, 6, 6]
    assert net.body[3].p == 0.25
    assert [type(layer) for layer in MLP([4], 2, hidden=[8]).body] == [nn.Linear, nn.ReLU]
    assert isinstance(MLP([4], 2, hidden=[8], norm="layer").body[1], nn.LayerNorm)


def test_dropout_acts_in_training_only():
    net = MLP([4], 2, hidden=[64], dropout=0.5)
    x = torch.randn(3, 4)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "identity"])
def test_activations_are_torchs(name):
    function = {"identity": lambda x: x}.get(name) or getattr(torch, name, None) or getattr(nn.functional, name)
    x = torch.linspace(-3, 3, 11)
    torch.testing.assert_close(MLP([1], 1, hidden=[1], activation=name).body[1](x), function(x))


@pytest.mark.parametrize("wrong", [{"activation": "rellu"}, {"norm": "group"}, {"init": "xaver"}])
def test_unknown_names_are_refused_with_the_known_ones(wrong):
    (name, value), *_ = wrong.items()
    with pytest.raises(ValueError, match=f"{name}='{value}': choose one of "):
        MLP([4], 2, hidden=[3], **wrong)


@pytest.mark.parametrize(("init", "alike"), [("zeros", True), ("he", False)])
def test_zero_weights_leave_hidden_units_alike(init, alike):
    """The reason for random starts: units that begin the same get the same gradients and stay the same."""
    torch.manual_seed(0)
    net = MLP([4], 3, hidden=[8], activation="sigmoid", init=init)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    x, y = torch.randn(32, 4), torch.randint(3, (32,))
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    incoming = net.body[0].weight
    assert torch.equal(incoming, incoming[:1].expand_as(incoming)) is alike
    assert incoming.abs().max() > 0


def test_with_relu_zero_weights_learn_nothing_at_all():
    net = MLP([4], 3, hidden=[8], init="zeros")
    nn.functional.cross_entropy(net(torch.randn(32, 4)), torch.randint(3, (32,))).backward()
    assert net.body[0].weight.grad.abs().max() == 0
    assert net.head.weight.grad.abs().max() == 0
