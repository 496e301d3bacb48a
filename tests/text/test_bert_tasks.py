"""Tasks of BERT: tags of words, spans that answer questions, pairs; their data, preprocessors and metrics."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest

from mlrun.cli import dispatch
from mlrun.config.compose import compose
from mlrun.data.datasets.squad import Squad
from mlrun.data.datasets.tagged_text import Conll
from mlrun.data.datasets.text_pairs import TextPairs
from mlrun.data.examples import Examples
from mlrun.data.features import Label, Labels, Span, Tags, Text, Value
from mlrun.data.predictions import TagsPredictions
from mlrun.data.preprocess.pieces import TextsPreprocessor, shortened
from mlrun.data.preprocess.questions import QuestionPreprocessor
from mlrun.data.preprocess.tags import TagPreprocessor
from mlrun.data.preprocess.text import IGNORED
from mlrun.errors import DataError, UserError
from mlrun.evaluation.answers import exact, overlap
from mlrun.evaluation.tagging import TaggingEvaluator, entities
from mlrun.experiment.run import run
from mlrun.report import silent
from tests.test_models import prepared

SMALL = [f"model.network.encoder.{name}={value}" for name, value in {"width": 32, "heads": 2, "layers": 1}.items()]
SMALL += ["trainer.threads=1", "model.preprocessor.tokenizer.size=120"]


def texts(*values):
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


@pytest.fixture
def working(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


# --- pairs ---------------------------------------------------------------------------------------------------------


def test_two_texts_become_two_segments_and_the_longer_one_is_cut():
    features = {"text": Text(), "text_pair": Text()}
    preprocessor = TextsPreprocessor(features, {"label": Label(["a", "b"])}, max_length=12)
    examples = Examples(
        {"text": texts("one two", "one"), "text_pair": texts("three " * 20, "two"), "label": np.array([0, 1])}, features
    )
    preprocessor.fit(examples)
    encoded = preprocessor.encode(examples)
    first, second = encoded["input_ids"].rows
    tokenizer = preprocessor.tokenizer
    assert len(first) == 12 and first[0] == tokenizer.cls and (first == tokenizer.sep).sum() == 2
    assert encoded["token_type_ids"].rows[1].tolist() == [0] * (list(second).index(tokenizer.sep) + 1) + [1] * (
        len(second) - list(second).index(tokenizer.sep) - 1
    )
    assert [len(part) for part in shortened([np.arange(2), np.arange(20)], 10)] == [2, 8]
    assert [len(part) for part in shortened([np.arange(9), np.arange(9)], 9)] in ([4, 5], [5, 4])


def test_a_table_of_pairs_has_classes_or_values(working):
    rows = [("a cat sits", "a dog runs on the street", at % 7, "yes" if at % 2 else "no") for at in range(30)]
    with open("pairs.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [("id", "premise", "hypothesis", "answer"), *((at, *row[:2], row[3]) for at, row in enumerate(rows))]
        )
    _, data = prepared("model=bert_pair", "dataset=text_pairs", "dataset.path=pairs.csv")
    assert data.targets == ("label",) and data.target.classes == ["no", "yes"]
    assert data.content.columns["text"][0] == "a cat sits"
    _, values = prepared("model=bert_pair", "dataset=text_pairs", "dataset.path=pairs.csv", "dataset.target=id")
    assert values.targets == ("value",)


def test_numbers_of_pairs_are_no_texts(working):
    def pairs(scores):
        with open("scored.csv", "w", newline="") as file:
            csv.writer(file).writerows([("first", "second", "score"), *(("a cat", "a dog", one) for one in scores)])
        return TextPairs("scored.csv", "text_pairs", "text_pairs", 1)

    data = pairs([at / 3 for at in range(30)])  # longer than the texts
    data.prepare()
    assert data.content.columns["text_pair"][0] == "a dog" and data.target == Value(column="score")
    few = pairs([0.5, 1.5, 2.5, 1, 2])
    few.follow({name: data.features[name] for name in data.inputs}, {"value": data.target})
    few.split = {"test": None}
    few.prepare()
    assert few.targets == ("value",)  # and not a few classes
    for scores, message in (
        ([*range(30), "inf"], "'score' is not a number in row 31"),
        ([f"{at},5" for at in range(30)], "30 different values in 30 rows, which are neither numbers nor classes"),
    ):
        with pytest.raises(DataError, match=message):
            pairs(scores).prepare()


# --- tags ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tagger():
    features, target = {"text": Text()}, {"tags": Tags(["O", "B-NAME", "I-NAME"])}
    made = TagPreprocessor(features, target, max_length=10, tokenizer={"size": 200, "min_frequency": 1})
    examples = Examples(
        {"text": texts("unbelievable Anna Smith went", "Bob"), "tags": [np.array([0, 1, 2, 0]), np.array([1])]},
        {**features, **target},
    )
    made.fit(examples)
    return made, examples


def test_the_first_piece_of_a_word_carries_its_tag(tagger):
    preprocessor, examples = tagger
    encoded = preprocessor.encode(examples)
    for row, tags in enumerate(examples["tags"]):
        labels = encoded["labels"].rows[row]
        assert labels[labels != IGNORED].tolist() == tags.tolist()
        assert labels[0] == labels[-1] == IGNORED


def test_scores_of_the_first_pieces_are_the_tags_of_words(tagger):
    preprocessor, examples = tagger
    longest = max(map(len, preprocessor.encode(examples)["input_ids"].rows))
    scores = np.zeros((2, longest, 3))
    for row, labels in enumerate(preprocessor.encode(examples)["labels"].rows):
        scores[row, :, 2] = 1  # of pieces that count for nothing
        for place, tag in enumerate(labels):
            if tag != IGNORED:
                scores[row, place] = np.eye(3)[tag]
    found = preprocessor.decode({"tag_scores": scores}, examples)
    assert [tags.tolist() for tags in found.tags] == [tags.tolist() for tags in examples["tags"]]
    assert found.row(1) == {"prediction": [["Bob", "B-NAME"]]}
    long = Examples({"text": texts("Anna " * 20)}, examples.features)
    assert preprocessor.decode({"tag_scores": np.eye(3)[None, [1] * 10]}, long).tags[0][10:].tolist() == [0] * 10


@pytest.mark.parametrize(
    "tags, expected",
    [  # as seqeval 1.2.2 finds them
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("I-PER I-PER B-PER", [("PER", 0, 2), ("PER", 2, 3)]),
        ("B-PER I-LOC I-LOC O I-ORG", [("PER", 0, 1), ("LOC", 1, 3), ("ORG", 4, 5)]),
        ("O O", []),
        ("B-PER E-PER I-PER S-PER E-LOC O", [("PER", 0, 2), ("PER", 2, 3), ("PER", 3, 4), ("LOC", 4, 5)]),
        ("B-PER I-PER L-PER U-PER U-PER", [("PER", 0, 3), ("PER", 3, 4), ("PER", 4, 5)]),
    ],
)
def test_entities_are_those_of_conlleval(tags, expected):
    assert entities(tags.split()) == expected


def test_entities_equal_seqevals_on_random_tags():
    seqeval = pytest.importorskip("seqeval.metrics.sequence_labeling", reason="needs seqeval")
    random = np.random.default_rng(0)
    for _ in range(300):
        tags = random.choice(["O", "B-A", "I-A", "E-A", "S-A", "B-B", "I-B", "E-B"], 12).tolist()
        assert [(kind, first, end + 1) for kind, first, end in seqeval.get_entities(tags)] == entities(tags)


def test_conll_files_train_a_tagger_that_answers_in_the_terminal(working, capsys):
    random = np.random.default_rng(0)
    lines = []
    for _ in range(160):
        name, verb = random.choice(["anna", "bob", "carla"]), random.choice(["sees", "likes"])
        lines += [f"{name} N B-PER", f"{verb} V O", "the D O", f"{random.choice(['cat', 'dog'])} N O", ""]
    (working / "people.txt").write_text("\n".join(lines))
    overrides = [
        "model=bert_tagger",
        "dataset=conll",
        "dataset.path=people.txt",
        *SMALL,
        "trainer.max_epochs=3",
        "optim.lr=0.01",
    ]
    result = run(compose(overrides), working / "run", overrides, report=silent)
    assert result.metrics["test/f1"] > 0.9
    assert dispatch(["predict", str(working / "run"), "--tag", "bob likes the cat"]) == 0
    assert capsys.readouterr().out == "bob/B-PER likes the cat\n"
    # other data lack the tags of some classes, or have one that the model does not know
    (working / "few.txt").write_text("the D O\ncat N O\n\n" * 3)
    assert dispatch(["evaluate", str(working / "run"), "dataset.path=few.txt"]) == 0
    assert "test/accuracy" in capsys.readouterr().out
    (working / "other.txt").write_text("the D O\noslo N B-LOC\n\n" * 3)
    with pytest.raises(UserError, match="does not know the class B-LOC"):
        dispatch(["evaluate", str(working / "run"), "dataset.path=other.txt"])


def test_classes_of_other_data_are_those_of_the_model():
    places = np.array([2, 0])  # of the classes b and a among a, c, b
    tags = Tags(["b", "a"]).renumbered([np.array([0, 1, 1]), np.array([0])], places, 3)
    assert [row.tolist() for row in tags] == [[2, 0, 0], [2]]
    present = np.array([[True, False], [True, True]])
    assert Labels(["b", "a"]).renumbered(present, places, 3).tolist() == [[False, False, True], [True, False, True]]


def test_tags_of_a_single_class_are_entities():
    evaluator, classes = TaggingEvaluator(), ["O", "B", "I"]
    evaluator.begin(SimpleNamespace(data=SimpleNamespace(targets=("tags",))))
    true, found = np.array([1, 2, 0, 1]), np.array([1, 2, 2, 1])
    evaluator.update({}, {"tags": [true]}, TagsPredictions(classes, [list("abcd")], [found]))
    assert evaluator.compute() == {"f1": 0.5, "precision": 0.5, "recall": 0.5, "accuracy": 0.75}


def test_conll_files_of_strangers(working):
    """A byte-order mark, old line ends, and lines whose tag is not where the others have it."""
    sentences = "anna N B-PER\nsees V O\n\n" * 20
    for content in (
        f"\ufeff-DOCSTART- -X- O\n\n{sentences}".encode(),
        sentences.replace("\n", "\r").encode(),
        sentences.replace("\n", "\r\n").encode("utf-16"),
        f"{sentences}bob N B-PER\nNew York N B-LOC\n".encode(),
        f"{sentences}bob N B-PER\nsees V\n".encode(),
        f"{sentences}bob N B-PER\nsees\n".encode(),
    ):
        (working / "odd.txt").write_bytes(content)
        try:
            said = str(sorted(set(Conll("tagging", "conll", 1, None, "odd.txt").read().columns["text"])))
        except DataError as error:
            said = str(error)
        expected = {
            b"\xff\xfe": "odd.txt: holds zero bytes: it is not a text, or it is in UTF-16",
            b"-LOC\n": "line 62: has 4 columns, and the lines before have 3: 'New York N B-LOC'",
            b"es V\n": "line 62: has 2 columns, and the lines before have 3: 'sees V'",
            b"sees\n": "line 62: has 1 column, no word and tag: 'sees'",
        }
        found = [text for mark, text in expected.items() if content.startswith(mark) or content.endswith(mark)]
        assert (found or ["['anna sees']"])[0] in said


# --- questions -----------------------------------------------------------------------------------------------------

FEATURES = {"question": Text(), "context": Text(), "answer": Span(of="context")}


def asked(contexts, answers, questions=None):
    spans = [(text.find(one), text.find(one) + len(one)) if one else (-1, -1) for text, one in zip(contexts, answers)]
    columns = {
        "question": texts(*(questions or ["where is it"] * len(contexts))), "context": texts(*contexts), "answer": np.array(spans)
    }  # fmt: skip
    return Examples(columns, FEATURES)


@pytest.fixture
def reader():
    words = [f"word{at}" for at in range(60)]
    examples = asked([" ".join(words), " ".join(words), "word1 word2"], ["word2 word3", "", "word2"])
    made = QuestionPreprocessor(
        {name: FEATURES[name] for name in ("question", "context")}, {"answer": FEATURES["answer"]}, max_length=48, overlap=12,
        longest_question=8, tokenizer={"size": 400, "min_frequency": 1},
    )  # fmt: skip
    made.fit(examples)
    return made, examples


def test_windows_overlap_and_cover_a_long_text(reader):
    preprocessor, examples = reader
    context = examples["context"][0]
    windows = preprocessor.windows("where is it", context)
    assert len(windows.ids) > 1 and windows.ids.shape[1] <= 48
    covered = np.zeros(len(context), dtype=int)
    for row in range(len(windows.ids)):
        for first, end in windows.offsets[row][windows.readable[row]][1:]:
            covered[first:end] += 1
    assert all(covered[at] for at, letter in enumerate(context) if letter != " ") and covered.max() > 1
    assert (windows.segments[:, 0] == 0).all() and (windows.ids[:, 0] == preprocessor.tokenizer.cls).all()


def test_perfect_scores_give_the_answers_back_and_none_where_there_is_none(reader):
    preprocessor, examples = reader
    encoded = preprocessor.encode(examples)
    logits = {"start_logits": [], "end_logits": []}
    for row, ids in enumerate(encoded["input_ids"]):
        for name, places in (("start_logits", "start_positions"), ("end_logits", "end_positions")):
            scores = np.zeros(ids.shape)
            scores[np.arange(len(ids)), encoded[places][row]] = 5.0
            logits[name].append(scores)
    held = encoded["start_positions"][0]
    assert (held > 0).any() and (held == 0).any()  # windows with the answer, and windows without it
    found = preprocessor.decode(logits, examples)
    assert found.texts == ["word2 word3", "", "word2"]
    assert found.spans[1].tolist() == [-1, -1] and found.probabilities.min() > 0.9
    preprocessor.without_answer = False
    assert preprocessor.decode(logits, examples).texts[1] != ""


@pytest.mark.parametrize(
    "answer, references, same, share",
    [  # as the official evaluation of SQuAD 2.0 scores them
        ("The Eiffel Tower!", ["eiffel tower"], 1.0, 1.0),
        ("tower of Paris", ["the Eiffel tower", "Paris tower"], 0.0, 0.8),
        ("", [], 1.0, 1.0),
        ("Paris", [], 0.0, 0.0),
        ("", ["Paris"], 0.0, 0.0),
        ("a b b", ["b b b b"], 0.0, 2 / 3),
    ],
)
def test_answers_are_scored_as_in_squad(answer, references, same, share):
    assert exact(answer, references) == same and overlap(answer, references) == pytest.approx(share)


def test_questions_in_squads_format_train_a_reader(working, capsys):
    random, paragraphs = np.random.default_rng(0), []
    for _ in range(80):
        name, city = random.choice(["anna", "bob", "carla"]), random.choice(["rome", "oslo", "lima"])
        context, qas = f"{name} has a house in {city} .", []
        for word, answer in (("who", name), ("where", city)):
            answers = [{"text": answer, "answer_start": context.find(answer)}]
            qas.append({"question": f"{word} is it", "id": "1", "answers": answers})
        qas.append({"question": "when is it", "id": "2", "is_impossible": True, "answers": []})
        paragraphs.append({"context": context, "qas": qas})
    content = {"version": "2.0", "data": [{"title": "houses", "paragraphs": paragraphs}]}
    (working / "houses.json").write_text(json.dumps(content))
    overrides = [
        "model=bert_qa", "dataset=squad", "dataset.path=houses.json", *SMALL, "trainer.max_epochs=30", "optim.lr=0.003",
        "dataset.batch_size=8", "model.preprocessor.max_length=48", "model.preprocessor.longest_question=12", "model.preprocessor.overlap=8",
    ]  # fmt: skip
    result = run(compose(overrides), working / "run", overrides, report=silent)
    assert result.metrics["test/exact_match"] > 0.7 and result.metrics["test/no_answer_accuracy"] > 0.9
    context = "bob has a house in lima ."
    assert dispatch(["predict", str(working / "run"), "--question", "when is it", "--context", context]) == 0
    assert capsys.readouterr().out.startswith("(no answer in this text)")
    paragraphs[0]["qas"][0]["answers"][0]["answer_start"] = 3
    (working / "houses.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    with pytest.raises(DataError, match="has no '.*' at character 3"):
        prepared("model=bert_qa", "dataset=squad", "dataset.path=houses.json")


def test_squad_files_of_strangers(working):
    def read(*questions, encoding="utf-8", texts=40, context="bob has a house in lima \ud83d ."):
        paragraphs = [{"context": context, "qas": list(questions)}] * texts
        (working / "odd.json").write_bytes(json.dumps({"data": [{"paragraphs": paragraphs}]}).encode(encoding))
        data = Squad("odd.json", "question_answering", "squad", 1)
        data.prepare()
        return data

    lima = {"question": "where", "answers": [{"text": "lima", "answer_start": 19}]}
    data = read(lima, {**lima, "question": "in which city"}, encoding="utf-8-sig")
    assert data.examples("train")["context"][0] == "bob has a house in lima ? ."  # half a character
    parts = [set((data.rows(part) // 2).tolist()) for part in ("train", "val", "test")]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]  # by text, not by question
    assert read({**lima, "answers": [{"text": "", "answer_start": 3}]}).examples("train")["answer"][0].tolist() == [
        -1,
        -1,
    ]
    for question, message in (
        ({**lima, "answers": [{"text": "lima", "answer_start": "there"}]}, "is damaged .invalid literal .*'there'"),
        ({**lima, "question": 7}, "is damaged .7 is not a text"),
        ({"question": "where"}, "lacks 'answers'"),
    ):
        with pytest.raises(
            DataError, match=rf"odd.json: is not in SQuAD's format: data\[0\].paragraphs\[0\] {message}"
        ):
            read(question)
    with pytest.raises(DataError, match="questions are about 1 text, too few for 3 splits"):
        read(*[lima] * 30, texts=1)


# --- documentation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["docstring_pairs", "docstring_tags", "docstring_questions"])
def test_tasks_of_documentation_keep_to_the_parts_of_the_texts(name):
    model = {"docstring_pairs": "bert_pair", "docstring_tags": "bert_tagger"}.get(name, "bert_qa")
    _, data = prepared(
        f"model={model}",
        f"dataset={name}",
        "dataset.packages=[joblib,networkx]",
        "dataset.split={train: null, val: null, test: null}",
    )
    _, stream = prepared("model=bert_pretrain", "dataset.packages=[joblib,networkx]")
    bodies = {
        part: [" ".join(text.split()) for text in stream.examples(part)["text"]] for part in ("train", "val", "test")
    }
    for part, size in data.sizes.items():
        assert size
        example = data.examples(part)[0]
        if name == "docstring_pairs":
            assert any(example["text"][:40] in body for body in bodies[part])
        elif name == "docstring_questions":
            rows = data.examples(part)
            for one in rows:
                first, end = one["answer"]
                assert first < 0 or one["context"][first:end].strip() == one["context"][first:end] != ""
