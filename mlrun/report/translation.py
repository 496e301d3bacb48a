"""What a writer of texts did: where it looked, what it wrote, whose fault its mistakes are."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from mlrun.generation.decoding import fault
from mlrun.report.style import SEQUENTIAL, bare, new_figure, styled, text_width


@dataclass
class Table:
    """Rows for a spreadsheet; written as CSV in UTF-8."""

    columns: list[str]
    rows: list[list]

    def save(self, path: Path) -> None:
        with open(Path(path).with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.columns)
            writer.writerows(self.rows)


def translations(outcome) -> Table:
    """Every text of the part: source, written, right, reference (several are parted by " | ")."""
    rows = [
        [source, written, int(written in references), " | ".join(references)]
        for source, written, references in zip(outcome.sources, outcome.written, outcome.references)
    ]
    return Table(["source", "written", "right", "reference"], rows)


def beam_errors(outcome, limit: int) -> Table:
    """Of texts that equal no reference: log P / L^alpha of what was written and of the first reference, and whose fault it is.

    "search": the model ranks the reference first, and the beam missed it (a wider one would help); "model": it does not.
    """
    rows = []
    for source, written, references, score, best in zip(
        outcome.sources, outcome.written, outcome.references, outcome.scores, outcome.reference_scores
    ):
        if written not in references and len(rows) < limit:
            rows.append([source, written, references[0], f"{score:.4f}", f"{best:.4f}", fault(best, score)])
    return Table(["source", "written", "reference", "score_written", "score_reference", "fault"], rows)


@styled
def attention_maps(maps, title="Where the decoder looked"):
    """maps: (source tokens, written tokens, weights (written, sources)) of a few texts; a row for each token written, dark where it looked."""
    cell, gap = 0.24, 0.7
    lefts = [text_width(written) + 0.35 for _, written, _ in maps]
    tops = [
        max(0.35, text_width(source) + 0.15) if any(len(token) > 1 for token in source) else 0.35
        for source, _, _ in maps
    ]
    width = max(left + cell * len(source) for left, (source, _, _) in zip(lefts, maps)) + 0.4
    height = sum(top + cell * len(written) + gap / 2 for top, (_, written, _) in zip(tops, maps)) + 0.5
    figure, y = new_figure(max(width, 4.0), height, title), height - 0.5
    for left, top, (source, written, weights) in zip(lefts, tops, maps):
        y -= top + cell * len(written)
        axes = figure.add_axes(
            (left / max(width, 4.0), y / height, cell * len(source) / max(width, 4.0), cell * len(written) / height)
        )
        bare(axes, "top", "bottom", "left", "right")
        axes.imshow(weights, cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
        axes.xaxis.tick_top()
        long = any(len(token) > 1 and not token.startswith("<") for token in source)
        axes.set_xticks(range(len(source)), [_shown(token) for token in source], rotation=90 if long else 0, fontsize=8)
        axes.set_yticks(range(len(written)), [_shown(token) for token in written], fontsize=8)
        y -= gap / 2
    return figure


def _shown(token: str) -> str:
    return {"<eos>": "◦", " ": "␣", "<pad>": "", "<unk>": "?"}.get(token, token)
