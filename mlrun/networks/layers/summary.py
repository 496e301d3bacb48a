"""A network layer by layer: output shape, parameters, multiply-adds, and the receptive field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mlrun.networks.layers.shapes import meta_tensors

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
WINDOWS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
)  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    Args:
        name: as in `named_modules`.
        kind: name of its class.
        output: shape of its output without the batch.
        parameters: of the layer itself.
        multiply_adds: for one sample, biases not counted.
        receptive_field: pixels of the input along each axis on which one output depends; None where it depends on all.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: tuple[int, ...] | None


class _FieldTensor(Tensor):
    """A tensor that carries the receptive field of its elements, and the distance of neighbours, along each spatial axis."""

    field: tuple[int, ...] | None = None
    jump: tuple[int, ...] | None = None

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = super().__torch_function__(func, types, args, kwargs or {})
        inputs = [tensor for tensor in _tensors(args) if isinstance(tensor, _FieldTensor) and tensor.field is not None]
        if inputs and isinstance(result, _FieldTensor):
            widest = max(
                inputs, key=lambda tensor: tensor.field or ()
            )  # where paths join, the longest has the largest field
            result.field, result.jump = widest.field, widest.jump
        return result


def _tensors(items: Iterable[Any]) -> Iterator[Tensor]:
    for item in items:
        if isinstance(item, (list, tuple)):
            yield from _tensors(item)
        elif isinstance(item, Tensor):
            yield item


def layer_table(network: nn.Module, input_shape: Sequence[int]) -> list[Layer]:
    """Every layer that computes, in the order in which a sample passes through them.

    Nothing is computed: the network runs on the meta device, where tensors have shapes and no values.

    Args:
        network: takes a batch of samples.
        input_shape: of one sample, [channels, ...].
    """
    rows: list[Layer] = []
    names = {module: name for name, module in network.named_modules()}

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        x = inputs[0]
        if isinstance(module, WINDOWS) and x.field is not None:
            kernel, stride, dilation = (
                _per_axis(getattr(module, key, 1), len(x.field)) for key in ("kernel_size", "stride", "dilation")
            )
            output.field = tuple(f + (k - 1) * d * j for f, k, d, j in zip(x.field, kernel, dilation, x.jump))
            output.jump = tuple(j * s for j, s in zip(x.jump, stride))
        elif isinstance(module, nn.LocalResponseNorm):
            output.field, output.jump = x.field, x.jump
        elif isinstance(module, (nn.Flatten, nn.Linear)) or "AdaptiveAvgPool" in type(module).__name__:
            output.field = output.jump = None
        rows.append(
            Layer(
                name=names[module],
                kind=type(module).__name__,
                output=tuple(output.shape[1:]),
                parameters=sum(parameter.numel() for parameter in module.parameters(recurse=False)),
                multiply_adds=_multiply_adds(module, x, output),
                receptive_field=output.field if len(output.shape) > 2 else None,
            )
        )

    hooks = [module.register_forward_hook(record) for module in network.modules() if not next(module.children(), None)]
    sample = torch.empty(1, *input_shape, device="meta").as_subclass(_FieldTensor)
    sample.field = sample.jump = (1,) * (len(input_shape) - 1) or None
    training = network.training
    network.eval()
    try:
        functional_call(network, meta_tensors(network), (sample,))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return rows


def _per_axis(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    return (value,) * axes if isinstance(value, int) else tuple(value)


def _multiply_adds(module: nn.Module, x: Tensor, output: Tensor) -> int:
    if isinstance(module, nn.Linear):
        return module.in_features * output[0].numel()
    if isinstance(module, Convolution):
        per_position = module.weight[0].numel() * (module.in_channels if module.transposed else 1)
        positions = x[0, 0].numel() if module.transposed else output[0].numel()
        return per_position * positions
    return 0


def as_text(rows: Sequence[Layer]) -> str:
    """The table for reading; layers with neither parameters nor a window are left out."""
    shown = [row for row in rows if row.parameters or "Pool" in row.kind]
    table = [("layer", "kind", "output", "parameters", "multiply-adds", "receptive field")]
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


def as_rows(rows: Sequence[Layer]) -> list[dict[str, Any]]:
    """The table for a CSV file: shapes as text."""
    return [
        {key: "x".join(map(str, value)) if isinstance(value, tuple) else value for key, value in asdict(row).items()}
        for row in rows
    ]
