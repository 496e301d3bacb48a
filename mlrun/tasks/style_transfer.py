"""Style transfer: an image with the content of one picture and the style of another (Gatys, Ecker and Bethge 2016, arXiv:1508.06576)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from mlrun.data.batches import Batch
from mlrun.data.preprocess.preprocessor import FeaturePreprocessor
from mlrun.data.preprocess.scaling import ImageScaling
from mlrun.errors import ConfigError
from mlrun.evaluation.evaluator import Better
from mlrun.networks.vision.activation_maps import convolutions
from mlrun.tasks.task import Loss, Outputs, Task

CONTENT, STYLE = "content_pixel_values", "style_pixel_values"


class StyleTransfer(Task):
    """Changes an image until its feature maps are like those of the content, and the Gram matrices of its maps like those of the style.

    The image is the only parameter; it starts as the content. The features come from the convolutions of a network whose weights stay as they
    are: those of a run (`model.init_from`), or random ones.

    Reports `content_loss`, `style_loss` and `variation` with their weights, and `style_ratio`, the style loss relative to that of the content image.

    Args:
        network: an image network.
        content_shape: (channels, height, width) of the content, and of the result.
        content_layers, style_layers: numbers of the convolutions, from 0, whose maps (after ReLU) are compared.
        content_weight, style_weight, variation_weight: of the terms; the last one is of the total variation (differences of neighbours).
    """

    metrics = {
        "loss": Better.SMALLER,
        "content_loss": Better.SMALLER,
        "style_loss": Better.SMALLER,
        "variation": Better.SMALLER,
        "style_ratio": Better.SMALLER,
    }
    monitor: str = "loss"

    def __init__(
        self,
        network: nn.Module,
        content_shape: Sequence[int],
        content_layers: Sequence[int] = (2,),
        style_layers: Sequence[int] = (0, 1, 2, 3),
        content_weight: float = 1.0,
        style_weight: float = 100.0,
        variation_weight: float = 0.1,
    ):
        super().__init__()
        found = convolutions(network)
        absent = [at for at in (*content_layers, *style_layers) if not 0 <= at < len(found)]
        if absent:
            raise ConfigError(
                f"model: {type(network).__name__} has {len(found)} convolutions, numbered from 0; there is no {absent[0]}"
            )
        self.network = network.requires_grad_(False)
        self.content_layers, self.style_layers = list(content_layers), list(style_layers)
        self.layers = [found[at][1] for at in range(1 + max(*content_layers, *style_layers))]
        self.weights = {"content_loss": content_weight, "style_loss": style_weight, "variation": variation_weight}
        self.image = nn.Parameter(torch.zeros(1, *content_shape))
        self.register_buffer("is_begun", torch.tensor(False))
        self.register_buffer("first_style_loss", torch.tensor(float("nan")))

    is_begun: Tensor
    first_style_loss: Tensor

    def features(self, x: Tensor) -> list[Tensor]:
        """Maps of the convolutions after ReLU: (batch, channels, height, width) each."""
        maps: list[Tensor] = []
        hooks = [
            layer.register_forward_hook(lambda module, inputs, output: maps.append(output.relu()))
            for layer in self.layers
        ]
        try:
            self.network.eval()
            self.network(x)
        finally:
            for hook in hooks:
                hook.remove()
        return maps

    def terms(self, image: Tensor, content: Tensor, style: Tensor) -> dict[str, Tensor]:
        """The weighted terms of the loss of an image (1, channels, height, width)."""
        with torch.no_grad():
            of_content, of_style = self.features(content), self.features(style)
        found = self.features(image)
        distance = sum(((found[at] - of_content[at]) ** 2).mean() for at in self.content_layers)
        likeness = sum(
            ((gram(found[at]) - gram(of_style[at])) ** 2).sum() / gram(of_style[at]).square().sum()
            for at in self.style_layers
        )
        terms = {"content_loss": distance, "style_loss": likeness, "variation": total_variation(image)}
        return {name: self.weights[name] * torch.as_tensor(value) for name, value in terms.items()}

    def terms_of(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The weighted terms of the task's own image."""
        return self.terms(self.image, batch[CONTENT][:1], batch[STYLE][:1])

    def loss(self, batch: Batch) -> Loss:
        content, style = batch[CONTENT][:1], batch[STYLE][:1]
        if not self.is_begun:
            with torch.no_grad():
                self.image.copy_(content)
                self.first_style_loss.copy_(self.terms(content, content, style)["style_loss"])
                self.is_begun.fill_(True)
        with torch.no_grad():  # from black to white, as a picture can hold
            shift, scale = (
                torch.tensor(values, dtype=torch.float32, device=self.device).view(-1, 1, 1)
                for values in (self.scaling.shift, self.scaling.scale)
            )
            self.image.clamp_(-shift / scale, (self.scaling.value_range - shift) / scale)
        terms = self.terms_of(batch)
        value = torch.stack(list(terms.values())).sum()
        sums = {"loss": value.detach(), **{name: term.detach() for name, term in terms.items()}}
        return Loss(value, 1, {**sums, "style_ratio": terms["style_loss"].detach() / self.first_style_loss})

    def predict(self, batch: Batch) -> Outputs:
        """`pixels` from 0 to 1: the image, for every row."""
        return {"pixels": self.pixels().expand(len(batch[CONTENT]), -1, -1, -1)}

    @property
    def scaling(self) -> ImageScaling:
        """Of the content, and of the image."""
        encoder: Any = cast(FeaturePreprocessor, self.preprocessor).encoders["content"]
        return encoder.scaling

    def pixels(self) -> Tensor:
        """(1, channels, height, width) from 0 to 1."""
        return torch.from_numpy(self.scaling.pixels(self.image.detach().cpu().numpy())).float()


def gram(maps: Tensor) -> Tensor:
    """(batch, channels, height, width) -> (batch, channels, channels): mean products of two maps over the places of an image."""
    flat = maps.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


def total_variation(image: Tensor) -> Tensor:
    """The mean squared difference of neighbouring pixels."""
    return ((image[..., 1:, :] - image[..., :-1, :]) ** 2).mean() + ((image[..., 1:] - image[..., :-1]) ** 2).mean()
