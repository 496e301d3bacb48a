"""Starting from weights that were learned elsewhere: loading them, freezing parts, slower learning rates for parts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from mlrun.data.readers.trust import load_tensors
from mlrun.errors import ConfigError

WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd, nn.Embedding, nn.RNNBase, nn.MultiheadAttention)


@dataclass
class Loaded:
    """What became of the weights of `source`. reshaped: found, but of another shape, as a head for other classes is."""

    source: str
    loaded: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    reclassed: list[str] = field(default_factory=list)  # a head for other classes
    excluded: list[str] = field(default_factory=list)  # outside model.init_only
    absent: list[str] = field(default_factory=list)  # in the network, not in the source
    unused: list[str] = field(default_factory=list)  # in the source, not in the network

    def __str__(self):
        lines = [f"{len(self.loaded)} tensors loaded from {self.source}"]
        for names, what in (
            (self.reshaped, "of another shape, left as drawn"),
            (self.reclassed, "for other classes, left as drawn"),
            (self.excluded, "outside model.init_only, left as drawn"),
            (self.absent, "not in the source, left as drawn"),
            (self.unused, "of the source not used"),
        ):
            if names:
                lines.append(f"{len(names)} {what}: {_some(names)}")
        return "; ".join(lines)


def _some(names: list[str], most: int = 6) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def load_weights(
    task: nn.Module, source: str, labels: list | None = None, only: list[str] | None = None, trust: bool = False
) -> Loaded:
    """Copies into `task` every tensor of the source that has the same name and shape.

    labels: the classes now; a head that was trained for others is not taken, where the source tells.
    only: parts of the network to take, null for all. source: directory of a run, id of an MLflow run, a checkpoint or
    state file, or `torchvision:NAME`, whose tensors are matched by their order. Raises ConfigError where nothing is found or nothing fits.
    """
    mine, other_classes = task.state_dict(), False
    if source.startswith("torchvision:"):
        theirs = _torchvision(source.partition(":")[2], task.network)
    else:
        path = find_weights(source)
        theirs = _state(load_tensors(path, trust))
        other_classes = labels is not None and _labels(path) not in (None, list(labels))
    wanted = "" if only is None else tuple(f"network.{part}." for part in only)
    report = Loaded(source)
    for name, tensor in mine.items():
        if not name.startswith(wanted):
            report.excluded.append(name)
        elif name not in theirs:
            report.absent.append(name)
        elif theirs[name].shape != tensor.shape:
            report.reshaped.append(name)
        elif other_classes and name.startswith("network.head."):
            report.reclassed.append(name)
        else:
            report.loaded.append(name)
            tensor.copy_(theirs[name])
    report.unused = [name for name in theirs if name not in mine and name.startswith(wanted)]
    if not report.loaded:
        within = "" if only is None else f" within model.init_only=[{', '.join(only)}]"
        raise ConfigError(
            f"model.init_from={source}: none of its {len(theirs)} tensors fits this network by name and shape{within}"
        )
    return report


def find_weights(source: str) -> Path:
    """The file with the weights. Raises ConfigError."""
    path = Path(source).expanduser()
    for candidate in (path / "model" / "weights.pt", path / "weights.pt", path / "checkpoints" / "best.ckpt", path):
        if candidate.is_file():
            return candidate
    if re.fullmatch("[0-9a-f]{32}", source):
        from mlrun.tracking.artifacts import checkpoint_of

        found = checkpoint_of(source)
        if found is not None:
            return found
        raise ConfigError(f"model.init_from={source}: that run has no checkpoint, or there is no such run")
    raise ConfigError(
        f"model.init_from={source}: no such file, and no run directory with model/weights.pt; "
        "give a run's directory or MLflow id, a .ckpt or .pt file, or torchvision:NAME"
    )


def _labels(path: Path) -> list | None:
    """The classes that the weights were trained for, where the run's recipe lies beside them."""
    for recipe in (path.with_name("recipe.json"), path.parent.parent / "model" / "recipe.json"):
        if recipe.is_file():
            return json.loads(recipe.read_text(encoding="utf-8")).get("labels")
    return None


def _state(content) -> dict[str, torch.Tensor]:
    """The tensors by name of a Lightning checkpoint, a state dict of a task, or one of a bare network."""
    state = content.get("state_dict", content)
    if any(name.startswith("network.") for name in state):
        return dict(state)
    return {f"network.{name}": tensor for name, tensor in state.items()}


