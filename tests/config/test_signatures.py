"""Arguments found in source are those that Python itself reports."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import textwrap

import pytest

from mlrun.config.signatures import UNKNOWN, signature
from mlrun.config.sources import NoSuchTarget
from mlrun.config.values import describe, fits

OPTIMIZERS = "SGD Adam AdamW Adagrad RMSprop Adadelta Adamax NAdam RAdam ASGD Rprop LBFGS SparseAdam Adafactor".split()
SCHEDULERS = "StepLR MultiStepLR ExponentialLR CosineAnnealingLR OneCycleLR ReduceLROnPlateau LinearLR".split()
ESTIMATORS = """
sklearn.linear_model.LinearRegression sklearn.linear_model.Ridge sklearn.linear_model.Lasso
sklearn.linear_model.LogisticRegression sklearn.linear_model.Perceptron sklearn.tree.DecisionTreeClassifier
sklearn.tree.DecisionTreeRegressor sklearn.ensemble.RandomForestClassifier sklearn.ensemble.RandomForestRegressor
sklearn.naive_bayes.GaussianNB sklearn.naive_bayes.MultinomialNB sklearn.neighbors.KNeighborsClassifier
sklearn.neighbors.KNeighborsRegressor sklearn.svm.SVC sklearn.svm.SVR sklearn.svm.LinearSVC sklearn.cluster.KMeans
sklearn.decomposition.PCA sklearn.preprocessing.StandardScaler sklearn.preprocessing.MinMaxScaler
sklearn.ensemble.GradientBoostingClassifier sklearn.ensemble.HistGradientBoostingRegressor
""".split()
TARGETS = [
    *(f"torch.optim.{name}" for name in OPTIMIZERS),
    *(f"torch.optim.lr_scheduler.{name}" for name in SCHEDULERS),
    *("torch.nn.Linear torch.nn.Conv2d torch.nn.ReLU torch.nn.LayerNorm torch.nn.CrossEntropyLoss".split()),
    *ESTIMATORS,
]


def real(target):
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("target", TARGETS)
def test_same_arguments_and_defaults_as_the_imported_object(target):
    found = signature(target)
    real_parameters = inspect.signature(real(target)).parameters
    assert [p.name for p in found.parameters] == list(real_parameters)
    for p in found.parameters:
        default = real_parameters[p.name].default
        assert p.required == (default is inspect.Parameter.empty), p.name
        if p.default is not UNKNOWN and not p.required:
            assert p.default == default and type(p.default) is type(default), p.name


@pytest.mark.parametrize("target", TARGETS)
def test_every_default_is_of_a_kind_that_is_allowed(target):
    for p in signature(target).parameters:
        default = list(p.default) if isinstance(p.default, tuple) else p.default
        # scikit-learn marks arguments that it gives up with words of its own as default
        if default is not UNKNOWN and default not in ("deprecated", "warn"):
            assert fits(p.kinds, default), f"{p.name}={default}: {describe(p.kinds)}"


@pytest.mark.parametrize("target", ESTIMATORS)
@pytest.mark.filterwarnings("ignore")
def test_constraints_judge_like_scikit_learn(target):
    """Values far and near are refused exactly where scikit-learn itself refuses them before fitting.
    (`true` is left out: scikit-learn takes it for the number 1, here it is a mistake.)"""
    from sklearn.utils._param_validation import InvalidParameterError

    cls = real(target)
    checked = 0
    for p in signature(target).parameters:
        if not p.kinds:
            continue
        for value in (-1, 0, 1, 2, 0.5, 1.0, -0.5, 3.7, None, "gini", "no such word", [1.0, 2.0]):
            if p.name == "feature_range" and isinstance(value, list):
                continue  # a tuple, which YAML writes as a list
            try:
                cls(**{p.name: value})._validate_params()
                accepted = True
            except InvalidParameterError:
                accepted = False
            checked += 1
            assert fits(p.kinds, value) == accepted, f"{p.name}={value!r}: {describe(p.kinds)}"
    assert checked or not signature(target).parameters


def own_targets():
    import mlrun.networks

    for module in pkgutil.walk_packages(mlrun.networks.__path__, "mlrun.networks."):
        for name, cls in vars(importlib.import_module(module.name)).items():
            if inspect.isclass(cls) and cls.__module__ == module.name and not name.startswith("_"):
                yield f"{module.name}.{name}"


def test_own_networks():
    assert len(list(own_targets())) > 30
    for target in own_targets():
        expected = inspect.signature(real(target)).parameters
        if any(p.kind == p.VAR_KEYWORD for p in expected.values()):
            continue
        assert [p.name for p in signature(target).parameters] == list(expected), target


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A user's own mine.py beside the configuration."""

    def write(source, name="mine"):
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        monkeypatch.chdir(tmp_path)

    return write


def kinds(target):
    return {p.name: describe(p.kinds) for p in signature(target).parameters}


