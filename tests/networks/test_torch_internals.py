"""Private interfaces of torch: they exist, do what is needed, and their fallbacks give the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import mlrun
from mlrun.networks.layers import torch_internals

PRIVATE = re.compile(r"\btorch(\.\w+)*\._(?!_)|from torch[.\w]* import _|\b_ConvNd\b|\._modules\b|\._call_impl\b")


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    return [[torch.randn(shape, generator=generator) for shape in ((3, 4), (5,), ())] for _ in range(2)]


def without(monkeypatch, *names):
    for name in names:
        monkeypatch.delattr(torch, name)  # raises AttributeError where torch has dropped it


@pytest.mark.parametrize("fallback", [False, True])
def test_lists_of_tensors(tensors, monkeypatch, fallback):
    if fallback:
        without(monkeypatch, "_foreach_add_", "_foreach_lerp_", "_foreach_sign", "_foreach_norm")
    ours, others = tensors
    expected = [a + 0.5 * b for a, b in zip(ours, others)]
    torch_internals.add_each_(ours, others, alpha=0.5)
    torch.testing.assert_close(ours, expected)
    expected = [a + 0.25 * (b - a) for a, b in zip(ours, others)]
    torch_internals.lerp_each_(ours, others, 0.25)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(torch_internals.sign_each(ours), [tensor.sign() for tensor in ours])
    for order in (1, 2):
        expected = [tensor.abs().pow(order).sum() ** (1 / order) for tensor in ours]
        torch.testing.assert_close(torch_internals.norm_each(ours, order), expected)


def test_an_error_of_the_compiler_is_told_from_one_of_the_network():
    torch._dynamo.reset()

    def breaks(x):
        torch._dynamo.graph_break()
        return x + 1

    with pytest.raises(torch_internals.compiler_errors()):
        torch.compile(breaks, backend="eager", fullgraph=True)(torch.ones(2))
    with pytest.raises(RuntimeError) as raised:
        torch.compile(nn.Linear(2, 1), backend="eager")(torch.ones(2)).view(3)
    assert not isinstance(raised.value, torch_internals.compiler_errors())
    torch._dynamo.reset()


def test_without_the_private_module_every_runtime_error_counts(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch._dynamo.exc", None)
    assert torch_internals.compiler_errors() == (RuntimeError, ImportError)


def test_private_interfaces_of_torch_are_used_in_one_file_only():
    root = Path(mlrun.__file__).parent
    found = {
        f"{path.relative_to(root)}: {line.strip()}"
        for path in root.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if PRIVATE.search(line) and path.name != "torch_internals.py"
    }
    assert not found
