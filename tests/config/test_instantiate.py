"""Objects from nodes: what Hydra's keywords mean, and one line with a key for every exception of a constructor."""

from __future__ import annotations

import pickle
import sys

import pytest

from mlrun.config.instantiate import Factory, build, construct, fill, instantiate
from mlrun.errors import ConfigError, DataError

MODULE = """
class Keeps:
    def __init__(self, *args, inner=None, items=None, size=1):
        self.args, self.inner, self.items, self.size = args, inner, items, size

class Table:
    def __init__(self, kind="a", size=1):
        self.value = {"a": 1, "b": 2}[kind]

class Checked:
    def __init__(self, size=1, depth=1):
        assert size > 0

class Conditional:
    def __init__(self, size=1, depth=1, rate=0.5):
        if depth > 10 * size:
            raise RuntimeError("out of proportion")

class Divided:
    def __init__(self, width=8, parts=2):
        self.width, self.parts = width, parts
        self.each = self._each()

    def _each(self):
        return self.width / self.parts

class Silent:
    def __init__(self, size=1, depth=1, rate=0.5):
        raise RuntimeError

class Raises:
    def __init__(self, error, message):
        from mlrun import errors
        raise getattr(errors, error)(message)

def function(x, divisor=1):
    return x / divisor
"""


