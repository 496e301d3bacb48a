"""Translation between two sets of images that are not paired (Zhu, Park, Isola and Efros 2017, arXiv:1703.10593)."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean as mean

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlrun.adapt.target import without_gradients
from mlrun.evaluation import fidelity
from mlrun.tasks.task import Task

FRAMES, SHOWN = 8, 10  # pictures in the course of a training; images of each domain in one
EVALUATED = 256  # images that go through a translator at once when they are measured


class CycleGAN(Task):
    """Two translators and two judges. A translation must look real to the judge of its domain (least squares, Mao et al. 2017), and
    translated back it must be the image that it was (L1): that keeps what is in the image.

    Args:
        translator: makes a network of images (batch, channels, height, width) in [-1, 1] to the same; called twice.
        judge: makes a network of images to scores (batch, 1, rows, columns), larger for real; called twice.
        cycle_weight: of the L1 distance after both translations, the paper's lambda.
        identity_weight: of the L1 distance that a translator makes of an image which is already in its domain (the paper, section 5.2:
            half of cycle_weight, to keep colours; 0 where a translation is meant to change them all).
        pool_size: translations of earlier steps that the judges also learn from (Shrivastava et al. 2017); 0: none.
        judge_lr: learning rate of the judges; None: as the translators.
    """

    monitor, mode = "val/cycle_l1", "min"
    predicts_targets, makes_images, wants_judge = False, True, True
    judge = None  # a classifier of both domains, `mlrun.experiment.reference_classifier.Judge`, where the images have classes; the experiment sets it

    def __init__(
        self,
        translator: Callable[[], nn.Module],
        judge: Callable[[], nn.Module],
        cycle_weight: float = 10.0,
        identity_weight: float = 5.0,
        pool_size: int = 50,
        judge_lr: float | None = None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.to_b, self.to_a = translator(), translator()
        self.judge_a, self.judge_b = judge(), judge()
        self.cycle_weight, self.identity_weight, self.judge_lr = cycle_weight, identity_weight, judge_lr
        self.frames: list[
            tuple[int, Tensor]
        ] = []  # (epoch, pixels (4, images, channels, height, width)): of A, as B, of B, as A
        self.pools = {name: ImagePool(pool_size, seed) for seed, name in enumerate("ab")}

    def configure_optimizers(self):
        translators, judges = (nn.ModuleList(pair) for pair in ((self.to_b, self.to_a), (self.judge_a, self.judge_b)))
        configured = []
        for parts, lr in ((translators, None), (judges, self.judge_lr)):
            optimizer = self.optimization.optimizer(self.parameter_groups(parts, lr), lr=lr)
            # A step of each optimizer is one for Lightning, a batch is one for a schedule.
            schedule = self.optimization.scheduler(
                optimizer, self.trainer.estimated_stepping_batches, self.trainer.max_epochs, self.monitor, self.mode
            )
            configured.append({"optimizer": optimizer, **({"lr_scheduler": schedule} if schedule else {})})
        return configured

    def training_step(self, batch, batch_index):
        a, b = batch[0].unbind(1)
        translators, judges = self.optimizers()

        with without_gradients(self.judge_a, self.judge_b):  # the translators' gradient goes through them, not into them
            fake_b, fake_a = self.to_b(a), self.to_a(b)
            cycle_a, cycle_b = self.to_a(fake_b), self.to_b(fake_a)
            fooled = as_if(self.judge_b(fake_b), 1.0) + as_if(self.judge_a(fake_a), 1.0)
            cycle = F.l1_loss(cycle_a, a) + F.l1_loss(cycle_b, b)
            loss = fooled + self.cycle_weight * cycle
            if self.identity_weight:
                loss = loss + self.identity_weight * (F.l1_loss(self.to_a(a), a) + F.l1_loss(self.to_b(b), b))
            self._descend(translators, loss)

        seen_a, seen_b = self.pools["a"].exchange(fake_a.detach()), self.pools["b"].exchange(fake_b.detach())
        caught = [
            as_if(self.judge_a(a), 1.0) + as_if(self.judge_a(seen_a), 0.0),
            as_if(self.judge_b(b), 1.0) + as_if(self.judge_b(seen_b), 0.0),
        ]
        judged = sum(caught) / 2  # halved: the judges learn more slowly (section 4)
        self._descend(judges, judged)

        self._step_schedules("step")
        count = len(a)
        self.tally(
            "train",
            count,
            loss=count * loss.detach(),
            judge_loss=count * judged.detach(),
            cycle_l1=count * cycle.detach() / 4,
        )
        return {"loss": loss.detach()}

    def _descend(self, optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        self.manual_backward(loss)
        optimizer.step()

    def _step_schedules(self, interval: str) -> None:
        for config in self.trainer.lr_scheduler_configs:
            if config.interval == interval:
                config.scheduler.step(*((self.trainer.callback_metrics[config.monitor],) if config.monitor else ()))

    def on_train_epoch_end(self):
        self._step_schedules("epoch")

    def validation_step(self, batch, batch_index):
        a, b = batch[0].unbind(1)
        fake_b, fake_a = self.to_b(a), self.to_a(b)
        cycle = F.l1_loss(self.to_a(fake_b), a) + F.l1_loss(self.to_b(fake_a), b)
        # halved twice: mean of both domains, in shares of the range of pixels
        self.tally("val", len(a), cycle_l1=len(a) * cycle / 4)

    @torch.inference_mode()
    def predict_step(self, batch, batch_index=0) -> Tensor:
        """Images of domain A, (batch, channels, height, width) in [-1, 1], as images of domain B with pixels from 0 to 1."""
        return self.to_b(batch[0]).float().add(1).div(2)

    @torch.inference_mode()
    def translate(self, images: np.ndarray, transform) -> tuple[np.ndarray, np.ndarray]:
        """Images of domain A as in the files -> the same and their translations, pixels (rows, channels, height, width) from 0 to 1."""
        x = torch.from_numpy(transform(images)).to(self.device)
        return transform.pixels(x.cpu().numpy()), self.predict_step((x,)).cpu().numpy()

    # --- measuring ------------------------------------------------------------------------------------------------

    def evaluate(self, loader, data):
        """Of both domains: `cycle_l1` after both translations, and, where the data know how a translation should look, `l1` from that;
        both are means over pixels, in shares of their range. With a judge: `class_kept`, the share of translations that it takes for the
        class of the image that they were made of, and `frechet` between translations and the real images of their domain (`frechet_real`
        between as many training images and those)."""
        self.outcome = {}
        for letter, x, there, back in zip("AB", loader.domains, (self.to_b, self.to_a), (self.to_a, self.to_b)):
            image, translated, returned = [], [], []
            with torch.inference_mode():
                for some in x.split(EVALUATED):
                    image.append(loader.normalize(some))
                    translated.append(there(image[-1]))
                    returned.append(back(translated[-1]))
            self.outcome[letter] = [
                torch.cat(parts).float().add(1).div(2).cpu().numpy() for parts in (image, translated, returned)
            ]
        metrics = {"cycle_l1": mean(np.abs(returned - image).mean() for image, _, returned in self.outcome.values())}
        known = [
            np.abs(translated - counterpart).mean()
            for (image, translated, _), to in zip(self.outcome.values(), "BA")
            if (counterpart := data.counterpart(image, to)) is not None
        ]
        if known:
            metrics["l1"] = mean(known)
        return metrics | (self._judged(loader, data) if self.judge is not None else {})

    def _judged(self, loader, data) -> dict[str, float]:
        kept, distances, real_distances, right = [], [], [], []
        training = [domain.x[: len(loader.domains[0])] for domain in data.domains("train")]
        of_real = [self.judge.judge(self.outcome[letter][0]) for letter in "AB"]
        for place, letter in enumerate("AB"):
            classes, there = loader.classes[place].cpu().numpy(), 1 - place
            features, said = self.judge.judge(self.outcome[letter][1])
            kept.append((said == classes).mean())
            right.append((of_real[place][1] == classes).mean())
            distances.append(fidelity.frechet(of_real[there][0], features))
            real_distances.append(fidelity.frechet(of_real[there][0], self.judge.judge(training[there])[0]))
        return {
            "class_kept": mean(kept),
            "judge_accuracy": mean(right),
            "frechet": mean(distances),
            "frechet_real": mean(real_distances),
        }

    def epoch_pictures(self, epoch, last):
        """The same images, translated after every few epochs."""
        if epoch % max(1, self.trainer.max_epochs // FRAMES) and not last:
            return
        rows = []
        for domain, there in zip(
            self.data.domains("val" if self.data.sizes["val"] else "train"), (self.to_b, self.to_a)
        ):
            image = torch.from_numpy(self.data.transform(domain.x[:SHOWN])).to(self.device)
            with torch.no_grad():
                rows += [pixels.float().add(1).div(2).cpu() for pixels in (image, there(image))]
        self.frames.append((epoch, torch.stack([row[: min(map(len, rows))] for row in rows])))
        yield f"translations_epoch_{epoch:04d}", self._picture(self.frames[-1][1])

    def _picture(self, frame: Tensor):
        from mlrun.report import samples

        return samples.grid(frame.flatten(0, 1).numpy(), columns=frame.shape[1])

    def figures(self, data, part, images=12):
        from mlrun.report.images import image_rows

        for letter, other, name, other_name in (("A", "B", *data.names), ("B", "A", *reversed(data.names))):
            rows = [pixels[:images] for pixels in self.outcome[letter]]
            yield (
                f"{letter}_to_{other}",
                image_rows(rows, [name, f"to {other_name}", "and back"], f"From {name} to {other_name}"),
            )
        if len(self.frames) > 1:
            from mlrun.report.samples import film

            yield "animation", film([(epoch, self._picture(frame)) for epoch, frame in self.frames])

    # --- checkpoints ----------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint):
        checkpoint["cyclegan"] = {
            "pools": {name: pool.state() for name, pool in self.pools.items()},
            "frames": list(self.frames),
        }

    def on_load_checkpoint(self, checkpoint):
        for name, state in checkpoint["cyclegan"]["pools"].items():
            self.pools[name].restore(state)
        self.frames = [(epoch, frame) for epoch, frame in checkpoint["cyclegan"]["frames"]]


def as_if(scores: Tensor, wanted: float) -> Tensor:
    """Mean squared distance of the judge's scores from `wanted`: 1 for real, 0 for translated (least-squares GAN)."""
    return (scores - wanted).square().mean()


class ImagePool:
    """Translations of earlier steps. Half of those that come in are exchanged for older ones once there are `size`."""

    def __init__(self, size: int, seed: int = 0):
        self.size = size
        self.generator = torch.Generator().manual_seed(seed)
        self.images: Tensor | None = None  # (at most size, channels, height, width)

    def exchange(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) -> as many, in their places, some of them older."""
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

    def state(self) -> dict:
        return {"generator": self.generator.get_state(), "images": self.images}

    def restore(self, state: dict) -> None:
        self.generator.set_state(state["generator"].cpu())
        self.images = state["images"]
