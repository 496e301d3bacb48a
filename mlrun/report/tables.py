"""Tables of text, on a terminal and in files. Widths are in columns: a Chinese character takes two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

GAP = 2  # columns between two columns of a table
SHORTEST = 11  # columns that a shortened text keeps
LEAST = 20  # columns that a text keeps before columns of numbers are left out


def width_of(text: str) -> int:
    """Columns that a line takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def without_middle(text: str, width: int) -> str:
    """The beginning and the end of a text that is longer than a width."""
    from rich.cells import set_cell_size

    end = (width - 1) // 2
    return f"{set_cell_size(text, width - 1 - end)}…{set_cell_size(text[::-1], end)[::-1]}"


def without_end(text: str, width: int) -> str:
    """The beginning of a text that is longer than a width."""
    from rich.cells import set_cell_size

    return f"{set_cell_size(text, width - 1)}…"


def padded(text: str, width: int, left: bool = True) -> str:
    """The text with spaces behind or before it, up to a width."""
    spaces = " " * (width - width_of(text))
    return text + spaces if left else spaces + text


def aligned(rows: Sequence[Sequence[str]], left: Sequence[bool], room: int | None = None) -> Iterator[str]:
    """Rows of cells as lines with aligned columns.

    Args:
        rows: the first one has the headings.
        left: for each column, whether its texts begin at its left side.
        room: columns of the lines, at most, as far as shorter headings and texts allow; None: any number. Headings then break into lines.
    """
    widths = [max(map(width_of, column)) for column in zip(*rows)]
    head: list[Sequence[str]] = [rows[0]]
    if room is not None and sum(widths) + GAP * (len(widths) - 1) > room:
        words = [name.split(" ") for name in rows[0]]
        height = max(map(len, words))
        head = list(zip(*([*[""] * (height - len(some)), *some] for some in words)))
        widths = [max(map(width_of, column)) for column in zip(*head, *rows[1:])]
        while (excess := sum(widths) + GAP * (len(widths) - 1) - room) > 0 and max(widths) > SHORTEST:
            widest = widths.index(max(widths))
            widths[widest] = max(SHORTEST, widths[widest] - excess)
    for row in (*head, *rows[1:]):
        short = [cell if width_of(cell) <= width else without_end(cell, width) for cell, width in zip(row, widths)]
        cells = [padded(cell, width, to_left) for cell, width, to_left in zip(short, widths, left)]
        yield (" " * GAP).join(cells).rstrip()


def fitted(
    head: Sequence[str], rows: Sequence[Sequence[str]], texts: int, width: int, optional: Sequence[str]
) -> tuple[Table, list[str]]:
    """A table whose numbers and headings are whole on a terminal.

    Where it is too wide, headings break at spaces, then also after slashes, then texts fold, then columns are left out.

    Args:
        head, rows: headings and cells.
        texts: how many columns are texts; the others, on the right, are numbers.
        width: of the terminal.
        optional: headings of columns that may be left out, the first one first.

    Returns:
        The table, without rows, and the headings that it shows.
    """
    from rich.table import Table

    cells = [max((width_of(row[at]) for row in rows), default=0) for at in range(len(head))]

    def needed(shown: Sequence[int], headings: Sequence[str], least: int | None) -> int:
        total = GAP * (len(shown) - 1)
        for at in shown:
            whole = max(cells[at], *map(width_of, headings[at].split("\n")))
            total += min(whole, least) if at < texts and least else whole
        return total

    every, by_word = range(len(head)), [name.replace(" ", "\n") for name in head]
    by_part = [name.replace("/", "/\n") for name in by_word]
    choices: list[tuple[list[int], Sequence[str], int | None]] = [
        (list(every), headings, None) for headings in (head, by_word, by_part)
    ]
    left_out: set[int] = set()
    for name in (None, *optional):
        left_out |= {at for at in every if head[at] == name}
        choices.append(([at for at in every if at not in left_out], by_part, LEAST))
    shown, headings, _ = next((one for one in choices if needed(*one) <= width), choices[-1])
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="bold", pad_edge=False)
    for at in shown:
        is_text = at < texts
        table.add_column(
            headings[at], justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text, vertical="top"
        )
    return table, [head[at] for at in shown]
