"""Series and volumes: files as the archives write them, generated sets by their definition."""

from __future__ import annotations

import numpy as np
import pytest

from mlrun.data.datasets.series import CylinderBellFunnel, SeriesFile
from mlrun.data.datasets.volumes import MovingSquares, Solids
from mlrun.errors import DataError
from tests.data.through import encoded, loader, spec

UCR = "1.0000000e+00\t0.5\t1.5\t-2\n2.0000000e+00\t3\tNaN\t5\n" * 5
TS = (
    """#comment
@problemName Two
@timeStamps false
@univariate false
@classLabel true walk run
@data
1,2,3:4,5,6:walk
7,?,9:1,1,1:run
"""
    + "1,2,3:4,5,6:walk\n7,8,9:1,1,1:run\n" * 4
)


def series(path, **options):
    return SeriesFile(path, "classification", "series", 1, split={"train": 0.6, "val": 0.4}, **options)


@pytest.mark.parametrize("mark, name", [("\t", "X_TRAIN.tsv"), (",", "X.csv"), ("  ", "X_TRAIN.txt")])
def test_files_of_the_ucr_archive(tmp_path, mark, name):
    (tmp_path / name).write_text(UCR.replace("\t", mark))
    data = series(tmp_path / name)
    assert data.target.classes == ["1", "2"] and spec(data)["series_shape"] == [1, 3]
    x = data.content.columns["series"][data.content.columns["label"] == 1][0, 0]
    np.testing.assert_allclose(x, [3, 4, 5])  # the missing value is the mean of the others


def test_ts_files_with_several_channels_and_a_test_part(tmp_path):
    (tmp_path / "Two_TRAIN.ts").write_text(TS)
    (tmp_path / "Two_TEST.ts").write_text(TS)
    data = series(tmp_path / "Two_TRAIN.ts")
    assert data.target.classes == ["run", "walk"] and spec(data)["series_shape"] == [2, 3]
    assert data.sizes == {"train": 6, "val": 4, "test": 10}
    np.testing.assert_allclose(data.content.columns["series"][1], [[7, 8, 9], [1, 1, 1]])


@pytest.mark.parametrize(
    "content, message",
    [
        ("1,2,3\n1,2\n", "line 2: 1 channels of 1 values, but 1 of 2"),
        ("1,2,x\n", "line 1"),
        ("\n", "no series"),
        ("1\n", "line 1: no series"),
        ("1,2,3\n2,3,inf\n", "line 2: a value is infinite or too large"),
        ("1,2,3\n2,-1e39,3\n", "line 2: a value is infinite or too large"),
    ],
)
def test_broken_files_are_refused_with_their_line(tmp_path, content, message):
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        series(tmp_path / "x.csv").prepare()
    with pytest.raises(DataError, match="cannot be read"):
        series(tmp_path / "y.csv").prepare()


def test_a_byte_order_mark_belongs_to_no_class(tmp_path):
    (tmp_path / "x.csv").write_text("\ufeff1,2,3\r\n" + "1,2,4\r\n2,3,3\r\n" * 5, encoding="utf-8")
    assert series(tmp_path / "x.csv").target.classes == ["1", "2"]


def test_cylinder_bell_funnel_by_its_definition():
    columns = CylinderBellFunnel("classification", "cbf", 1, rows=3000).content.columns
    x, y = columns["series"][:, 0], columns["label"]
    assert x.shape == (3000, 128) and np.bincount(y).tolist() == [1000] * 3
    np.testing.assert_allclose(x[:, :15].std(), 1, atol=0.02)  # before the earliest start there is noise alone
    middle = [x[y == kind][:, 32:48].mean() for kind in range(3)]
    early, late = (
        [x[y == kind][:, 24:32].mean() for kind in range(3)],
        [x[y == kind][:, 90:110].mean() for kind in range(3)],
    )
    assert middle[0] == pytest.approx(6, abs=0.3), "between the latest start and the earliest end a cylinder is 6 high"
    assert early[2] > early[1] + 1 and late[1] > late[2] + 1, "a funnel is high early, a bell late"


@pytest.mark.parametrize("kind", [Solids, MovingSquares])
def test_generated_volumes(kind):
    def made(**options):
        return kind("classification", "volumes", 1, rows=60, **options)

    one = made()
    x = next(iter(loader(one, "train", shuffle=True)))["pixel_values"]
    assert tuple(x.shape[1:]) == (1, 16, 16, 16) and spec(one)["volume_shape"] == [1, 16, 16, 16]
    train = encoded(one, "train")["pixel_values"]
    assert abs(train.mean()) < 1e-4 and train.std() == pytest.approx(1, abs=1e-3)
    np.testing.assert_array_equal(one.content.columns["volume"], made().content.columns["volume"])
    assert not np.array_equal(one.content.columns["volume"], made(data_seed=1).content.columns["volume"])
    assert set(np.unique(made(noise=0.0).content.columns["volume"])) == {0, 1}
    with pytest.raises(DataError, match="at least 8"):
        made(size=4)


def test_solids_are_of_about_the_same_size():
    content = Solids("classification", "solids", 1, rows=240, noise=0.0).content
    volume = [
        content.columns["volume"][content.columns["label"] == kind].sum(axis=(1, 2, 3, 4)).mean() for kind in range(6)
    ]
    assert max(volume) < 2 * min(volume)


def test_a_frame_does_not_tell_the_direction_but_two_do():
    content = MovingSquares("classification", "clips", 1, rows=100, noise=0.0).content
    for clip, kind in zip(content.columns["volume"][:, 0], content.columns["label"]):
        shifts = {"right": (1, 0, 1), "left": (1, 0, -1), "down": (0, 1, 1), "up": (0, 1, -1), "still": (0, 0, 0)}
        across, down, sign = shifts[content.features["label"].names[kind]]
        fits = [np.array_equal(np.roll(clip[0], (sign * s * down, sign * s * across), (0, 1)), clip[1]) for s in (1, 2)]
        assert any(fits)
        assert clip[0].sum() == clip[-1].sum()
