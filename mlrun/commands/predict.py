"""`mlrun predict RUN [INPUT]`: predictions of a run's stored model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mlrun.commands import RunParser
from mlrun.errors import UserError

SUMMARY = "predict with a stored model: files, pipes, images; samples, episodes, prompts"


def run(argv: list[str]) -> int:
    """Runs the command."""
    parser = RunParser(
        "predict",
        "Writes a prediction for each row of INPUT, in constant memory. Some models answer further queries: see "
        "`mlrun predict RUN --help` for those of a run.",
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this help message and exit")
    parser.add_argument(
        "input", nargs="?", help="CSV, TSV, Parquet, JSON lines, an image or a folder of images; - for stdin"
    )
    parser.add_argument(
        "--output", help="file to write: .csv, .parquet or .jsonl; - for stdout (default); a directory for some queries"
    )
    parser.add_argument(
        "--format",
        choices=("csv", "parquet", "jsonl", "images"),
        help="format of the input, if its name does not show it",
    )
    parser.add_argument(
        "--separator", help="separator of a CSV file (default: the most frequent of , ; tab | in its header)"
    )
    parser.add_argument(
        "--rejected",
        type=Path,
        help="file for rows that cannot be used, with line number and reason (default: beside the output)",
    )
    if not argv or argv[0].startswith("-"):
        if {"-h", "--help"} & set(argv):
            parser.print_help()
            return 0
        parser.parse_args(argv)
    from mlrun.experiment.stored import open_data, open_run

    known, _ = parser.parse_known_args(argv)
    cfg, learner = open_run(known.run, known.trust)
    queries = learner.queries
    for query in queries:
        query.add_options(parser.add_argument_group(query.title))  # type: ignore[arg-type]  # takes options as a parser does
    if known.help:
        parser.print_help()
        return 0
    arguments = parser.parse_args(argv)
    asked = next((query for query in queries if query.is_asked(arguments)), None)
    if asked is None and arguments.input is None:
        asked = next((query for query in queries if query.without_input), None)
    if asked is not None:
        return asked.answer(learner, cfg, arguments, open_data)
    return _answer(learner, arguments)


def _answer(learner: Any, arguments: argparse.Namespace) -> int:
    import sys

    from mlrun.data.rows import read_rows
    from mlrun.predictions.writer import FORMATS, predict_all

    if arguments.input is None:
        raise UserError(
            f"no input given: mlrun predict {arguments.run} FILE --output predictions.csv (- reads from a pipe)"
        )
    if not learner.inputs:
        raise UserError(f"{arguments.run}: this model does not take rows of a table, texts or images")
    output = arguments.output or "-"
    suffix = Path(output).suffix.lower()
    if output != "-" and suffix not in FORMATS:
        raise UserError(f"--output {output}: give a file ending in {', '.join(FORMATS)}")
    format = FORMATS.get(suffix, "csv")
    if output == "-":
        format = arguments.format if arguments.format in ("csv", "jsonl") else "csv"
    beside = Path("predictions" if output == "-" else output)
    rejected = arguments.rejected or beside.with_name(f"{beside.stem}.rejected.csv")
    for option, path in (("--output", Path(output)), ("--rejected", rejected)):
        if path.exists() and Path(arguments.input).exists() and path.samefile(arguments.input):
            raise UserError(f"{option} {path}: this is the input, which would be overwritten; give another file")
    rows, refused = predict_all(
        learner,
        read_rows(arguments.input, learner.inputs, arguments.format, arguments.separator),
        output,
        format,
        rejected,
    )
    if refused:
        print(
            f"mlrun: {refused:,} of {rows + refused:,} rows could not be used; they are in {rejected}", file=sys.stderr
        )
    elif not rows:
        print(f"mlrun: {arguments.input}: has no rows", file=sys.stderr)
    if output != "-" and rows:
        print(f"{output}: {rows:,} predictions")
    return 0 if rows else 1
