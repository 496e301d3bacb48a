"""Sharded networks: each process keeps a part of every parameter, and of its gradient and optimizer state (torch's FSDP2).

Zhao et al. 2023, "PyTorch FSDP: experiences on scaling fully sharded data parallel", arXiv:2304.11277.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from mlrun.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import FSDPModule


def shard(owner: nn.Module, mesh: DeviceMesh) -> None:
    """Divides the parameters of the networks of a module among processes.

    The repeated blocks of a network are gathered one after the other when they are used; what is outside of them, all at once.

    Args:
        owner: its children are the networks.
        mesh: the processes, of one dimension.

    Raises:
        ConfigError: there are parameters that cannot be divided.
    """
    names = [name for name, _ in owner.named_parameters(recurse=False)]
    names += [name for name, parameter in owner.named_parameters() if parameter.ndim == 0]
    if names:
        raise ConfigError(
            f"trainer.strategy=fsdp: cannot divide {', '.join(dict.fromkeys(names))}: parameters outside of the networks, or single numbers; "
            "use trainer.strategy=ddp"
        )
    for network in owner.children():
        for part in network.modules():
            if isinstance(part, nn.ModuleList):
                for block in part:
                    _shard(block, mesh)
        _shard(network, mesh)


def gather(owner: nn.Module) -> None:
    """Makes the parameters whole in every process, until `release`."""
    for part, _ in _parts(owner):
        part.unshard()
        part.set_reshard_after_forward(False, recurse=False)


def release(owner: nn.Module) -> None:
    """Divides the parameters again."""
    for part, is_network in _parts(owner):
        part.reshard()
        # backward begins with what a network used last
        part.set_reshard_after_forward(not is_network, recurse=False)


def _parts(owner: nn.Module) -> Iterator[tuple[FSDPModule, bool]]:
    """The networks and their blocks, each with whether it is a network."""
    from torch.distributed.fsdp import FSDPModule

    networks = set(owner.children())
    for module in owner.modules():
        if isinstance(module, FSDPModule):
            yield module, module in networks


def _shard(module: nn.Module, mesh: DeviceMesh) -> None:
    """In place. Parameters are gathered for `forward`, and for other methods that are not called by it."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    if not any(True for _ in module.parameters()):
        return
    methods = inspect.getmembers(type(module), inspect.isfunction)
    names = [
        name for name, _ in methods if name != "forward" and not name.startswith("_") and not hasattr(nn.Module, name)
    ]
    plain = {name: getattr(module, name) for name in names}
    fully_shard(module, mesh=mesh)
    calls = _Calls()
    module.register_forward_pre_hook(lambda *_: calls.begin())
    module.register_forward_hook(lambda *_: calls.end(), always_call=True)
    for name in names:
        register_fsdp_forward_method(module, name)
        setattr(module, name, partial(calls.call, getattr(module, name), plain[name]))


class _Calls:
    """Counts the calls of a module's methods that have not returned: the outermost one gathers the parameters and divides them again."""

    def __init__(self) -> None:
        self.depth = 0

    def begin(self) -> None:
        self.depth += 1

    def end(self) -> None:
        self.depth -= 1

    def call(self, gathering: Callable[..., Any], plain: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What `gathering` returns for the outermost call, and `plain`, the same without gathering, for others."""
        method = plain if self.depth else gathering
        self.begin()
        try:
            return method(*arguments, **options)
        finally:
            self.end()
