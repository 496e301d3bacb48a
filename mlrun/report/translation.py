"""Tables and figures of text generation: attention, generated texts, search and model errors."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrun.data.spreadsheet import safe_rows
from mlrun.generation.decoding import fault
from mlrun.report.style import SEQUENTIAL, bare, new_figure, styled, text_width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AttentionMap = tuple[list[str], list[str], np.ndarray]  # source tokens, generated tokens, weights (generated, sources)


@dataclass
class Table:
    """Rows for a spreadsheet; written as CSV in UTF-8."""

    columns: list[str]
    rows: list[list[Any]]

    def save(self, path: Path) -> None:
        with open(Path(path).with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(safe_rows(self.rows))


def translations(
    sources: Sequence[str],
    generated: Sequence[str],
    references: Sequence[Sequence[str]],
    mistakes: Sequence[float] | np.ndarray,
) -> Table:
    """Every text of a part; several references are separated by " | ".

    mistakes: (rows,) 0 where the generated text equals a reference.
    """
    rows = [
        [source, text, int(not mistake), " | ".join(expected)]
        for source, text, expected, mistake in zip(sources, generated, references, mistakes)
    ]
    return Table(["source", "written", "right", "reference"], rows)


def beam_errors(
    sources: Sequence[str],
    generated: Sequence[str],
    references: Sequence[str],
    scores: Sequence[float] | np.ndarray,
    reference_scores: Sequence[float] | np.ndarray,
) -> Table:
    """Of texts that equal no reference: the scores log P / L^alpha of the generated text and of the first reference, and their cause.

    "search": the model ranks the reference first, and the beam missed it (a wider one would help); "model": it does not.
    """
    rows = [
        [source, text, reference, f"{score:.4f}", f"{best:.4f}", fault(best, score)]
        for source, text, reference, score, best in zip(sources, generated, references, scores, reference_scores)
    ]
    return Table(["source", "written", "reference", "score_written", "score_reference", "fault"], rows)


@styled
def attention_maps(
    maps: Sequence[AttentionMap],
    title: str = "Attention of the decoder to the source (columns) at each generated token (rows)",
) -> Figure:
    """A row for each generated token, dark at the source tokens that it attended to."""
    cell, gap = 0.24, 0.7
    lefts = [text_width(generated) + 0.35 for _, generated, _ in maps]
    tops = [
        max(0.35, text_width(source) + 0.15) if any(len(token) > 1 for token in source) else 0.35
        for source, _, _ in maps
    ]
    width = max(left + cell * len(source) for left, (source, _, _) in zip(lefts, maps)) + 0.4
    height = sum(top + cell * len(generated) + gap / 2 for top, (_, generated, _) in zip(tops, maps)) + 0.5
    figure, y = new_figure(max(width, 4.0), height, title), height - 0.5
    for left, top, (source, generated, weights) in zip(lefts, tops, maps):
        y -= top + cell * len(generated)
        axes = figure.add_axes(
            (left / max(width, 4.0), y / height, cell * len(source) / max(width, 4.0), cell * len(generated) / height)
        )
        bare(axes, "top", "bottom", "left", "right")
        axes.imshow(weights, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
        axes.xaxis.tick_top()
        long = any(len(token) > 1 and not token.startswith("<") for token in source)
        axes.set_xticks(range(len(source)), [_shown(token) for token in source], rotation=90 if long else 0, fontsize=8)
        axes.set_yticks(range(len(generated)), [_shown(token) for token in generated], fontsize=8)
        y -= gap / 2
    return figure


def _shown(token: str) -> str:
    return {"<eos>": "◦", " ": "␣", "<pad>": "", "<unk>": "?"}.get(token, token)
