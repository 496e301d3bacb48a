"""`mlrun predict RUN [INPUT]`: what the stored model of a run answers."""

from __future__ import annotations

from pathlib import Path

from mlrun.commands import RunParser
from mlrun.errors import UserError

SUMMARY = "answers of a run's stored model for a file, a pipe or a folder of images; a GIF of an episode where it plays"


def run(argv: list[str]) -> int:
    parser = RunParser(
        "predict",
        "Writes a prediction and the probabilities of all classes for each row of INPUT, however many there are. "
        "A generative model draws --samples instead. The model of an environment plays: episode.gif and transitions.csv.",
    )
    parser.add_argument(
        "input", nargs="?", help="CSV, TSV, Parquet, JSON lines, an image or a folder of images; - for stdin"
    )
    parser.add_argument(
        "--output",
        help="file to write: .csv, .parquet or .jsonl; - for stdout (default); of an environment a directory",
    )
    parser.add_argument(
        "--format", choices=("csv", "parquet", "jsonl", "images"), help="of the input, where its name does not say it"
    )
    parser.add_argument("--separator", help="of a CSV file; else whichever of , ; tab | its header has most of")
    parser.add_argument(
        "--rejected",
        type=Path,
        help="file for rows that cannot be used, with line and reason (default: beside the output)",
    )
    parser.add_argument(
        "--samples", type=int, help="how many a generative model draws, into --output grid.png or samples.npz"
    )
    parser.add_argument("--labels", help="of the samples, where the model knows classes: 3,7")
    parser.add_argument("--episodes", type=int, default=1, help="to play (environments)")
    parser.add_argument(
        "--seed", type=int, help="of samples; of episodes, without it those that the run itself was measured by"
    )
    arguments = parser.parse_args(argv)
    from mlrun.experiment.stored import open_run

    cfg, learner = open_run(arguments.run, arguments.trust)
    if arguments.samples is not None:
        from mlrun.predictions.samples import write_samples

        labels, output = arguments.labels and arguments.labels.split(","), Path(arguments.output or "samples.png")
        print(f"{output}: {write_samples(cfg, learner, arguments.samples, output, labels, arguments.seed or 0)}")
        return 0
    if cfg["dataset"].get("problem") == "control":
        return _play(cfg, learner, arguments)
    return _answer(learner, arguments)


def _answer(learner, arguments) -> int:
    import sys

    from mlrun.data.readers.rows import read_rows
    from mlrun.predictions.writer import FORMATS, predict_all

    if arguments.input is None:
        raise UserError(
            f"what should be predicted? mlrun predict {arguments.run} FILE --output predictions.csv (- reads from a pipe)"
        )
    inputs = learner.recipe.get("inputs")
    if not inputs:
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
            raise UserError(f"{option} {path}: is the input itself, which would be lost; give another file")
    rows, refused = predict_all(
        learner, read_rows(arguments.input, inputs, arguments.format, arguments.separator), output, format, rejected
    )
    if refused:
        print(
            f"mlrun: {refused:,} of {rows + refused:,} rows could not be used; they are in {rejected}", file=sys.stderr
        )
    elif not rows:
        print(f"mlrun: {arguments.input}: there are no rows in it", file=sys.stderr)
    if output != "-" and rows:
        print(f"{output}: {rows:,} predictions")
    return 0 if rows else 1


def _play(cfg: dict, learner, arguments) -> int:
    """Greedy episodes; writes episode.gif (the first one) and transitions.csv."""
    from mlrun.experiment.stored import open_data
    from mlrun.report.control import record, write_transitions
    from mlrun.report.numbers import number

    if arguments.input is not None:
        raise UserError(
            f"{arguments.run}: the model of an environment plays and takes no input: mlrun predict {arguments.run} --output DIRECTORY"
        )
    if arguments.seed is not None:
        cfg["seed"] = arguments.seed
    data = open_data(cfg, test_episodes=arguments.episodes)
    folder = Path(arguments.output or ".")
    folder.mkdir(parents=True, exist_ok=True)
    table = folder / "transitions.csv"
    returns = write_transitions(table, data, learner.predict)
    print(f"{table}: {len(returns)} episodes, mean return {number(sum(returns) / len(returns))}")
    film = record(data, learner.predict)
    if film is None:
        raise UserError("no picture of an episode: this environment cannot draw itself here (is pygame-ce installed?)")
    film.save(folder / "episode.gif")
    print(f"{folder / 'episode.gif'}: {film.told}")
    return 0
