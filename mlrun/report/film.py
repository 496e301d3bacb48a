"""Films, written as animated GIFs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

COLORS = 64  # of a picture: a GIF has at most 256, and fewer make it smaller


@dataclass(frozen=True)
class Film:
    """pictures: of one size. rate: pictures per second. caption: written as the GIF's comment."""

    pictures: Sequence[Image]
    rate: float
    caption: str = ""

    def save(self, path: Path) -> None:
        """Writes a GIF, whatever the suffix of `path`."""
        first, *rest = [picture.quantize(COLORS) for picture in self.pictures]
        duration = 10 * round(100 / self.rate)  # a GIF counts in hundredths of a second
        first.save(
            path.with_suffix(".gif"),
            save_all=True,
            append_images=rest,
            duration=duration,
            loop=0,
            comment=self.caption.encode(),
        )
