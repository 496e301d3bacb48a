"""Files of a run that are damaged, or that somebody else wrote: no command shows a traceback, and none runs their code without consent."""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest

from mlrun.cli import dispatch
from mlrun.errors import UserError

MLP = ["model=mlp", "dataset=iris", "model.network.hidden=[8]", "trainer.max_epochs=2"]
RECIPE, CONFIG, OVERRIDES, RECORD = "model/recipe.json", "config/config.yaml", "config/overrides.yaml", "run.json"
EVIL = """
import pathlib
pathlib.Path(__file__).with_name("executed").touch()

def load(*arguments, **options):
    pathlib.Path(__file__).with_name("executed").touch()

class Network:
    load = load
"""


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """A run that the tests copy."""
    from mlrun.config.compose import compose
    from mlrun.experiment.run import run
    from mlrun.report import silent

    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return run(compose(MLP), folder / "run", MLP, report=silent).directory


@pytest.fixture
def own(workplace, finished_run):
    """The directory of a finished run of this user's."""
    shutil.copytree(finished_run, workplace / "run")
    return workplace / "run"


@pytest.fixture
def foreign(own, workplace, monkeypatch):
    """The same, of another user, and code of theirs that can be imported here."""
    monkeypatch.setenv("XDG_DATA_HOME", str(workplace / "somebody"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(workplace))  # where the other key would be
    (workplace / "evil.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(workplace))
    return own


def said(*arguments):
    """What a command says when it refuses."""
    with pytest.raises(UserError) as refused:
        dispatch([str(argument) for argument in arguments])
    return str(refused.value)


def change(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def commands(run):
    return [
        ("evaluate", run), ("errors", run), ("diagnose", run), ("predict", run, run / "rows.csv"), ("resume", run, "trainer.max_epochs=3"),
    ]  # fmt: skip


FILES = (RECIPE, CONFIG, OVERRIDES, RECORD, "unsent.jsonl", "checkpoints/best.ckpt", "model/weights.safetensors")
REPLACED = [
    "",
    "[]",
    "{a: [",
    "\0",
    "!!python/object/apply:os.system [touch executed]",
    '{"model": {}}',
    "null: {model: 1}",
]


def mutated(content, chance):
    """Cut off, with some bytes changed, without a piece, or replaced."""
    start, end = sorted((chance.randrange(len(content)), chance.randrange(len(content))))
    flipped = bytearray(content)
    for _ in range(5):
        flipped[chance.randrange(len(content))] = chance.randrange(256)
    return chance.choice(
        [content[:start], bytes(flipped), content[:start] + content[end:], chance.choice(REPLACED).encode()]
    )


@pytest.mark.parametrize("name", FILES)
def test_mutated_files_are_one_message_in_every_command(own, workplace, monkeypatch, capsys, name):
    """Or do no harm; fixed seed. Signatures do not protect here: the run is this user's own."""
    from mlrun.tracking.spool import Spool

    monkeypatch.setattr("signal.signal", lambda *_: None)
    Spool(own).append("metrics", ({"val/accuracy": 0.5}, 9, 0))
    names = (f"{part} {side} (cm)" for part in ("sepal", "petal") for side in ("length", "width"))
    (own / "rows.csv").write_text(",".join(names) + "\n5,3,4,1\n")
    chance, content, refused = random.Random(name), (own / name).read_bytes(), 0
    for command in [*commands(own), ("sync", own), ("leaderboard",)]:
        for _ in range(2):
            (own / name).write_bytes(mutated(content, chance))
            try:
                refused += dispatch([str(word) for word in command]) != 0
            except UserError as error:
                refused += 1
                assert len(str(error).splitlines()) == 1, error
            assert "Traceback" not in "".join(capsys.readouterr())
    assert refused or name in (OVERRIDES, "unsent.jsonl")  # which only one command reads
    assert not (workplace / "executed").exists()


def test_damaged_files_are_named(own):
    (own / "rows.csv").write_text("a,b\n1,2\n")
    assert "cannot be read" in _with(own / CONFIG, "model: [", own)
    assert "is damaged: it is not the configuration of a run" in _with(own / CONFIG, "[]", own)
    assert "recipe.json" in _with(own / RECIPE, "{", own)


def test_a_checkpoint_with_one_changed_byte_is_refused(own):
    import torch

    path = own / "checkpoints" / "last.ckpt"
    content = bytearray(path.read_bytes())
    weight = next(iter(torch.load(path, weights_only=True)["state_dict"].values())).numpy().tobytes()
    content[content.index(weight) + 5] ^= 1
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # torch does not notice
    message = said("resume", own, "trainer.max_epochs=3")
    assert "last.ckpt is damaged: the checksum of" in message and "epoch 1 is intact: mlrun resume" in message


PAYLOADS = [  # what somebody else's recipe may hold
    {"model": {"_target_": "pandas.read_pickle", "filepath_or_buffer": "evil.pkl"}},
    {"model": {"_target_": "joblib.load", "filename": "evil.pkl"}},
    {"model": {"_target_": "torch.load", "f": "evil.pkl", "weights_only": False}},
    {"model": {"_target_": "torch.nn.functional.torch.load", "f": "evil.pkl", "weights_only": False}},
    {"model": {"_target_": "mlrun.data.readers.trust.load_pickle", "path": "evil.pkl", "trust": True}},
    {"model": {"_target_": "mlrun.tasks.supervised.Supervised", "network": {"_target_": "evil.Network"}}},
    {"model": {"_target_": "mlrun.sweep.server.subprocess.Popen", "args": ["touch", "executed"]}},
    {"model": {"_target_": "transformers.AutoModel.from_pretrained", "trust_remote_code": True}},
    {"preprocessor": {"_target_": "evil.Network"}},
    {"inputs": {"x": {"_target_": "evil.load"}}},
    {"dataset": {"_target_": "mlrun.data.environments.environment.Environment", "id": "evil:Env-v0"}},
]


@pytest.mark.parametrize("payload", PAYLOADS, ids=[json.dumps(payload)[:60] for payload in PAYLOADS])
def test_a_foreign_recipe_runs_nothing(foreign, workplace, payload):
    path = foreign / RECIPE
    path.write_text(json.dumps({**json.loads(path.read_text()), **payload}))
    (foreign / "rows.csv").write_text("a\n1\n")
    for command in (("evaluate", foreign), ("predict", foreign, foreign / "rows.csv")):
        message = said(*command)
        assert "was not written by you" in message and "trust=true" in message, message
    assert not (workplace / "executed").exists()


CALLS = [
    {"_target_": "builtins.eval", "_args_": ["__import__('os').system('touch executed')"]},
    {"_target_": "builtins.exec", "_args_": ["open('executed', 'w')"]},
    {"_target_": "os.system", "_args_": ["touch executed"]},
    {"_target_": "posix.system", "_args_": ["touch executed"]},
    {"_target_": "subprocess.run", "args": ["touch", "executed"]},
    {"_target_": "pathlib.Path.touch", "_args_": ["executed"]},
    {"_target_": "importlib.import_module", "name": "evil"},
    {"_target_": "hydra.utils.get_method", "path": "evil.load"},
    {"_target_": "mlrun.config.instantiate.build", "node": {"_target_": "evil.load"}},
    {"_target_": "torch.hub.load", "repo_or_dir": ".", "model": "evil", "source": "local"},
    {"_target_": "torch.serialization.load", "f": "evil.pkl", "weights_only": False},
    {"_target_": "torch.nn.Module.__class__.mro", "_args_": []},
    {"_target_": "sklearn.utils.os.system", "_args_": ["touch executed"]},
    {"_target_": "mlrun.cli.sys.modules"},
    {"_target_": "evil.Network.load"},
]
PLACES = {
    "model": lambda call: {"model": call},
    "network": lambda call: {"model": {"_target_": "mlrun.tasks.supervised.Supervised", "network": call}},
    "preprocessor": lambda call: {"preprocessor": call},
    "feature": lambda call: {"inputs": {"x": call}},
}


@pytest.mark.parametrize("place", PLACES)
def test_no_payload_runs_in_any_command(foreign, workplace, place):
    """15 calls in a recipe and in the stored configuration, for each command that reads them."""
    recipe, config = (json.loads((foreign / RECIPE).read_text()), (foreign / CONFIG).read_text())
    (foreign / "rows.csv").write_text("a\n1\n")
    for call in CALLS:
        (foreign / RECIPE).write_text(json.dumps({**recipe, **PLACES[place](call)}))
        (foreign / CONFIG).write_text(config + f"{place}_payload: {json.dumps(call)}\n")
        for command in commands(foreign):
            with pytest.raises(UserError, match="was not written by you"):
                dispatch([str(word) for word in command])
            assert not (workplace / "executed").exists(), (call, command)


def test_consent_is_given_on_the_command_line_of_one_call(foreign, workplace):
    """The recipe names only known classes, evaluators apart; the stored configuration claims to be trusted."""
    change(foreign / CONFIG, "trust: false", "trust: true")
    path = foreign / RECIPE
    recipe = json.loads(path.read_text())
    recipe["model"]["evaluators"] = ["evil.Network"]
    path.write_text(json.dumps(recipe))
    assert "would run evil.Network" in said("evaluate", foreign)
    assert not (workplace / "executed").exists()
    with pytest.raises(UserError):
        dispatch(["evaluate", str(foreign), "trust=true"])
    assert (workplace / "executed").exists()
    (workplace / "executed").unlink()
    assert "would run evil.Network" in said("evaluate", foreign)


def test_a_foreign_run_is_not_resumed_with_its_own_code(foreign, workplace, monkeypatch):
    import torch

    config, record = ((foreign / name).read_text() for name in (CONFIG, RECORD))
    change(foreign / CONFIG, "mlrun.networks.mlp.MLP", "evil.Network")
    for command in (("resume", foreign, "trainer.max_epochs=3"), ("evaluate", foreign)):
        assert "would run evil.Network" in said(*command)
    (foreign / CONFIG).write_text(config)
    (workplace / "elsewhere").mkdir()
    (foreign / RECORD).write_text(json.dumps({**json.loads(record), "cwd": str(workplace / "elsewhere")}))
    assert "names the directory" in said("resume", foreign, "trainer.max_epochs=3")
    record = json.dumps(
        {**json.loads(record), "cwd": str(workplace), "tracking_uri": f"sqlite:///{workplace}/mlflow.db"}
    )
    (foreign / RECORD).write_text(json.dumps({**json.loads(record), "tracking_uri": "http://127.0.0.1:9"}))
    assert "names the server http://127.0.0.1:9" in said("resume", foreign, "trainer.max_epochs=3")
    (foreign / RECORD).write_text(record)
    change(foreign / CONFIG, "trust: false", "trust: true")
    last = foreign / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    content["mlrun"]["extra"] = Payload()
    os.unlink(last)
    torch.save(content, last)
    assert "it holds Python objects" in said("resume", foreign, "trainer.max_epochs=3")
    assert not (workplace / "executed").exists()


class Payload:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_a_foreign_sweep_is_not_resumed(workplace, monkeypatch):
    from mlrun.sweep.journal import Journal

    journal = Journal(workplace / "sweep")
    journal.update(argv=["-m", "model._target_=evil.Network", "trust=true"], cwd=str(workplace))
    monkeypatch.setenv("XDG_DATA_HOME", str(workplace / "somebody"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(workplace))
    message = said("resume", "sweep")
    assert "would run" in message and "mlrun -m model._target_=evil.Network trust=true" in message
    journal = Journal(workplace / "sweep")
    journal.update(run_id="x")  # does not make it this user's own
    assert "would run" in said("resume", "sweep")


def test_sync_sends_only_what_this_user_wrote_and_only_from_the_run(own, workplace, monkeypatch, capsys):
    from mlrun.tracking.spool import Spool

    (workplace / "secret").write_text("of the machine")
    Spool(own).append("artifact", (str(workplace / "secret"), None))
    (own / "link").symlink_to(workplace / "secret")
    assert dispatch(["sync", str(own)]) == 1 and "is not a file in the directory of the run" in capsys.readouterr().err
    (own / "unsent.jsonl").unlink()
    Spool(own).append("artifact", (str(own / "link"), None))
    assert dispatch(["sync", str(own)]) == 1 and "is not a file in the directory of the run" in capsys.readouterr().err
    for line, message in (
        (
            {"number": 0, "method": "artifact", "arguments": [str(own / "run.json"), None]},
            "not a message that you have written",
        ),
        ({"number": 0, "method": "flush", "arguments": []}, "not a message that you have written"),
        ([1], "not a message that you have written"),
    ):
        (own / "unsent.jsonl").write_text(json.dumps(line) + "\n")
        assert dispatch(["sync", str(own)]) == 1 and message in capsys.readouterr().err
    (own / "unsent.jsonl").write_text(json.dumps({"number": 0, "method": "flush", "arguments": []}) + "\n")
    assert dispatch(["sync", str(own), "trust=true"]) == 1 and "no message of that kind" in capsys.readouterr().err
    assert not list(workplace.glob("mlruns/**/secret")) and not list(workplace.glob("mlruns/**/link"))


def test_a_users_own_code_needs_no_consent(workplace, begin, capsys):
    (workplace / "mine.py").write_text("from mlrun.networks.mlp import MLP\n\n\nclass Mine(MLP):\n    pass\n")
    import sys

    sys.path.append(str(workplace))
    try:
        assert begin("run", *MLP, "model.network._target_=mine.Mine").wait() == 0
        assert dispatch(["evaluate", "run"]) == 0
        shutil.move("run", "moved")
        assert dispatch(["evaluate", "moved"]) == 0
    finally:
        sys.path.remove(str(workplace))


def test_a_served_pickle_of_somebody_else_is_refused(workplace, begin, monkeypatch):
    from mlrun.predictions.serving import _load_pyfunc

    assert begin("run", "model=decision_tree", "dataset=iris").wait() == 0
    _load_pyfunc("run/model")
    monkeypatch.setenv("XDG_DATA_HOME", str(workplace / "somebody"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(workplace))
    with pytest.raises(UserError, match="MLRUN_TRUST=1"):
        _load_pyfunc("run/model")
    monkeypatch.setenv("MLRUN_TRUST", "1")
    _load_pyfunc("run/model")


def _with(path, content, run):
    before = path.read_text()
    path.write_text(content)
    try:
        return said("evaluate", run)
    finally:
        path.write_text(before)
