"""Similarity learning on unseen characters: broken versions miss the floors that the real ones reach. Queries, other data, figures."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from mlrun.cli import dispatch
from mlrun.config.compose import compose
from mlrun.errors import DataError, UserError
from mlrun.experiment.run import run
from mlrun.networks.vision.siamese_cnn import SiameseCNN
from mlrun.predictions.learner import make_learner
from mlrun.report import silent
from mlrun.tasks import similarity, triplet
from mlrun.tasks.siamese import contrastive
from mlrun.tasks.verification import Verification
from tests.test_models import Nobody, prepared, shuffle_labels, trained

SMALL = ("dataset.scripts=[CYRILLIC]", "+model.network.channels=[16,32]", "trainer.threads=1")


def error_rate(directory, *overrides, change=lambda data: None):
    """The equal error rate of the test part of digits after a short training; `change` is applied to the data before."""
    digits = (
        "dataset=digits",
        "+model.network.channels=[16,32]",
        "optim.lr=0.003",
        "trainer.max_epochs=8",
        "trainer.threads=1",
    )
    cfg, data = prepared(*overrides, *digits)
    change(data)
    learner = make_learner(cfg, data)
    learner.fit(data, Nobody(), directory, silent.Progress())
    return learner.evaluate(data, "test").metrics["equal_error_rate"]


FLOOR = 0.12  # learned: at most 0.031 (seed 1); with shuffled classes: at least 0.237


@pytest.mark.parametrize("model", ["triplet", "siamese", "verification"])
def test_it_learns_and_not_from_shuffled_classes(model, tmp_path):
    assert error_rate(tmp_path / "learned", f"model={model}") < FLOOR
    assert error_rate(tmp_path / "shuffled", f"model={model}", change=shuffle_labels) > FLOOR


@pytest.mark.parametrize("model", ["siamese", "verification"])
def test_it_does_not_learn_from_shuffled_pairs(model, tmp_path, monkeypatch):
    def shuffled(labels):
        first, second, same = similarity.drawn_pairs(labels)
        return first, second, same[torch.randperm(len(same))]

    monkeypatch.setitem(similarity.PAIRS, "drawn", shuffled)
    assert error_rate(tmp_path, f"model={model}") > FLOOR


def test_it_does_not_learn_from_positives_mined_as_negatives(tmp_path, monkeypatch):
    def wrong(vectors, labels):
        anchors, positives, negatives = triplet.hardest_triplets(vectors, labels)
        return anchors, negatives, positives

    monkeypatch.setitem(triplet.MINING, "hardest", wrong)
    assert error_rate(tmp_path, "model=triplet") > FLOOR


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """(working directory, a finished run in it, a folder with a folder of images for each unseen character)."""
    folder = tmp_path_factory.mktemp("similarity")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        overrides = ["model=triplet", *SMALL, "trainer.max_epochs=4"]
        result = run(compose(overrides), folder / "run", overrides, report=silent)
        assert result.status == "FINISHED"
        _, data = prepared(*overrides)
        columns = data.examples("test")
        for row, (image, label) in enumerate(zip(columns["image"], columns["label"])):
            path = folder / "unseen" / str(label) / f"{row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(path)
        yield folder, result


def of_one_class(folder):
    return sorted(max((folder / "unseen").iterdir(), key=lambda one: len(list(one.iterdir()))).iterdir())


def test_two_images_are_compared(place, capsys):
    folder, _ = place
    first, second = of_one_class(folder)[:2]
    assert dispatch(["predict", "run", str(first), str(second)]) == 0
    line = capsys.readouterr().out.strip()
    distance, threshold = float(line.split("distance ")[1].split()[0]), float(line.split("threshold ")[1].rstrip(")"))
    assert line.startswith(f"{first}  {second}  distance ") and (" no match " in line) == (distance >= threshold)
    dispatch(["predict", "run", str(first), str(first)])
    assert "distance 1e-06  match" in capsys.readouterr().out
    folders = [str(first.parent)] * 2
    assert dispatch(["predict", "run", *folders]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(list(first.parent.iterdir()))


def test_two_sources_of_different_length_are_refused(place):
    folder, _ = place
    with pytest.raises(UserError, match="1 examples and"):
        dispatch(["predict", "run", str(of_one_class(folder)[0]), str(folder / "unseen")])


def test_neighbours_are_the_nearest_and_of_the_class(place, capsys):
    folder, _ = place
    photo = of_one_class(folder)[0]
    assert (
        dispatch(["predict", "run", "--neighbours", str(photo), "--among", str(folder / "unseen"), "--count", "3"]) == 0
    )
    name, *lines = capsys.readouterr().out.splitlines()
    assert name == str(photo) and len(lines) == 3
    distances = [float(line.split()[0]) for line in lines]
    assert distances == sorted(distances) and lines[0].split()[1] == f"{photo.parent.name}/{photo.name}"
    with pytest.raises(UserError, match="--among FOLDER"):
        dispatch(["predict", "run", "--neighbours", str(photo)])


def test_evaluation_gives_the_numbers_of_the_run_and_takes_classes_never_seen(place, capsys):
    _, result = place
    assert dispatch(["evaluate", "run"]) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines())
    for metric in ("test/equal_error_rate", "test/one_shot_accuracy", "test/precision_at_1"):
        assert float(printed[metric]) == pytest.approx(result.metrics[metric], rel=1e-3)
    assert dispatch(["evaluate", "run", "dataset.scripts=[ARMENIAN]"]) == 0
    assert "test/equal_error_rate" in capsys.readouterr().out


def test_figures_of_a_run(place):
    folder, _ = place
    for name in ("pair_roc", "pair_distances", "worst_pairs", "vectors"):
        assert (folder / "run" / "figures" / f"{name}.png").is_file()


def test_the_threshold_is_the_best_on_the_validation_part(place):
    from mlrun.evaluation.pairs import best_threshold, draw_pairs
    from mlrun.experiment.stored import open_data, open_run

    cfg, learner = open_run("run")
    examples = open_data(cfg).examples("val")
    vectors = learner.predict(examples).values
    pairs = draw_pairs(examples["label"], similarity.PARTNERS)
    expected = best_threshold(learner.task.distances(vectors, pairs.first, pairs.second), pairs.same)
    assert float(learner.task.threshold) == pytest.approx(expected, rel=1e-4)


def test_folds_have_no_class_in_common(experiment, monkeypatch):
    from mlrun.data.datasets.glyphs import Glyphs

    seen, with_parts = [], Glyphs.with_parts

    def recorded(data, parts):
        labels = data.content.columns["label"]
        seen.append([set(labels[rows].tolist()) for rows in parts.values()])
        return with_parts(data, parts)

    monkeypatch.setattr(Glyphs, "with_parts", recorded)
    few = ["dataset.scripts=[GREEK]", "dataset.characters=12", "trainer.max_epochs=1", "+model.network.channels=[4,4]"]
    result = experiment("model=triplet", "trainer=kfold", "trainer.folds=2", *few)
    assert "cv/equal_error_rate" in result.metrics
    divided = [parts for parts in seen if len(parts) == 3]
    assert len(divided) == 2
    assert all(sum(map(len, parts)) == len(set.union(*parts)) == 12 for parts in divided)


def test_classes_of_single_images_teach_nothing(tmp_path):
    for name in "abcdefgh":
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8), ord(name)).save(tmp_path / name / "0.png")
    given = ["dataset=image_folder", f"dataset.path={tmp_path}", "dataset.problem=similarity", "trainer.max_epochs=1"]
    with pytest.raises(DataError, match="the training part has no class of two examples"):
        trained(tmp_path / "run", "model=siamese", *given)


def test_the_contrastive_loss_of_known_distances():
    distances, same = torch.tensor([0.5, 2.0, 0.25, 3.0]), torch.tensor([True, True, False, False])
    terms = contrastive(distances, same, 1.0)
    assert terms.tolist() == pytest.approx([0.25, 4, 0.75**2, 0])
    # both kinds have the same weight, however many there are
    assert similarity.balanced_mean(terms[:3], same[:3]).item() == pytest.approx((2.125 + 0.75**2) / 2)
    assert similarity.balanced_mean(terms[:2], same[:2]).item() == pytest.approx(2.125 / 2)


@pytest.mark.parametrize("pairs", similarity.PAIRS)
def test_pairs_of_a_batch_are_labelled_by_their_classes(pairs):
    labels = torch.arange(24) % 6
    first, second, same = similarity.PAIRS[pairs](labels)
    assert (first != second).all() and ((labels[first] == labels[second]) == same).all()
    assert (int(same.sum()), int((~same).sum())) == ((24, 24) if pairs == "drawn" else (36, 240))
    assert not len(similarity.PAIRS["drawn"](torch.zeros(4, dtype=torch.int64))[0])


def test_equal_vectors_have_a_finite_gradient():
    vectors = torch.ones(4, 3, requires_grad=True)
    similarity.euclidean(vectors[:2], vectors[2:]).sum().backward()
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize("head", ["absolute", "chi_square"])
def test_verification_is_symmetric_and_sure_of_equal_vectors(head):
    torch.manual_seed(0)
    task = Verification(torch.nn.Identity(), 6, head)
    first, second = torch.randn(2, 5, 6)
    assert torch.allclose(task.compare(first, second), task.compare(second, first))
    assert (task.compare(first, first) <= task.compare(first, second)).all()
    labels = torch.tensor([0, 0, 1, 1])
    vectors = torch.tensor([[0.0] * 6, [0.0] * 6, [9.0] * 6, [9.0] * 6])
    expected = (torch.nn.functional.softplus(-task.logits(vectors[0], vectors[1]))
                + torch.nn.functional.softplus(task.logits(vectors[0], vectors[2]))) / 2  # fmt: skip
    assert task.loss_of(vectors, labels).value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_network_of_keras_has_its_parameters():
    network = SiameseCNN([1, 28, 28], 10)
    assert sum(parameter.numel() for parameter in network.parameters()) == 4804
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize(
    "network",
    [
        "mlrun.networks.vision.cnn.CNN",
        "mlrun.networks.vision.lenet.LeNet",
        "mlrun.networks.vision.resnet.ResNet",
        "mlrun.networks.vision.googlenet.GoogLeNet",
        "mlrun.networks.mlp.MLP",
    ],
)
def test_any_image_network_is_an_encoder(network):
    cfg, data = prepared(
        "model=triplet", "dataset.scripts=[GREEK]", "dataset.characters=10", f"model.network._target_={network}",
        *(["+model.network.width=0.125"] if network.endswith("GoogLeNet") else []),
    )  # fmt: skip
    learner = make_learner(cfg, data)
    batch = next(iter(learner.task.train_loader(data, torch.device("cpu"), (0, 1))))
    learner.task.loss(batch).value.backward()
    assert learner.predict(data.examples("test")).values.shape[1] == 64


def test_a_text_network_is_an_encoder_too():
    cfg, data = prepared(
        "model=siamese",
        "dataset=language_id",
        "model.network._target_=mlrun.networks.text.text_classifiers.BagOfEmbeddings",
    )
    learner = make_learner(cfg, data)
    assert learner.predict(data.examples("test").take(slice(0, 3))).values.shape == (3, 64)
