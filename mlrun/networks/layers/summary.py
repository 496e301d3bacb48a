"""A network layer by layer: output shape, parameters, multiply-adds, and how much of the input one output sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.func import functional_call

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WINDOWS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """name: as in `named_modules`; output: shape without the batch; multiply_adds: for one sample, biases not counted;
    receptive_field: pixels of the input along each axis that one output depends on, null where it is not a matter of windows.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: tuple[int, ...] | None


class _Sighted(torch.Tensor):
    """A tensor that carries the receptive field of its elements, and the distance of neighbours, along each spatial axis."""

    field: tuple[int, ...] | None = None
    jump: tuple[int, ...] | None = None

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        result = super().__torch_function__(function, types, args, kwargs or {})
        seen = [a for a in _tensors(args) if isinstance(a, _Sighted) and a.field is not None]
        if seen and isinstance(result, _Sighted):
            widest = max(seen, key=lambda tensor: tensor.field)  # where paths join, the longest sees most
            result.field, result.jump = widest.field, widest.jump
        return result


def _tensors(items):
    for item in items:
        if isinstance(item, (list, tuple)):
            yield from _tensors(item)
        elif isinstance(item, torch.Tensor):
            yield item


def layer_table(network: nn.Module, input_shape: Sequence[int]) -> list[Layer]:
    """Every layer that computes, in the order in which one sample of `input_shape` [channels, ...] passes them.

    Nothing is computed: the network runs on the meta device, where tensors have shapes and no values.
    """
    rows: list[Layer] = []
    names = {module: name for name, module in network.named_modules()}

    def record(module, inputs, output):
        x = inputs[0]
        if isinstance(module, WINDOWS) and x.field is not None:
            kernel, stride, dilation = (
                _each(getattr(module, key, 1), len(x.field)) for key in ("kernel_size", "stride", "dilation")
            )
            output.field = tuple(f + (k - 1) * d * j for f, k, d, j in zip(x.field, kernel, dilation, x.jump))
            output.jump = tuple(j * s for j, s in zip(x.jump, stride))
        elif isinstance(module, nn.LocalResponseNorm):
            output.field, output.jump = x.field, x.jump
        elif isinstance(module, (nn.Flatten, nn.Linear)) or "AdaptiveAvgPool" in type(module).__name__:
            output.field = output.jump = None
        parameters = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        field = output.field if len(output.shape) > 2 else None
        rows.append(
            Layer(
                names[module],
                type(module).__name__,
                tuple(output.shape[1:]),
                parameters,
                _multiply_adds(module, x, output),
                field,
            )
        )

    hooks = [module.register_forward_hook(record) for module in network.modules() if not next(module.children(), None)]
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    tensors = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    sample = torch.empty(1, *input_shape, device="meta").as_subclass(_Sighted)
    sample.field = sample.jump = (1,) * (len(input_shape) - 1) or None
    training = network.training
    network.eval()
    try:
        functional_call(network, tensors, (sample,))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return rows


def _each(value, count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)


def _multiply_adds(module: nn.Module, x: torch.Tensor, output: torch.Tensor) -> int:
    if isinstance(module, nn.Linear):
        return module.in_features * output[0].numel()
    if isinstance(module, CONVOLUTIONS):
        each = module.weight[0].numel() if not module.transposed else module.weight[0].numel() * module.in_channels
        places = output[0].numel() if not module.transposed else x[0, 0].numel()
        return each * places
    return 0


def as_text(rows: list[Layer]) -> str:
    """The table for reading; layers without parameters and windows are left out."""
    shown = [row for row in rows if row.parameters or "Pool" in row.kind]
    table = [("layer", "kind", "output", "parameters", "multiply-adds", "sees")]
    for row in shown:
        field = "all" if row.receptive_field is None else "x".join(map(str, row.receptive_field))
        table.append(
            (row.name, row.kind, "x".join(map(str, row.output)), f"{row.parameters:,}", f"{row.multiply_adds:,}", field)
        )
    table.append(
        ("total", "", "", f"{sum(r.parameters for r in rows):,}", f"{sum(r.multiply_adds for r in rows):,}", "")
    )
    widths = [max(map(len, column)) for column in zip(*table)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place in (3, 4) else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in table
    )


def as_rows(rows: list[Layer]) -> list[dict]:
    """For a CSV file: shapes as text."""
    return [
        {key: "x".join(map(str, value)) if isinstance(value, tuple) else value for key, value in asdict(row).items()}
        for row in rows
    ]
