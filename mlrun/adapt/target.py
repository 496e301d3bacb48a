"""What adaptation acts on: the networks of a task, their layers, and the names that a configuration uses for their parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase

from torch import Tensor, nn

# Modules that count as a layer for `first_N` and gradual unfreezing; norms and free parameters belong to the layer before them.
WEIGHTED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Embedding,
    nn.RNNBase,
    nn.MultiheadAttention,
)
HEAD = "head"  # the part of a network that makes its answer
SINGLE = "network"  # the attribute of a task's only network
BACKBONE = "backbone"  # the part of a detection or segmentation network that has the layers of a classifier


class Target:
    """A task seen as its networks: the child modules that are trained.

    A child whose parameters are all fixed when the task is constructed (a moving average, a fixed feature extractor) is
    not one of them. A part of the only network `network` is named without prefix (`body.0`); where a task has several
    networks, the name begins with the attribute that holds it (`encoder.body.0`).

    Args:
        task: the module that holds the networks.
        networks: names of the attributes, if they are known; None: all children with trainable parameters.
    """

    def __init__(self, task: nn.Module, networks: Iterable[str] | None = None):
        children = dict(task.named_children())
        if networks is None:
            networks = [name for name, child in children.items() if any(p.requires_grad for p in child.parameters())]
        self.task = task
        self.networks: dict[str, nn.Module] = {name: children[name] for name in networks}
        self.prefix = f"{SINGLE}." if list(self.networks) == [SINGLE] else ""

    def name_of(self, full: str) -> str:
        """The name that a configuration uses for a parameter, module or tensor of the task: `network.body.0` -> `body.0`."""
        return full[len(self.prefix) :] if full.startswith(self.prefix) else full

    def within_networks(self, full: str) -> bool:
        """Whether a tensor of the task belongs to one of the networks."""
        return full.partition(".")[0] in self.networks

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, parameter) of the whole task, a shared parameter once."""
        for name, parameter in self.task.named_parameters():
            yield self.name_of(name), parameter

    def named_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """(name, module) of every module inside the networks, the networks themselves included where they have a name."""
        for name, network in self.networks.items():
            for inner, module in network.named_modules(prefix=name):
                yield self.name_of(inner), module

    def parts(self) -> list[str]:
        """Names to choose from in an error message: the networks, or the parts with parameters of the only network."""
        if not self.prefix:
            return list(self.networks)
        children = self.networks[SINGLE].named_children()
        return [name for name, part in children if next(part.parameters(), None) is not None]


def layers(network: nn.Module) -> list[list[nn.Module]]:
    """The layers of a network from input to output: in the order in which they are defined, those of its head last.

    A layer is a module with weights, followed by the modules up to the next one that hold parameters or buffers
    themselves, such as its normalization.
    """
    head = getattr(network, HEAD, None)
    inside_head = set(head.modules()) if isinstance(head, nn.Module) else set()
    found: list[list[nn.Module]] = []
    for module in sorted(network.modules(), key=lambda module: module in inside_head):  # stable
        has_parameters = next(module.parameters(recurse=False), None) is not None
        if isinstance(module, WEIGHTED) or (has_parameters and not found):
            found.append([module])
        elif has_parameters or (found and next(module.buffers(recurse=False), None) is not None):
            found[-1].append(module)
    return found


def matches(name: str, pattern: str) -> bool:
    """Whether a dotted name, or a part that contains it, is what `pattern` describes: a name, or a pattern with `*`, `?`, `[...]`.

    `body` matches `body` and `body.0.weight`, not `body2.weight`; `*.attention` matches `blocks.0.attention.output.weight`.
    """
    steps = name.split(".")
    return any(fnmatchcase(".".join(steps[:count]), pattern) for count in range(1, len(steps) + 1))


def for_backbone(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors of a source by full name, those of a classifier's layers under the names that they have in the task's backbone.

    Args:
        tensors: of the source.
        own: of the task.
        prefix: of the task's only network.
    """

    def placed(full: str) -> str:
        inside = f"{prefix}{BACKBONE}.{full.removeprefix(prefix)}"
        return inside if full not in own and inside in own and inside not in tensors else full

    return {placed(full): tensor for full, tensor in tensors.items()}


@contextmanager
def without_gradients(*networks: nn.Module) -> Iterator[None]:
    """Within it no parameter of the networks gets a gradient; afterwards those that were frozen before remain so."""
    parameters = [p for network in networks for p in network.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
