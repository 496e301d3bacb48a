"""Characters of fonts as images: a character is a class, a font an instance of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.datasets.image_data import ImageData, labelled_images
from mlrun.data.features import Caption, Label
from mlrun.data.row_data import Content
from mlrun.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".ttf", ".otf")
# Fonts of matplotlib, and the last code that they map correctly: TeX's fonts hold their other glyphs at codes of other characters.
# Without fonts of brackets only (STIXSiz..), of private codes (STIXNonUni), and the one that draws a placeholder for everything (LastResort).
SHIPPED: Mapping[str, int] = {
    **dict.fromkeys(("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"), 0x10FFFF),
    **dict.fromkeys(("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"), 0x10FFFF),
    **dict.fromkeys(
        ("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"), 0x10FFFF
    ),
    **dict.fromkeys(("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"), 0x10FFFF),
    **dict.fromkeys(("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"), 0x7F),
}
KINDS = ("Lu", "Ll", "Lt", "Lo", "Nd", "Nl")  # Unicode's categories of letters and digits, without modifier letters
POINTS = 64  # size at which outlines are rendered before they are resized
MARGIN = 1  # pixels of an image's edge without ink
COMPARED = 20  # height and width of the pictures in which look-alikes are found
ALIKE = 0.03  # squared difference of two such pictures relative to their squares, up to which they look the same
SAME_LETTER = 0.15  # the same for a capital, its small letter and its small capital, whose strokes differ in width relative to their size


class Glyphs(ImageData):
    """Letters and digits of fonts, drawn white on black with random size, slant, position and noise.

    A class is a set of characters that look the same. Two characters look the same if some font draws them with the same shape up to size
    and position, which the images vary: Latin A, Greek Alpha and Cyrillic A; I, l and Iota; also a capital, its small letter and its
    small capital of nearly the same shape, such as C and c. "The same" is transitive. Otherwise the same picture would belong to two classes, one of
    which may be seen in training and one not.

    The value of a class is its first character (by code), its name that of `unicodedata`. A row's name is its own character's name and its font.

    Args:
        problem, name, seed, options: see `ImageData`.
        fonts: a folder of .ttf and .otf files; null for the fonts that matplotlib ships.
        scripts: first words of the Unicode names to keep, such as LATIN or GREEK; null for all.
        decomposed: also characters that Unicode decomposes into others, such as letters with accents.
        min_fonts: characters in fewer fonts are left out.
        characters: number of classes, drawn at random; null for all.
        draws: images of each character in each font.
        side: height and width in pixels.
        size: smallest and largest extent of the character relative to the image's side, without a margin of one pixel.
        slant: largest horizontal shear in either direction, relative to the height.
        noise: largest standard deviation of Gaussian noise, relative to white; each image draws its own.

    Raises:
        DataError: there are no fonts, or too few characters in them.
    """

    def __init__(
        self,
        problem: str,
        name: str,
        seed: int,
        fonts: str | Path | None = None,
        scripts: Sequence[str] | None = None,
        decomposed: bool = False,
        min_fonts: int = 8,
        characters: int | None = None,
        draws: int = 1,
        side: int = 28,
        size: Sequence[float] = (0.6, 0.9),
        slant: float = 0.2,
        noise: float = 0.1,
        **options: Any,
    ):
        super().__init__(problem, name, seed, **options)
        for key, value, least in (("min_fonts", min_fonts, 1), ("draws", draws, 1), ("side", side, 8)):
            if not isinstance(value, int) or value < least:
                raise DataError(f"dataset.{key}={value}: give a whole number of at least {least}")
        if len(size) != 2 or not 0 < size[0] <= size[1] <= 1:
            raise DataError(f"dataset.size={list(size)}: give the smallest and the largest extent, between 0 and 1")
        self.fonts, self.scripts, self.decomposed = fonts, scripts, decomposed
        self.min_fonts, self.characters, self.draws = min_fonts, characters, draws
        self.side, self.size, self.slant, self.noise = side, size, slant, noise

    def read(self) -> Content:
        paths = self._paths()
        known = {path: self._characters(path) for path in paths}
        counts: dict[str, int] = {}
        for characters in known.values():
            for character in characters:
                counts[character] = counts.get(character, 0) + 1
        kept = sorted(character for character, fonts in counts.items() if fonts >= self.min_fonts)
        pictures = {path: dict(rendered(path, [c for c in kept if c in known[path]])) for path in paths}
        classes = look_alikes(kept, pictures.values())
        if self.characters is not None:
            if self.characters > len(classes):
                raise DataError(
                    f"dataset.characters={self.characters}: there are {len(classes)} that differ in at least {self.min_fonts} fonts"
                )
            chosen = np.random.default_rng([self.seed, 1]).permutation(len(classes))[: self.characters]
            classes = [classes[place] for place in sorted(chosen)]
        if len(classes) < 2:
            raise DataError(
                f"{self.title}: {len(classes)} characters in at least dataset.min_fonts={self.min_fonts} of {len(paths)} fonts; "
                "at least two are needed"
            )
        rows = [
            (place, character, path)
            for place, members in enumerate(classes)
            for character in members
            for path in paths
            if character in pictures[path]
            for _ in range(self.draws)
        ]
        random = np.random.default_rng([self.seed, 2])
        pixels = np.stack([self._draw(pictures[path][character], random) for _, character, path in rows])
        label = Label([members[0] for members in classes], [unicodedata.name(members[0]) for members in classes])
        names = [f"{unicodedata.name(character)}, {path.stem}" for _, character, path in rows]
        source = "matplotlib" if self.fonts is None else str(self.fonts)
        return labelled_images(pixels[:, None], np.array([place for place, _, _ in rows]), label, source, names=names)

    def _paths(self) -> list[Path]:
        if self.fonts is None:
            import matplotlib

            folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
            return [path for path in sorted(folder.glob("*.ttf")) if path.stem in SHIPPED]
        folder = Path(self.fonts).expanduser()
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise DataError(f"dataset.fonts={self.fonts}: there are no fonts in it ({', '.join(SUFFIXES)})")
        return paths

    def _characters(self, path: Path) -> set[str]:
        """Letters and digits of a font that may become classes."""
        from matplotlib.ft2font import FT2Font

        try:
            codes = FT2Font(str(path)).get_charmap()
        except (RuntimeError, OSError) as error:
            raise DataError(f"{path}: not a font that can be read ({error})") from None
        last = SHIPPED[path.stem] if self.fonts is None else 0x10FFFF
        return {chr(code) for code, glyph in codes.items() if glyph and code <= last and self._wanted(chr(code))}

    def _wanted(self, character: str) -> bool:
        if unicodedata.category(character) not in KINDS or not unicodedata.name(character, ""):
            return False
        if unicodedata.decomposition(character) and not self.decomposed:
            return False
        return self.scripts is None or unicodedata.name(character).split()[0] in self.scripts

    def _draw(self, picture: Image.Image, random: np.random.Generator) -> np.ndarray:
        """(side, side) uint8: a character with its own size, slant, position and noise."""
        from PIL import Image

        width, height = picture.size
        shear = random.uniform(-self.slant, self.slant)
        slanted = width + abs(shear) * height
        scale = (
            self.side * random.uniform(self.size[0], self.size[1]) / max(slanted, height)
        )  # pixels of the image per rendered one
        left, top = (random.uniform(MARGIN, self.side - MARGIN - scale * extent) for extent in (slanted, height))
        # output (x, y) -> place in the picture: undo the position, the size, then the slant around the middle of the height
        fine = 2  # the image is drawn at twice its size and reduced: antialiased
        per = 1 / (scale * fine)
        matrix = (
            per,
            shear * per,
            -left / scale - (slanted - width) / 2 - shear * (top / scale + height / 2),
            0.0,
            per,
            -top / scale,
        )
        drawn = picture.transform((fine * self.side,) * 2, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        pixels = np.asarray(drawn.reduce(fine), dtype=np.float32)
        pixels += random.normal(0, 255 * random.uniform(0, self.noise), pixels.shape)
        return pixels.clip(0, 255).astype(np.uint8)


class GlyphNames(Glyphs):
    """The same images, with the names of their classes as captions. No class is in two parts.

    Args:
        problem: captioning.
        name, seed, options: see `Glyphs`.
    """

    problems = ("captioning",)

    def read(self) -> Content:
        content = super().read()
        label = content.features["label"]
        assert isinstance(label, Label)
        self._classes = content.columns["label"]
        captions = np.array([name.lower() for name in label.names], dtype=object)[self._classes]
        return replace(
            content,
            columns={"image": content.columns["image"], "caption": captions},
            features={"image": content.features["image"], "caption": Caption()},
            targets=("caption",),
        )

    @property
    def groups(self) -> np.ndarray:
        return self._classes


def rendered(path: Path, characters: Sequence[str]) -> Iterator[tuple[str, Image.Image]]:
    """(character, its grey picture, white on black, without empty margin); a character without ink is left out."""
    from PIL import Image, ImageDraw, ImageFont

    try:
        font = ImageFont.truetype(str(path), POINTS, layout_engine=ImageFont.Layout.BASIC)
    except OSError as error:  # such as a font of bitmaps, of other sizes
        raise DataError(f"{path}: not a font of outlines ({error}); remove it") from None
    for character in characters:
        canvas = Image.new("L", (4 * POINTS, 3 * POINTS))
        ImageDraw.Draw(canvas).text((POINTS, 2 * POINTS), character, fill=255, font=font, anchor="ls")
        box = canvas.getbbox()
        if box is not None:
            yield character, canvas.crop(box)


def look_alikes(characters: Sequence[str], fonts: Sequence[Mapping[str, Image.Image]] | Any) -> list[list[str]]:
    """Groups of characters that look the same in some font, see `Glyphs`; the characters of a group, and the groups, in order of codes.

    fonts: for each font character -> picture without margin.
    """
    parent = {character: character for character in characters}

    def root(character: str) -> str:
        while parent[character] != character:
            parent[character] = parent[parent[character]]
            character = parent[character]
        return character

    for pictures in fonts:
        names = list(pictures)
        if not names:
            continue
        flat = np.stack([_comparable(pictures[name]) for name in names])
        squares = (flat**2).sum(1)
        distance = squares[:, None] + squares[None, :] - 2 * flat @ flat.T
        relative = distance / ((squares[:, None] + squares[None, :]) / 2)
        for one, other in zip(*np.nonzero(np.triu(relative <= SAME_LETTER, 1))):
            if relative[one, other] <= ALIKE or letter_of(names[one]) == letter_of(names[other]):
                first, second = sorted((root(names[one]), root(names[other])))
                parent[second] = first
    groups: dict[str, list[str]] = {}
    for character in characters:
        groups.setdefault(root(character), []).append(character)
    return list(groups.values())


def letter_of(character: str) -> str:
    """The name of a character without its form, the same for A, a and a small capital A."""
    return " ".join(word for word in unicodedata.name(character).split() if word not in ("LETTER", "CAPITAL", "SMALL"))


def _comparable(picture: Image.Image) -> np.ndarray:
    """A picture's pixels in a square, with its proportions: the longer side fills it."""
    from PIL import Image

    width, height = picture.size
    longer = max(width, height)
    size = max(1, round(COMPARED * width / longer)), max(1, round(COMPARED * height / longer))
    square = Image.new("L", (COMPARED, COMPARED))
    square.paste(picture.resize(size, Image.Resampling.BOX), ((COMPARED - size[0]) // 2, (COMPARED - size[1]) // 2))
    return np.asarray(square, dtype=np.float32).ravel() / 255
