"""Pictures during training, and the film made of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlrun.report.view import View

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from mlrun.data.module import DataModule
    from mlrun.report.film import Film


class Frames(View):
    """Every few epochs a picture PREFIX_epoch_NNNN. Its contents are kept as tensors, which survive an interruption.

    The task's `show_every`, if it exists, is the number of epochs between two pictures.
    """

    prefix = "samples"
    pictures = 12  # approximate number per training without `show_every`

    def __init__(self) -> None:
        self.frames: list[tuple[int, Tensor]] = []  # (epoch, what is shown)

    @abstractmethod
    def shown(self, task: Any) -> Tensor:
        """The contents of a picture as a tensor."""

    @abstractmethod
    def picture(self, task: Any, data: DataModule, shown: Tensor) -> Image | None:
        """The picture of a value of `shown`; None if it cannot be drawn."""

    def epoch(self, task: Any, epoch: int, last: bool) -> Iterator[tuple[str, Any]]:
        every = getattr(task, "show_every", None) or max(1, task.trainer.max_epochs // self.pictures)
        if epoch % every and not last:
            return
        shown = self.shown(task)
        picture = self.picture(task, task.data, shown)
        if picture is not None:
            self.frames.append((epoch, shown.cpu()))
            yield f"{self.prefix}_epoch_{epoch:04d}", picture

    def film(self, task: Any, data: DataModule) -> Iterator[tuple[str, Film]]:
        """Yields ("animation", film of all pictures) if there are several."""
        from mlrun.report.samples import film

        if len(self.frames) > 1:
            yield "animation", film([(epoch, self.picture(task, data, shown)) for epoch, shown in self.frames])

    @property
    def state(self) -> dict[str, Any]:
        return {"frames": list(self.frames)}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.frames = [(epoch, shown) for epoch, shown in state["frames"]]
