"""Translation between two sets of images that are not paired (Zhu, Park, Isola and Efros 2017, arXiv:1703.10593)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.adapt.target import without_gradients
from mlrun.data.batches import Batch
from mlrun.evaluation.evaluator import Better
from mlrun.tasks.adversarial import Adversarial
from mlrun.tasks.task import Outputs


class CycleGAN(Adversarial):
    """Two translators and two discriminators.

    A translation must look real to the discriminator of its domain (least squares, Mao et al. 2017), and translated back it must be the
    image that it was (L1), which preserves the content of the image.

    Args:
        translator: makes a network of images (batch, channels, height, width) in [-1, 1] to the same; called twice.
        discriminator: makes a network of images to scores (batch, 1, rows, columns), larger for real; called twice.
        cycle_weight: of the L1 distance after both translations, the paper's lambda.
        cycle_warmup: first fraction of the training, in which that weight grows from 0. From the start, it holds the translators at whichever
            mapping they began with, such as the identity, although the discriminators tell its results from real images.
        identity_weight: of the L1 distance between an image and what the translator into its own domain makes of it (the paper, section
            5.2: half of cycle_weight, to keep colours; 0 where a translation should change them all).
        pool_size: translations of earlier steps that the discriminators also learn from (Shrivastava et al. 2017); 0: none.
        discriminator_lr: learning rate of the discriminators; None: that of the translators.
    """

    metrics: ClassVar[Mapping[str, Better]] = {
        "loss": Better.SMALLER,
        "discriminator_loss": Better.SMALLER,
        "cycle_l1": Better.SMALLER,
    }
    monitor = "cycle_l1"
    queries: ClassVar[Mapping[str, str]] = {"samples": "mlrun.predictions.samples.Translations"}

    def __init__(
        self,
        translator: Callable[[], nn.Module],
        discriminator: Callable[[], nn.Module],
        cycle_weight: float = 10.0,
        cycle_warmup: float = 0.0,
        identity_weight: float = 5.0,
        pool_size: int = 50,
        discriminator_lr: float | None = None,
    ):
        super().__init__()
        if not 0 <= cycle_warmup <= 1:
            raise ValueError(f"cycle_warmup={cycle_warmup}: must be a fraction of the training, from 0 to 1")
        self.automatic_optimization = False
        self.to_b, self.to_a = translator(), translator()
        self.discriminator_a, self.discriminator_b = discriminator(), discriminator()
        self.cycle_weight, self.cycle_warmup, self.identity_weight = cycle_weight, cycle_warmup, identity_weight
        self.discriminator_lr = discriminator_lr
        self.pools = {name: ImagePool(pool_size, seed) for seed, name in enumerate("ab")}

    def configure_optimizers(self) -> Any:
        translators = nn.ModuleList([self.to_b, self.to_a])
        discriminators = nn.ModuleList([self.discriminator_a, self.discriminator_b])
        # Lightning counts a step of each optimizer, a schedule counts batches
        return [self.optimizer_for(translators), self.optimizer_for(discriminators, self.discriminator_lr)]

    def training_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        a, b = batch["pixel_values_a"], batch["pixel_values_b"]
        translators, discriminators = cast(list[Any], self.optimizers())

        # the translators' gradient passes through the discriminators, not into them
        with without_gradients(self.discriminator_a, self.discriminator_b):
            fake_b, fake_a = self.to_b(a), self.to_a(b)
            cycle_a, cycle_b = self.to_a(fake_b), self.to_b(fake_a)
            fooled = squared_distance(self.discriminator_b(fake_b), 1.0)
            fooled = fooled + squared_distance(self.discriminator_a(fake_a), 1.0)
            cycle = F.l1_loss(cycle_a, a) + F.l1_loss(cycle_b, b)
            grown = min(1.0, self.progress / self.cycle_warmup) if self.cycle_warmup else 1.0
            loss = fooled + grown * self.cycle_weight * cycle
            if self.identity_weight:
                loss = loss + self.identity_weight * (F.l1_loss(self.to_a(a), a) + F.l1_loss(self.to_b(b), b))
            self.descend(translators, loss)

        seen_a, seen_b = self.pools["a"].exchange(fake_a.detach()), self.pools["b"].exchange(fake_b.detach())
        parts = [
            squared_distance(discriminator(real), 1.0) + squared_distance(discriminator(translated), 0.0)
            for discriminator, real, translated in (
                (self.discriminator_a, a, seen_a),
                (self.discriminator_b, b, seen_b),
            )
        ]
        discriminator_loss = cast(Tensor, sum(parts)) / 2  # halved: the discriminators learn more slowly (section 4)
        self.descend(discriminators, discriminator_loss)

        self.step_schedules("step")
        count = len(a)
        self.tally(
            "train",
            count,
            loss=count * loss.detach(),
            discriminator_loss=count * discriminator_loss.detach(),
            cycle_l1=count * cycle.detach() / 4,
        )
        return {"loss": loss.detach()}

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        a, b = batch["pixel_values_a"], batch["pixel_values_b"]
        fake_b, fake_a = self.to_b(a), self.to_a(b)
        cycle = F.l1_loss(self.to_a(fake_b), a) + F.l1_loss(self.to_b(fake_a), b)
        # halved twice: the mean of both domains, relative to the range of pixels
        self.tally("val", len(a), cycle_l1=len(a) * cycle / 4)
        if self.validation is not None:
            self.validation.update(batch)

    def predict(self, batch: Batch) -> Outputs:
        """Images of domain A in domain B: `pixels` (batch, channels, height, width) from 0 to 1."""
        return {"pixels": as_pixels(self.to_b(batch["pixel_values_a"]))}

    @torch.inference_mode()
    def translate(self, images: np.ndarray, to: str = "B") -> tuple[np.ndarray, np.ndarray]:
        """Raw images of the other domain -> the same and their translations, pixels (rows, channels, height, width) from 0 to 1.

        Args:
            images: (rows, channels, height, width) as in the files.
            to: domain "A" or "B".
        """
        x = torch.from_numpy(cast(Any, self.preprocessor).scaling(images)).to(self.device)
        training = self.training
        self.eval()
        translated = (self.to_b if to == "B" else self.to_a)(x)
        self.train(training)
        return as_pixels(x).cpu().numpy(), as_pixels(translated).cpu().numpy()

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["cyclegan"] = {name: pool.state() for name, pool in self.pools.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, state in checkpoint["cyclegan"].items():
            self.pools[name].restore(state)


def as_pixels(x: Tensor) -> Tensor:
    """Images from -1 to 1 -> from 0 to 1."""
    return x.float().add(1).div(2)


def squared_distance(scores: Tensor, wanted: float) -> Tensor:
    """Mean squared distance of a discriminator's scores from `wanted`: 1 for real, 0 for translated (least-squares GAN)."""
    return (scores - wanted).square().mean()


class ImagePool:
    """Translations of earlier steps. Once there are `size`, half of the incoming images are exchanged for older ones."""

    def __init__(self, size: int, seed: int = 0):
        self.size = size
        self.generator = torch.Generator().manual_seed(seed)
        self.images: Tensor | None = None  # (at most size, channels, height, width)

    def exchange(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) -> as many, some of them older images in the places of the given ones."""
        if not self.size:
            return images
        kept = images[:0] if self.images is None else self.images.to(images.device)
        room = min(self.size - len(kept), len(images))
        kept, late = torch.cat([kept, images[:room]]), images[room:]
        old = torch.rand(len(late), generator=self.generator) < 0.5
        places = torch.randperm(self.size, generator=self.generator)[: int(old.sum())]  # no place twice
        ours = torch.nonzero(old).flatten()[: len(places)].to(images.device)
        places = places.to(images.device)
        late = late.clone()
        late[ours], kept[places] = kept[places], late[ours]
        self.images = kept
        return torch.cat([images[:room], late])

    def state(self) -> dict[str, Any]:
        """Plain containers and tensors."""
        return {"generator": self.generator.get_state(), "images": self.images}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes what `state` returned."""
        self.generator.set_state(state["generator"].cpu())
        self.images = state["images"]
