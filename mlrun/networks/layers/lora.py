"""LoRA: a linear layer whose weight is fixed, plus a trained product of two small matrices (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ADAPTER = ("lora_A", "lora_B")  # names of the matrices


class LoRALinear(nn.Linear):
    """W x + b + (alpha / rank) B A dropout(x), equation 3 of the paper. B is zero at first, so that nothing changes.

    Its tensors are those of the linear layer under the same names, and `lora_A` (rank, in), `lora_B` (out, rank).

    Args:
        linear: the layer; its parameters are used, not copied.
        rank: r of the paper.
        alpha: scale of the product, together with the rank.
        dropout: of the input of A, in training.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, dropout: float = 0.0):
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.rank, self.scale, self.dropout = rank, alpha / rank, dropout
        like: dict[str, Any] = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.lora_A = nn.Parameter(torch.empty(rank, self.in_features, **like))
        self.lora_B = nn.Parameter(torch.zeros(self.out_features, rank, **like))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))  # as torch initializes a linear layer
        self.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        return self.part(input, slice(None))

    def part(self, input: Tensor, rows: slice) -> Tensor:
        """The outputs `rows` alone."""
        plain = F.linear(input, self.weight[rows], None if self.bias is None else self.bias[rows])
        reduced = F.linear(F.dropout(input, self.dropout, self.training), self.lora_A)
        return plain + self.scale * F.linear(reduced, self.lora_B[rows])

    def merged_weight(self) -> Tensor:
        """(out, in), W + (alpha / rank) B A."""
        return self.weight + self.scale * (self.lora_B @ self.lora_A)


@torch.no_grad()
def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module in which every LoRA layer is replaced by the linear layer that it equals."""
    state = dict(module.state_dict())
    for name, layer in module.named_modules():
        if isinstance(layer, LoRALinear):
            prefix = f"{name}." if name else ""
            state[f"{prefix}weight"] = layer.merged_weight()
            for matrix in ADAPTER:
                del state[prefix + matrix]
    return state


def adapter_state(module: nn.Module, networks: Iterable[str]) -> dict[str, Tensor]:
    """The tensors of a module's state that differ from the weights that training started from.

    Args:
        module: a task.
        networks: names of its children that are trained, in part. Other children, such as the moving average of one, have no gradient, and
            change all the same.
    """
    state: Mapping[str, Tensor] = module.state_dict()
    inside = set(networks)
    fixed = {
        name
        for name, parameter in module.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad and name.partition(".")[0] in inside
    }
    return {name: tensor for name, tensor in state.items() if name not in fixed}


def linear_part(layer: nn.Linear, input: Tensor, rows: slice) -> Tensor:
    """The outputs `rows` of a linear layer, with or without LoRA."""
    if isinstance(layer, LoRALinear):
        return layer.part(input, rows)
    return F.linear(input, layer.weight[rows], None if layer.bias is None else layer.bias[rows])
