"""Faulty command lines and files from a seeded generator, and what the program says about them before a run."""

from __future__ import annotations

import contextlib
import io
import random

import numpy as np

from mlrun.cli import error_message
from mlrun.commands._application import check_configuration
from mlrun.config.compose import compose
from mlrun.config.explain import COMPOSITION_ERRORS, explain
from mlrun.config.hydra_internals import parse_command_line
from mlrun.config.instantiate import build
from mlrun.data.preprocess.preprocessor import make_preprocessor
from mlrun.errors import ConfigError, UserError

BASES = [
    ["model=mlp", "optim=momentum", "optim.lr=0.1", "trainer.max_epochs=3", "dataset.batch_size=32", "model.network.hidden=[64,32]", "seed=2"],
    ["model=random_forest", "dataset=wine", "model.classifier.n_estimators=50", "model.classifier.max_depth=3", "dataset.split.train=0.5"],
    ["model=svm", "trainer=kfold", "trainer.folds=5", "model.classifier.C=1.0", "model.classifier.kernel=linear", "dataset=iris"],
    ["model=lenet", "scheduler=cosine", "optim.lr=0.01", "trainer.precision=bf16-mixed", "dataset.normalize=unit", "model.label_smoothing=0.1"],
    ["dataset=csv", "dataset.path=table.csv", "dataset.target=y", "model=mlp", "dataset.split={train: 0.8, val: 0.1, test: 0.1}", "dataset.drop=[a]"],
]  # fmt: skip
WRONG = [
    "",
    "nan",
    "-1",
    "1e400",
    "[",
    "{a:",
    "'",
    "null",
    "true",
    "[1,[2]]",
    "${x}",
    "${oc.env:NO_SUCH}",
    "字",
    "0x1F",
    "a b",
    "9" * 60,
    "!!python/object:os",
    "\\",
    "=",
    "${seed:",
    "1:2:3",
]


def mutated(generator: random.Random) -> list[str]:
    """A good command line with one to three faults: letters, values, keys, brackets."""
    given = list(generator.choice(BASES))
    for _ in range(generator.randint(1, 3)):
        at = generator.randrange(len(given))
        key, _, value = given[at].partition("=")
        place = generator.randrange(1, len(key))
        given[at] = generator.choice([
            lambda: f"{key}={generator.choice(WRONG)}",
            lambda: f"{key[:place]}{key[place + 1:]}={value}",
            lambda: f"{key[:place]}{generator.choice('xyz.@/-é')}{key[place:]}={value}",
            lambda: f"{generator.choice(['+', '++', '~', '-', '--'])}{key}={value}",
            lambda: f"{key}={value[:-1]}",
            lambda: f"{key}={value}{generator.choice(list('[]{}(),:;$#'))}",
            lambda: key,
            lambda: f"{key}.{generator.choice(['a', '0', '_target_', '..'])}={value}",
        ])()  # fmt: skip
    return given


def judge(argv):
    """What the command line does before a run: None if the configuration is good, else its message. Anything but a message is raised."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            command = parse_command_line(argv)
            if command.runs:
                check_configuration(command)
    except UserError as error:
        return error_message(error)
    except COMPOSITION_ERRORS as error:  # as `hydra_application` does
        problems = explain(command.overrides, command.config_dir, error)
        if not problems:
            raise
        return error_message(ConfigError(problems))
    except SystemExit:  # an option that Hydra does not know: its usage
        return said.getvalue()
    return None


def faults_of_a_message(message: str) -> list[str]:
    """What is wrong with an answer to a faulty command line: it is one readable message."""
    return [
        fault
        for fault, found in {
            "no prefix": not message.startswith(("mlrun: ", "usage: ")),
            "a traceback": "Traceback" in message,
            "too short": len(message) <= 15,
            "too long": len(message.splitlines()) > 12,
        }.items()
        if found
    ]


def good_table() -> bytes:
    """A CSV file of 60 rows."""
    rows = np.random.default_rng(0).normal(size=(60, 3)).round(3)
    lines = [b",".join(str(v).encode() for v in row) + b"," + (b"yes" if row[0] > 0 else b"no") for row in rows]
    return b"a,b,c,y\n" + b"\n".join(lines) + b"\n"


def corrupted(generator: random.Random, content: bytes) -> bytes:
    """A CSV file with one fault: cut, turned, swapped, filled with something else."""
    lines = content.split(b"\n")
    at = generator.randrange(len(lines))
    noise = bytes(generator.randrange(256) for _ in range(40))
    return generator.choice([
        lambda: content[: generator.randrange(len(content))],
        lambda: content[: generator.randrange(30)],
        lambda: content.replace(b",", b";", generator.randrange(1, 60)),
        lambda: b"\n".join([*lines[:at], noise, *lines[at:]]),
        lambda: b"\n".join([*lines[:at], lines[at] + b",1,2", *lines[at + 1 :]]),
        lambda: b"\n".join([*lines[:at], b'"' + lines[at], *lines[at + 1 :]]),
        lambda: b"\n".join(lines[1:]),
        lambda: lines[0] + b"\n",
        lambda: lines[0].replace(b"b", b"a", 1) + b"\n" + b"\n".join(lines[1:]),
        lambda: content.replace(b"1", b"9" * 400, 3),
        lambda: content.replace(b"y", b"\xff\xfe", 1),
        lambda: content.decode().encode("utf-16"),
        lambda: b"\0" * 100 + content,
        lambda: content.replace(b"\n", b"\r", 30),
        lambda: b"\x1f\x8b" + noise,
        lambda: b"",
        lambda: b"\n".join([lines[0], *(line.rsplit(b",", 1)[0] + b"," for line in lines[1:])]),
        lambda: b"\n".join([lines[0], lines[1]]),
    ])()  # fmt: skip


def prepare(*overrides):
    """Reads, splits and normalizes as a run does; the message of what is refused, else None."""
    cfg = compose(["model=mlp", *overrides])
    try:
        data = build(cfg.dataset, {"seed": 1, "data_dir": None, "name": "own"}, "dataset")
        data.prepare()
        made = make_preprocessor(None, data)
        made.encode(data.sample("train"))
        data.digest
    except UserError as error:
        return str(error)
