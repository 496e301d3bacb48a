"""The documentation of installed packages: what is read, how it is divided, and what is stored."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from mlrun.data.datasets.docstrings import DocstringPackages, Docstrings
from mlrun.data.preprocess.preprocessor import make_preprocessor
from mlrun.data.readers.docstrings import Docstring, Parameter, read_docstrings, versions
from mlrun.errors import DataError

NUMPY_STYLE = '''
"""The module of shapes, which is documented."""
raise RuntimeError("this module must not be imported")


def area(width, height=2.5, *, unit="metre"):
    """
    The area of a rectangle.

    It is the product of both sides.

    Parameters
    ----------
    width : float
        Of the rectangle.
    height : float, optional
        The other side.
        Default is 7.
    unit : {"metre", "foot"}
        Of both.

    Returns
    -------
    float
        The area in the square of the unit.
    """


class Square:
    """A rectangle whose sides are equal."""

    def grow(self, factor):
        """Scales all sides.

        Args:
            factor (float): how much. Defaults to 3.

        Returns:
            The same square.
        """

        def inner():
            """Not documentation for anybody, but long enough."""


add_docstr(native.abs, r"""
abs(input) -> Tensor

The absolute value of each element, in C.
""")
'''


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two packages of sources, `shapes_a` and `shapes_b`, and an empty cache."""
    for package in ("shapes_a", "shapes_b"):
        (tmp_path / package / "tests").mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text('"""' + f"The package {package}, for shapes." + '"""\n')
        (tmp_path / package / "plane.py").write_text(textwrap.dedent(NUMPY_STYLE))
        (tmp_path / package / "tests" / "test_plane.py").write_text('"""A test, which is no documentation."""\n')
        (tmp_path / package / "broken.py").write_text('def f(:\n    """A template, not Python."""\n')
        for at in range(20):
            text = (
                f"Number {at} of {package} is a text of its own." if at % 2 else f"Text {at} stands in both packages."
            )
            (tmp_path / package / f"part{at}.py").write_text(f'"""{text}"""\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return ["shapes_a", "shapes_b"]


def test_sources_are_read_without_importing_them(packages):
    texts = {(text.module, text.name): text for text in read_docstrings(versions(["shapes_a"]))}
    assert len(texts) == 26 and all(text.package == "shapes_a" for text in texts.values())
    names = {name for module, name in texts if module == "shapes_a.plane"}
    assert names == {"", "area", "Square", "Square.grow", "abs"}
    area = texts["shapes_a.plane", "area"]
    assert area.summary == "The area of a rectangle."
    assert list(area.sections) == ["Parameters", "Returns"]
    assert area.sections["Returns"] == "float\n    The area in the square of the unit."
    assert area.parameters == [
        Parameter("width", "float", "Of the rectangle."),
        Parameter("height", "float, optional", "The other side. Default is 7.", "2.5"),  # the source is right
        Parameter("unit", '{"metre", "foot"}', "Of both.", "'metre'"),
    ]
    assert texts["shapes_a.plane", "Square.grow"].parameters == [
        Parameter("factor", "float", "how much. Defaults to 3.", "3")
    ]


def test_texts_are_stored_by_version(packages, tmp_path):
    first = read_docstrings(versions(packages))
    (tmp_path / "shapes_a" / "plane.py").unlink()
    assert read_docstrings(versions(packages)) == first  # from the cache
    assert read_docstrings(versions(["shapes_a"])) != first
    one = Docstrings("language_modeling", "docstrings", 1, packages)
    other = Docstrings("language_modeling", "docstrings", 2, packages[:1])
    assert one.digest == Docstrings("language_modeling", "docstrings", 2, packages).digest != other.digest
    with pytest.raises(DataError, match="no_such_package is not installed"):
        Docstrings("language_modeling", "docstrings", 1, ["no_such_package"])


@pytest.mark.parametrize("seed", range(5))
def test_modules_and_copies_are_not_divided(packages, seed):
    data = DocstringPackages(
        "classification", "docstring_packages", seed, packages, split={"train": 0.6, "val": 0.2, "test": 0.2}
    )
    part_of: dict[str, set[str]] = {}
    for part in ("train", "val", "test"):
        rows = data.rows(part)
        assert len(rows)
        for row in rows:
            text = data.library.texts[row]
            part_of.setdefault(f"body {text.body}", set()).add(part)
            if not text.body.startswith("Text"):
                part_of.setdefault(f"module {text.module}", set()).add(part)
    assert all(len(parts) == 1 for name, parts in part_of.items() if "plane" not in name)
    assert data.target.classes == ["shapes_a", "shapes_b"]
    rows = np.concatenate([data.rows(part) for part in ("train", "val", "test")])
    assert len(np.unique(rows)) == len(rows)


def test_sizes_in_texts(packages):
    data = DocstringPackages(
        "classification", "docstring_packages", 1, packages, split={"train": 12, "val": 6, "test": 8}
    )
    assert data.sizes == {"train": 12, "val": 6, "test": 8}
    stream = Docstrings("language_modeling", "docstrings", 1, packages, tokenizer={"kind": "words"})
    assert sum(len(stream.examples(part)) for part in ("train", "val", "test")) <= 50
    preprocessor = make_preprocessor(None, stream)
    text = "\n\n\n".join(stream.examples("test")["text"])
    assert stream.sizes["test"] == len(text.encode())
    assert stream.stream("test", preprocessor).characters == len(text)


def test_a_type_may_contain_a_colon_and_a_title_may_occur_twice():
    text = Docstring(
        "p",
        "m",
        "f",
        "Does it.\n\nParameters\n----------\na, b : dict of str: int\n    Both.\n\nNotes\n-----\nOne.\n\nNotes\n-----\nTwo.",
    )
    assert text.parameters == [Parameter(name, "dict of str: int", "Both.") for name in "ab"]
    assert text.sections["Notes"] == "One."