def test_user_module_in_the_working_directory(mine):
    mine(
        """
        from typing import Literal, Optional, Sequence, Union
        import torch
        Activation = Literal["relu", "tanh"]
        raise RuntimeError("must not be executed")
        class Net(torch.nn.Module):
            def __init__(self, image_shape: "tuple[int, int, int]", num_outputs: int, width: Optional[int] = 3,
                         act: Activation = "relu", rate: float | torch.Tensor = 0.1, sizes: Sequence[int] = (1, 2),
                         loss: Union[str, None] = None, free=None, number=3, layer: torch.nn.Module | None = None):
                pass
        """
    )
    found = signature("mine.Net")
    assert [p.name for p in found.parameters if p.required] == ["image_shape", "num_outputs"]
    assert kinds("mine.Net") == {
        "image_shape": "a list of length 3 (each an integer)",
        "num_outputs": "an integer",
        "width": "an integer or null",
        "act": "one of relu, tanh",
        "rate": "a number",
        "sizes": "a list (each an integer)",
        "loss": "text or null",
        "free": "",
        "number": "a number",
        "layer": "",
    }


def test_inherited_and_forwarded_arguments(mine):
    mine(
        """
        class A:
            def __init__(self, x: int, y: float = 1.0): pass
        class B(A): pass
        class C(A):
            def __init__(self, z, **kwargs):
                super().__init__(z + 1, **kwargs)
        class D(A):
            def __init__(self, **kwargs):
                self.kwargs = kwargs
        class E(somewhere.Unknown): pass
        class F:
            @classmethod
            def make(cls, size: int = 3): return cls()
        def function(a, *, b=2): pass
        """
    )
    assert kinds("mine.B") == {"x": "an integer", "y": "a number"}
    assert list(kinds("mine.C")) == ["z", "y"] and not signature("mine.C").accepts_any
    assert signature("mine.D").accepts_any
    assert signature("mine.E") is None
    assert list(kinds("mine.F.make")) == ["size"]
    assert [(p.name, p.required) for p in signature("mine.function").parameters] == [("a", True), ("b", False)]


def test_dataclass(mine):
    mine(
        """
        import dataclasses
        @dataclasses.dataclass(frozen=True)
        class Base:
            a: int
        @dataclasses.dataclass
        class Settings(Base):
            b: bool = False
        """,
        "settings_of_mine",
    )
    assert kinds("settings_of_mine.Settings") == {"a": "an integer", "b": "true or false"}


def test_reexport_from_a_package(tmp_path, monkeypatch):
    package = tmp_path / "kept"
    package.mkdir()
    (package / "__init__.py").write_text("from ._inner import Inner as Outer\nfrom .stars import *\n")
    (package / "_inner.py").write_text("class Inner:\n    def __init__(self, depth: int): pass\n")
    (package / "stars.py").write_text("def star(a: bool = True): pass\n")
    monkeypatch.chdir(tmp_path)
    assert kinds("kept.Outer") == {"depth": "an integer"}
    assert kinds("kept.star") == {"a": "true or false"}
    with pytest.raises(NoSuchTarget, match="did you mean 'Outer'"):
        signature("kept.Outr")


@pytest.mark.parametrize(
    "target, hint",
    [
        ("torch.optim.Adamm", "did you mean 'Adam'"),
        ("torch.optm.Adam", "did you mean 'optim'"),
        ("trch.optim.Adam", "did you mean 'torch'"),
        ("sklearn.svm.SVCC", "did you mean"),
        ("sklearn.linear_modl.Ridge", "did you mean 'linear_model'"),
        ("mlrun.networks.mpl.MLP", "did you mean 'mlp'"),
        ("mlrun.networks.mlp.MLPP", "did you mean 'MLP'"),
        ("sklearn.svm", "is a module"),
    ],
)
def test_target_that_does_not_exist(target, hint):
    with pytest.raises(NoSuchTarget, match=hint):
        signature(target)


def test_what_source_does_not_tell_is_not_refused():
    assert signature("numpy.random.default_rng") is None or signature("numpy.random.default_rng").parameters
    assert signature("math.sqrt") is None


def test_broken_user_module(mine):
    mine("class Net(:\n", "broken_of_mine")
    with pytest.raises(NoSuchTarget, match="cannot be read as Python"):
        signature("broken_of_mine.Net")


def test_an_estimator_without_declared_constraints_is_checked_by_its_defaults(mine):
    """What remains if scikit-learn gives up `_parameter_constraints`, or for an estimator of another library."""
    mine("""
        from sklearn.base import BaseEstimator

        class Estimator(BaseEstimator):
            def __init__(self, depth=3, criterion="gini", weights=None):
                ...
    """)
    kinds = {p.name: p.kinds for p in signature("mine.Estimator").parameters}
    assert not fits(kinds["depth"], "three") and fits(kinds["depth"], 5)
    assert kinds["criterion"] == kinds["weights"] == ()