def _torchvision(name: str, network: nn.Module) -> dict[str, torch.Tensor]:
    """Their tensors under our names: the networks list the same layers in the same order, whatever they call them."""
    try:
        from torchvision.models import get_model
    except ImportError as error:
        raise ConfigError(
            f"model.init_from=torchvision:{name} needs torchvision, which is not here ({error}): pip install 'mlrun[vision]'; "
            "beside a CPU-only torch take its CPU build"
        ) from None
    try:
        theirs = get_model(name, weights="DEFAULT").state_dict()
    except ValueError as error:
        raise ConfigError(f"model.init_from=torchvision:{name}: {error}") from None
    mine = network.state_dict()
    head = {key for key in mine if key.startswith("head.")}
    pairs = list(zip(mine.items(), theirs.items()))
    wrong = [ours for (ours, a), (_, b) in pairs if a.shape != b.shape and ours not in head]
    if len(mine) != len(theirs) or wrong:
        raise ConfigError(
            f"model.init_from=torchvision:{name}: its layers are not those of this network"
            + (f" (first at {wrong[0]})" if wrong else "")
            + "; the head of the model's YAML says how to build the paper's size"
        )
    return {f"network.{ours}": tensor for (ours, _), (_, tensor) in pairs}


def layers(network: nn.Module) -> list[list[nn.Module]]:
    """The network as a list of layers from input to output: each a module with weights and the norms that follow it."""
    found: list[list[nn.Module]] = []
    for module in network.modules():
        if isinstance(module, WEIGHTED):
            found.append([module])
        elif next(module.parameters(recurse=False), None) is not None:
            found[-1].append(module) if found else found.append([module])
    return found


def parts_to_freeze(network: nn.Module, freeze: str) -> list[nn.Module]:
    """Modules named by `all_but_head`, `first_N` (layers with weights, from the input on) or `none`."""
    if freeze == "none":
        return []
    if freeze == "all_but_head":
        head = getattr(network, "head", None)
        if head is None:
            raise ConfigError(f"model.freeze=all_but_head: {type(network).__name__} has no part called head")
        kept = set(head.modules())
        return [module for layer in layers(network) for module in layer if module not in kept]
    match = re.fullmatch(r"first_([0-9]+)", freeze)
    if match is None:
        raise ConfigError(f"model.freeze={freeze}: choose one of all_but_head, first_N (first_2: two layers), none")
    every = layers(network)
    count = int(match.group(1))
    if count >= len(every):
        raise ConfigError(
            f"model.freeze={freeze}: the network has {len(every)} layers with weights; nothing would be left to train"
        )
    return [module for layer in every[:count] for module in layer]


class Freezing(Callback):
    """Keeps parts of a network as they are: no gradient, and norms with the statistics that they have.

    unfreeze_every: after so many epochs the last frozen layer learns too, then the one before (gradual unfreezing, Howard
    and Ruder 2018, arXiv:1801.06146); null: never.
    """

    def __init__(self, network: nn.Module, freeze: str, unfreeze_every: int | None = None):
        self.frozen = parts_to_freeze(network, freeze)
        self.unfreeze_every = unfreeze_every
        belongs = set(self.frozen)
        self.layers = [layer for layer in layers(network) if belongs & set(layer)]
        if unfreeze_every is None:
            for module in self.frozen:  # before the optimizer is made, which then leaves them out
                module.requires_grad_(False)

    def describe(self, network: nn.Module) -> str:
        names = [name for name, module in network.named_modules() if module in self.frozen]
        count = sum(parameter.numel() for module in self.frozen for parameter in module.parameters(recurse=False))
        whole = sum(parameter.numel() for parameter in network.parameters())
        more = "" if self.unfreeze_every is None else f", a layer fewer every {self.unfreeze_every} epochs"
        return f"{count:,} of {whole:,} parameters frozen{more}: {_some(names)}"

    def on_train_start(self, trainer, task):
        self.on_train_epoch_start(trainer, task)  # resumed within an epoch, there is no start of one

    def on_train_epoch_start(self, trainer, task):
        if self.unfreeze_every is not None:
            count = max(0, len(self.layers) - trainer.current_epoch // self.unfreeze_every)
            self.frozen = [module for layer in self.layers[:count] for module in layer]
            for place, layer in enumerate(self.layers):
                for module in layer:
                    module.requires_grad_(place >= count)
        for module in self.frozen:
            module.eval()


def parameter_groups(network: nn.Module, lr: float, scale: dict[str, float]) -> list[dict]:
    """Groups for an optimizer: parameters whose name starts with a key of `scale` learn at that multiple of `lr`.

    The longest matching name counts; the rest learns at `lr`. Raises ConfigError for a name that no parameter has.
    """
    groups: dict[str, list] = {"": [], **{prefix: [] for prefix in scale}}
    for name, parameter in network.named_parameters():
        matching = [prefix for prefix in scale if name == prefix or name.startswith(f"{prefix}.")]
        groups[max(matching, key=len, default="")].append(parameter)
    for prefix in scale:
        if not groups[prefix]:
            parts = ", ".join(
                name for name, part in network.named_children() if next(part.parameters(), None) is not None
            )
            raise ConfigError(f"model.lr_scale.{prefix}: no parameter's name starts so; the parts are {parts}")
    return [{"params": params, "lr": lr * scale.get(prefix, 1.0)} for prefix, params in groups.items() if params]
