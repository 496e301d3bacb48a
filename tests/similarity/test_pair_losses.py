"""Pairs and what distances tell about them, against scikit-learn and brute force; mining against its definition."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mlrun.data.arrangements import ByClass
from mlrun.data.predictions import VectorPredictions
from mlrun.evaluation.class_retrieval import ClassRetrieval
from mlrun.evaluation.one_shot import OneShot, draw_trials
from mlrun.evaluation.pairs import best_threshold, draw_pairs, equal_error_rate, pair_accuracy
from mlrun.tasks.siamese import Siamese
from mlrun.tasks.similarity import drawn_partners
from mlrun.tasks.triplet import MINING

random = np.random.default_rng(0)


def test_every_row_has_a_pair_of_either_kind():
    labels = random.integers(0, 7, 60)
    pairs = draw_pairs(labels, partners=3, seed=1)
    assert (pairs.first != pairs.second).all()
    assert ((labels[pairs.first] == labels[pairs.second]) == pairs.same).all()
    for same in (True, False):
        assert (np.bincount(pairs.first[pairs.same == same], minlength=60) == 3).all()
    # every other row of a class is drawn, not only its neighbour
    pairs = draw_pairs(np.repeat([0, 1], 5), partners=200, seed=1)
    assert len(set(pairs.second[(pairs.first == 0) & pairs.same])) == 4
    assert len(set(pairs.second[(pairs.first == 0) & ~pairs.same])) == 5


def test_a_class_of_one_row_has_no_pair_of_its_own():
    pairs = draw_pairs(np.array([0, 1, 1]))
    assert 0 not in pairs.first[pairs.same] and 0 in pairs.first[~pairs.same]
    assert not draw_pairs(np.array([4, 4])).same.size - draw_pairs(np.array([4, 4])).same.sum()


@pytest.mark.parametrize("decimals", [6, 1])  # with one decimal many distances are equal
def test_error_rates_and_threshold(decimals):
    from sklearn.metrics import roc_curve

    same = random.random(300) < 0.5
    distances = np.round(random.normal(np.where(same, 1.0, 2.0), 0.7), decimals)
    false_positive, true_positive, _ = roc_curve(same, -distances, drop_intermediate=False)
    grid = np.linspace(0, 1, 200_001)
    crossing = grid[np.argmin(np.abs(1 - np.interp(grid, false_positive, true_positive) - grid))]
    assert equal_error_rate(distances, same) == pytest.approx(crossing, abs=1e-4)

    best = max(np.mean((distances < at) == same) for at in [*distances, distances.max() + 1])
    assert pair_accuracy(distances, same, best_threshold(distances, same)) == pytest.approx(best)


def test_perfect_worthless_and_undefined():
    same = np.array([True, True, False, False])
    assert equal_error_rate(np.array([1, 2, 3, 4.0]), same) == 0
    assert best_threshold(np.array([1, 2, 3, 4.0]), same) == 2.5
    assert equal_error_rate(np.array([3, 4, 1, 2.0]), same) == 1
    assert equal_error_rate(np.ones(4), same) == 0.5
    assert np.isnan(equal_error_rate(np.ones(2), np.array([True, True])))
    assert np.isnan(best_threshold(np.ones(2), np.array([False, False])))


def batch(rows=24, classes=6):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(rows, 5, generator=generator), torch.arange(rows) % classes


@pytest.mark.parametrize("mining", MINING)
def test_positives_are_of_the_class_and_negatives_are_not(mining):
    vectors, labels = batch()
    anchors, positives, negatives = MINING[mining](vectors, labels)
    assert len(anchors) >= len(labels)
    assert (labels[anchors] == labels[positives]).all() and (anchors != positives).all()
    assert (labels[anchors] != labels[negatives]).all()


@pytest.mark.parametrize("mining", MINING)
def test_rows_without_a_positive_or_a_negative_are_left_out(mining):
    vectors, _ = batch(4)
    anchors, positives, _ = MINING[mining](vectors, torch.tensor([0, 0, 1, 2]))
    assert set(anchors.tolist()) == {0, 1} and positives.tolist() == [1, 0]
    assert not len(MINING[mining](vectors, torch.tensor([0, 1, 2, 3]))[0])
    assert not len(MINING[mining](vectors, torch.zeros(4, dtype=torch.int64))[0])


def test_hardest_and_semi_hard_by_their_definitions():
    vectors, labels = batch()
    distance = (vectors[:, None] - vectors[None]).norm(dim=2).numpy()
    labels = labels.numpy()
    rows = range(len(labels))
    for anchor, positive, negative in zip(
        *(part.tolist() for part in MINING["hardest"](vectors, torch.tensor(labels)))
    ):
        assert positive == max(
            (at for at in rows if labels[at] == labels[anchor] and at != anchor), key=lambda at: distance[anchor, at]
        )
        assert negative == min((at for at in rows if labels[at] != labels[anchor]), key=lambda at: distance[anchor, at])
    triplets = list(zip(*(part.tolist() for part in MINING["semi_hard"](vectors, torch.tensor(labels)))))
    assert len(triplets) == sum((labels == label).sum() - 1 for label in labels)
    for anchor, positive, negative in triplets:
        others = [at for at in rows if labels[at] != labels[anchor]]
        beyond = [at for at in others if distance[anchor, at] > distance[anchor, positive]]
        wanted = (
            min(beyond, key=lambda at: distance[anchor, at])
            if beyond
            else max(others, key=lambda at: distance[anchor, at])
        )
        assert negative == wanted


def test_partners_are_drawn_anew():
    torch.manual_seed(0)
    _, labels = batch()
    draws = {tuple(drawn_partners(labels)[1].tolist()) for _ in range(5)}
    assert len(draws) == 5


def test_rows_of_a_class_meet_in_a_batch_and_every_row_comes_once():
    labels = torch.from_numpy(random.integers(0, 10, 103))
    arrange = ByClass(labels, 4)
    generator = torch.Generator().manual_seed(1)
    first, second = (arrange(torch.randperm(103, generator=generator), generator) for _ in range(2))
    assert sorted(first.tolist()) == list(range(103)) and first.tolist() != second.tolist()
    whole = sum(count // 4 for count in labels.bincount().tolist())
    groups = labels[first[: 4 * whole]].view(-1, 4)
    assert (groups == groups[:, :1]).all()
    assert groups[:, 0].tolist() != sorted(groups[:, 0].tolist())


def test_classes_of_few_rows_meet_others_in_every_epoch():
    """They came in the order of the classes, so that the same classes were in a batch each time."""
    labels = torch.arange(60) // 3
    arrange, generator = ByClass(labels, 4), torch.Generator().manual_seed(1)
    first, second = (labels[arrange(torch.randperm(60, generator=generator), generator)].view(-1, 3) for _ in range(2))
    assert (first == first[:, :1]).all() and (second == second[:, :1]).all()
    classes, others = first[:, 0].tolist(), second[:, 0].tolist()
    assert sorted(classes) == list(range(20)) and classes != others and classes != sorted(classes)


def test_a_row_is_not_its_own_neighbour():
    for value in (np.nan, 0.0):  # of a network that has collapsed: every row finds the first other one
        retrieval = ClassRetrieval()
        retrieval.begin(SimpleNamespace(model=SimpleNamespace(task=Siamese(torch.nn.Identity(), normalize=False))))
        labels = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
        retrieval.update({"labels": labels}, None, VectorPredictions(np.full((8, 3), value, np.float32)))
        assert retrieval.compute()["precision_at_1"] == 2 / 8, value


def test_trials_of_one_shot_classification():
    labels = np.repeat(np.arange(12), 3)
    queries, examples = draw_trials(labels, ways=5, trials=50)
    assert (queries != examples[:, 0]).all() and (labels[queries] == labels[examples[:, 0]]).all()
    assert all(len(set(labels[row])) == 5 for row in examples)
    assert draw_trials(labels, ways=50, trials=2)[1].shape == (2, 12)
    assert draw_trials(np.arange(5), ways=5, trials=2) is None


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_collapsed_network_guesses(value):
    """Its vectors are all alike: no row is nearer to its class than to others."""
    task = Siamese(torch.nn.Identity(), normalize=False)
    one_shot = OneShot(ways=5, trials=40)
    one_shot.begin(SimpleNamespace(model=SimpleNamespace(task=task)))
    labels = torch.arange(24) // 2
    one_shot.update({"labels": labels}, None, VectorPredictions(np.full((24, 3), value, np.float32)))
    assert one_shot.compute()["one_shot_accuracy"] == pytest.approx(1 / 5)
