"""200 mutated configurations and 50 corrupted files, from a seeded generator: one message each, no traceback, no hang."""

from __future__ import annotations

import contextlib
import io
import random
import time

import numpy as np
import pandas as pd
import pytest

from mlrun.cli import error_message
from mlrun.commands._application import check_configuration
from mlrun.config.compose import compose, register_resolvers
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


def test_mutated_configurations(workplace):
    register_resolvers()
    pd.DataFrame({"a": range(40), "b": range(40), "y": [0, 1] * 20}).to_csv("table.csv", index=False)
    generator, refused = random.Random(20), 0
    for _ in range(120):
        argv = mutated(generator)
        start = time.monotonic()
        message = judge(argv)
        assert time.monotonic() - start < 20, argv
        if message is None:
            continue
        refused += 1
        assert message.startswith(("mlrun: ", "usage: ")) and "Traceback" not in message and len(message) > 15, (
            argv,
            message,
        )
        assert len(message.splitlines()) <= 12, (argv, message)
    assert refused > 72


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


def test_corrupted_tables(workplace):
    rows = np.random.default_rng(0).normal(size=(60, 3)).round(3)
    good = (
        b"a,b,c,y\n"
        + b"\n".join(b",".join(str(v).encode() for v in row) + b"," + (b"yes" if row[0] > 0 else b"no") for row in rows)
        + b"\n"
    )
    generator, refused = random.Random(7), 0
    for number in range(40):
        content = corrupted(generator, good)
        zipped = content.startswith(b"\x1f\x8b")
        path = workplace / f"файл {number}.{'csv.gz' if zipped else 'csv'}"
        path.write_bytes(content)
        start = time.monotonic()
        message = prepare("dataset=csv", f"dataset.path='{path}'")
        assert time.monotonic() - start < 20
        if message is not None:
            refused += 1
            assert len(message.splitlines()) == 1 and path.name in message, (content[:200], message)
    assert refused > 20
    (workplace / "good.csv").write_bytes(good)
    assert prepare("dataset=csv", "dataset.path=good.csv") is None


def test_corrupted_binary_files(workplace):
    from PIL import Image

    generator = random.Random(3)
    table = pd.DataFrame({"a": np.arange(50.0), "y": [0, 1] * 25})
    table.to_parquet("whole.parquet")
    whole = (workplace / "whole.parquet").read_bytes()
    for number in range(5):
        damaged = bytearray(whole)
        for _ in range(60):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        path = workplace / f"{number}.parquet"
        path.write_bytes(bytes(damaged[: generator.randrange(10, len(damaged))] if number % 2 else damaged))
        message = prepare("dataset=csv", f"dataset.path={path}")
        assert message is None or len(message.splitlines()) == 1 and path.name in message
    for name in ("one", "two"):
        (workplace / "images" / name).mkdir(parents=True)
        for index in range(5):
            Image.fromarray(np.full((20, 20), index * 20, np.uint8)).save(workplace / "images" / name / f"{index}.png")
    victim = workplace / "images" / "one" / "2.png"
    whole = victim.read_bytes()
    for _ in range(5):
        damaged = bytearray(whole[: generator.randrange(5, len(whole))])
        damaged[generator.randrange(len(damaged))] ^= 0xFF
        victim.write_bytes(bytes(damaged))
        message = prepare("dataset=image_folder", "dataset.path=images")
        assert message is not None and len(message.splitlines()) == 1 and "2.png" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("名字,y\n张,1\n李,2\n".encode("gb18030"), "encoding=gb18030"),
        (b"a,a,y\n1,2,3\n3,4,5\n", "'a' occurs more than once"),
        (b"a,b,y\n1,2,3\n", "1 row"),
        (b"a,y\n" + b"9" * 400 + b",1\n2,0\n3,1\n4,0\n5,1\n", "infinite or beyond"),
    ],
)
def test_known_faults_of_tables(workplace, content, said):
    (workplace / "我的 data.csv").write_bytes(content)
    assert said in prepare("dataset=csv", "dataset.path='我的 data.csv'")


def test_huge_whole_numbers_and_ten_thousand_columns_work(workplace):
    rows = [f"{2**63 + index},{index % 2}" for index in range(60)]
    (workplace / "big.csv").write_text("size,y\n" + "\n".join(rows))
    assert prepare("dataset=csv", "dataset.path=big.csv") is None
    wide = np.random.default_rng(0).integers(0, 9, (30, 10_000))
    wide[:, -1] = np.arange(30) % 2
    np.savetxt("wide.csv", wide, "%d", ",", header=",".join(f"c{index}" for index in range(10_000)), comments="")
    assert prepare("dataset=csv", "dataset.path=wide.csv") is None