@pytest.fixture(autouse=True)
def modules(tmp_path, monkeypatch):
    """The user's files `things.py`, `incomplete.py` and `broken.py` in the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "things.py").write_text(MODULE)
    (tmp_path / "incomplete.py").write_text("import a_package_that_nobody_has\n")
    (tmp_path / "broken.py").write_text("\nclass Net(\n")
    yield
    for name in ("things", "incomplete", "broken"):
        sys.modules.pop(name, None)


def message(node, path="model.network") -> str:
    with pytest.raises(ConfigError) as error:
        instantiate(node, path)
    assert "\n" not in str(error.value)
    return str(error.value)


# --- Hydra's keywords ----------------------------------------------------------------------------------------------


def test_nodes_in_lists_and_mappings_are_built_and_containers_are_plain():
    written = {"a": [{"_target_": "things.Keeps", "size": 2}, 3], "b": {"c": (1, 2)}}
    made = instantiate({"_target_": "things.Keeps", "_args_": [1, {"_target_": "things.Table"}], "items": written})
    assert made.args[0] == 1 and made.args[1].value == 1
    assert made.items["a"][0].size == 2 and made.items["a"][1] == 3
    assert made.items["b"] == {"c": [1, 2]} and type(made.items) is dict
    assert made.items is not written  # a constructor may change what it is given
    assert isinstance(written["a"][0], dict)


def test_a_node_that_is_not_recursive_keeps_its_nodes():
    inner = {"_target_": "things.Table"}
    assert instantiate({"_target_": "things.Keeps", "_recursive_": False, "inner": inner}).inner == inner


def test_objects_pass_through_untouched():
    thing = object()
    assert instantiate({"_target_": "things.Keeps", "inner": thing, "items": [thing]}).inner is thing


def test_text_that_looks_like_an_interpolation_is_text():
    assert instantiate({"_target_": "things.Keeps", "items": ["${nowhere}", "???"]}).items == ["${nowhere}", "???"]


def test_partial_of_a_class_is_a_factory():
    factory = instantiate({"_target_": "things.Keeps", "_partial_": True, "size": 3}, "model.network")
    assert isinstance(factory, Factory) and factory.keywords == {"size": 3} and factory.func.__name__ == "Keeps"
    first, second = factory(), factory(7, size=4)
    assert (first.size, second.size, second.args) == (3, 4, (7,)) and first is not second


def test_partial_of_a_function_raises_what_the_function_raises():
    function = instantiate({"_target_": "things.function", "_partial_": True, "divisor": 0})
    with pytest.raises(ZeroDivisionError):  # a loss that fails in training is no error of the configuration
        function(1)


def test_build_of_nothing_is_none():
    assert build(None) is None and build({"_target_": None}) is None


def test_fill_takes_required_arguments_by_name():
    assert fill({"_target_": "things.Raises", "error": "X"}, {"message": "m", "other": 1}) == {
        "_target_": "things.Raises", "error": "X", "message": "m",
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"^model.head\[0\]: things.Raises needs error, message"):
        fill([{"_target_": "things.Raises"}], {}, "model.head")


# --- exceptions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "node, expected",
    [
        (
            {"_target_": "things.Table", "kind": "c", "size": 5},
            "things.Table cannot be built with kind=c: KeyError: 'c' (things.py, line 8)",
        ),
        (
            {"_target_": "things.Checked", "size": -1, "depth": 2},
            "things.Checked cannot be built with size=-1: AssertionError: assert size > 0 (things.py, line 12)",
        ),
        (  # the condition of the `if` around the `raise`
            {"_target_": "things.Conditional", "size": 1, "depth": 11, "rate": 0.1},
            "things.Conditional cannot be built with size=1, depth=11: out of proportion (things.py, line 17)",
        ),
        (  # attributes of `self`, and of the two on the line the one that is zero
            {"_target_": "things.Divided", "width": 6, "parts": 0},
            "things.Divided cannot be built with parts=0: division by zero (things.py, line 25)",
        ),
        (  # nothing points at an argument: those that differ from their defaults
            {"_target_": "things.Silent", "size": 1, "depth": 7, "rate": 0.1},
            "things.Silent cannot be built with depth=7, rate=0.1: RuntimeError: raise RuntimeError (things.py, line 29)",
        ),
        (
            {"_target_": "things.Silent"},
            "things.Silent cannot be built: RuntimeError: raise RuntimeError (things.py, line 29)",
        ),
        (
            {"_target_": "things.Table", "colour": "red"},
            "things.Table cannot be built with colour=red: Table.__init__() got an unexpected keyword argument 'colour'",
        ),
        (  # the text names the arguments
            {"_target_": "torch.nn.Conv2d", "in_channels": 4, "out_channels": 3, "kernel_size": 2, "groups": 3},
            "torch.nn.Conv2d cannot be built with in_channels=4, groups=3: in_channels must be divisible by groups",
        ),
        ({"_target_": "incomplete.Net"}, "incomplete.Net cannot be imported: No module named 'a_package_that_nobody_has' (incomplete.py, line 1)"),
        ({"_target_": "no_such_module.Net"}, "no_such_module.Net cannot be imported: No module named 'no_such_module'"),
        ({"_target_": None}, "_target_ must be the dotted name of a class or function, not null"),
    ],
)  # fmt: skip
def test_an_exception_is_one_line_that_names_key_and_argument(node, expected):
    assert message(node) == f"model.network: {expected}"


def test_the_line_of_a_file_that_is_not_python_is_named():
    assert "broken.Net cannot be imported: SyntaxError" in message({"_target_": "broken.Net"})
    assert "line 2" in message({"_target_": "broken.Net"})


def test_hydra_refuses_targets_that_run_commands():
    assert message({"_target_": "os.system", "command": "true"}).startswith("model.network: Target 'os.system'")


@pytest.mark.parametrize(
    "place, expected",
    [
        (lambda bad: {"_target_": "things.Keeps", "inner": bad}, "model.inner: things.Checked"),
        (lambda bad: {"_target_": "things.Keeps", "items": [1, {"deep": bad}]}, "model.items[1].deep: things.Checked"),
        (lambda bad: {"_target_": "things.Keeps", "_args_": [bad]}, "model._args_[0]: things.Checked"),
    ],
)
def test_the_key_is_that_of_the_failing_node(place, expected):
    bad = {"_target_": "things.Checked", "size": 0}
    assert message(place(bad), "model").startswith(expected)


def test_a_factory_that_another_constructor_calls_reports_its_own_key(tmp_path):
    (tmp_path / "things.py").write_text(MODULE + "\nclass Calls:\n    def __init__(self, make):\n        make()\n")
    node = {"_target_": "things.Calls", "make": {"_target_": "things.Checked", "_partial_": True, "size": 0}}
    assert message(node, "model").startswith("model.make: things.Checked cannot be built with size=0")


def test_the_cause_keeps_its_traceback():
    with pytest.raises(ConfigError) as error:
        instantiate({"_target_": "things.Checked", "size": 0})
    assert isinstance(error.value.__cause__, AssertionError)


def test_errors_that_explain_themselves_pass_through():
    def raised(error, text, path="dataset"):
        with pytest.raises((ConfigError, DataError)) as info:
            instantiate({"_target_": "things.Raises", "error": error, "message": text}, path)
        return info.value

    data = raised("DataError", "table.csv: the file is empty")
    assert type(data) is DataError and str(data) == "table.csv: the file is empty"
    assert str(raised("ConfigError", "dataset.size=0: too small")) == "dataset.size=0: too small"
    assert str(raised("ConfigError", "too small")) == "dataset: too small"
    assert raised("ConfigError", ["too small", "model.x: odd"]).problems == ["dataset: too small", "model.x: odd"]


def test_construct_names_the_target_it_is_given():
    with pytest.raises(ConfigError, match=r"^optim: mine.Optimizer cannot be built with base=1: ") as error:
        construct("optim", "mine.Optimizer", int, "7", base=1)
    assert pickle.loads(pickle.dumps(error.value)).problems == error.value.problems  # sweeps send it between processes
