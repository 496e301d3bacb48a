"""What holds for every encoder-decoder: what may change what, one step at a time, its own words as input."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mlrun.networks.text.seq2seq import RecurrentSeq2Seq
from mlrun.networks.text.transformer import Transformer

RECURRENT = [
    {"attention": "none"},
    {"attention": "additive"},
    {"attention": "dot"},
    {"attention": "additive", "cell": "lstm", "layers": 2, "embedding": None},
    {"attention": "dot", "cell": "rnn", "bidirectional": False},
]
TRANSFORMERS = [
    {},
    {"norm_first": False},
    {"positions": "learned"},
    {"tied": False, "activation": "gelu", "decoder_layers": 1},
]
FORMS = [
    *[(RecurrentSeq2Seq, {"embedding": 8, "hidden": 12, **options}) for options in RECURRENT],
    *[(Transformer, {"width": 16, "heads": 2, "layers": 2, "max_length": 20, **options}) for options in TRANSFORMERS],
]


@pytest.fixture(params=FORMS, ids=lambda form: " ".join([form[0].__name__, *map(str, list(form[1].values())[2:])]))
def network(request):
    torch.manual_seed(0)
    kind, options = request.param
    return kind(11, 9, **options).eval()


def tokens(rows, length, size):
    return torch.randint(1, size, (rows, length), generator=torch.Generator().manual_seed(1))


def test_a_later_token_never_changes_an_earlier_score(network):
    source, target = tokens(3, 6, 11), tokens(3, 8, 9)
    before = network(source, target)
    for place in range(1, 8):
        changed = target.clone()
        changed[:, place] = changed[:, place] % 8 + 1
        after = network(source, changed)
        torch.testing.assert_close(after[:, :place], before[:, :place], rtol=0, atol=1e-5)
        assert (after[:, place] - before[:, place]).abs().max() > 1e-4


def test_padding_never_changes_anything(network):
    source, target = tokens(3, 6, 11), tokens(3, 5, 9)
    source[0, 3:] = 0
    padded = network(nn.functional.pad(source, (0, 4)), nn.functional.pad(target, (0, 3)))
    torch.testing.assert_close(padded[:, :5], network(source, target), rtol=0, atol=1e-5)
    torch.testing.assert_close(padded[:1, :5], network(source[:1, :3], target[:1]), rtol=0, atol=1e-5)  # alone


def test_step_by_step_equals_all_at_once(network):
    source, target = tokens(3, 6, 11), tokens(3, 7, 9)
    source[0, 4:] = 0
    rows = torch.tensor([2, 0, 0])
    state, scores = network.start(network.encode(source)), []
    for place in range(7):
        if place == 3:  # goes on with other rows, as a beam does
            state = network.reorder(state, rows)
            target, scores = target[rows], [score[rows] for score in scores]
        score, state = network.step(target[:, place : place + 1], state)
        scores.append(score)
    torch.testing.assert_close(torch.stack(scores, 1), network(source[rows], target), rtol=0, atol=1e-5)
