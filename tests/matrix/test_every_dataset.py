"""Every dataset YAML, found by glob, with a model that suits it; one that needs files gets small ones."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlrun.config.catalogue import entries
from tests.matrix.walk import walk
from tests.vision import files as annotated

pytestmark = pytest.mark.long

random = np.random.default_rng(0)
WORDS = {"good": "fine lovely great warm".split(), "bad": "dull grim cold poor".split()}


def write_table(folder: Path) -> list[str]:
    lines = ["size,colour,known,kind"]
    for row in range(80):
        lines.append(
            f"{random.normal():.3f},{random.choice(['red', 'blue'])},{'true' if row % 3 else 'false'},{'ab'[row % 2]}"
        )
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    return [f"dataset.path={folder / 'table.csv'}"]


def write_large_table(folder: Path) -> list[str]:
    return [*write_table(folder), f"dataset.cache={folder}", "dataset.split={train: 0.6, val: 0.2, test: 0.2}"]


def write_images(folder: Path) -> list[str]:
    for name, light in (("dark", 60), ("light", 200)):
        (folder / "images" / name).mkdir(parents=True)
        for at in range(12):
            Image.fromarray(random.integers(light - 50, light + 50, (20, 24, 3), dtype=np.uint8)).save(
                folder / "images" / name / f"{at}.png"
            )
    return [f"dataset.path={folder / 'images'}", "dataset.side=16"]


def write_unpaired(folder: Path) -> list[str]:
    for letter in "AB":
        (folder / "domains" / letter).mkdir(parents=True)
        for at in range(10):
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
                folder / "domains" / letter / f"{at}.png"
            )
    return [f"dataset.path={folder / 'domains'}", "dataset.side=16", "dataset.split.val=0.2", "dataset.split.test=0.2"]


def sentences(count: int) -> list[tuple[str, str]]:
    return [(" ".join(random.choice(WORDS[kind], 4)), kind) for kind in ("good", "bad") for _ in range(count // 2)]


def write_texts(folder: Path) -> list[str]:
    with open(folder / "texts.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *sentences(80)])
    return [f"dataset.path={folder / 'texts.csv'}"]


def write_rt_polarity(folder: Path) -> list[str]:
    (folder / "rt_polarity").mkdir()
    with open(folder / "rt_polarity" / "rt_polarity.csv", "w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *sentences(80)])
    return [f"data_dir={folder}"]


def write_imdb(folder: Path) -> list[str]:
    for part in ("train", "test"):
        for at, (text, kind) in enumerate(sentences(60)):
            place = folder / "aclImdb" / part / ("pos" if kind == "good" else "neg")
            place.mkdir(parents=True, exist_ok=True)
            (place / f"{at}.txt").write_text(text)
    return [f"data_dir={folder}"]


def pairs(count: int) -> list[tuple[str, str]]:
    numbers = ["one", "two", "three", "four", "five"]
    rows = [random.integers(0, 5, 3) for _ in range(count)]
    return [(" ".join(str(n + 1) for n in row), " ".join(numbers[n] for n in row)) for row in rows]


def write_pairs(folder: Path) -> list[str]:
    (folder / "pairs.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs(120)))
    return [f"dataset.path={folder / 'pairs.tsv'}", "dataset.split.val=0.2", "dataset.split.test=0.2"]


def write_fra_eng(folder: Path) -> list[str]:
    (folder / "fra.txt").write_text("".join(f"{a}\t{b}\n" for a, b in pairs(120)))
    return [f"data_dir={folder}", "dataset.split.val=20", "dataset.split.test=20"]


def write_multi30k(folder: Path) -> list[str]:
    (folder / "multi30k").mkdir()
    for part, count in (("train", 80), ("val", 20), ("test", 20)):
        made = pairs(count)
        for side, language in enumerate(("de", "en")):
            (folder / "multi30k" / f"{part}.{language}").write_text("".join(f"{pair[side]}\n" for pair in made))
    return [f"data_dir={folder}"]


def write_shakespeare(folder: Path) -> list[str]:
    (folder / "tinyshakespeare").mkdir()
    (folder / "tinyshakespeare" / "input.txt").write_text("To be, or not to be: that is the question.\n" * 200)
    return [f"data_dir={folder}", "dataset.steps_per_epoch=2"]


def write_text_pairs(folder: Path) -> list[str]:
    rows = [(text, other, kind == own) for (text, kind), (other, own) in zip(sentences(60), reversed(sentences(60)))]
    with open(folder / "pairs.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [("one", "other", "same"), *((*row[:2], "ny"[at % 2]) for at, row in enumerate(rows))]
        )
    return [f"dataset.path={folder / 'pairs.csv'}"]


def write_sick(folder: Path) -> list[str]:
    (folder / "sick2014").mkdir()
    for part, count in (("train", 40), ("trial", 10), ("test_annotated", 10)):
        lines = ["pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment"]
        lines += [
            f"{at}\ta {text}\tb {text}\t{1 + at % 5}.0\t{kind}" for at, (text, kind) in enumerate(sentences(count))
        ]
        (folder / "sick2014" / f"SICK_{part}.txt").write_text("\n".join(lines) + "\n")
    return [f"data_dir={folder}"]


def write_conll(folder: Path) -> list[str]:
    (folder / "conll2002").mkdir()
    for part, count in (("train", 40), ("testa", 10), ("testb", 10)):
        rows = [
            "\n".join(f"{word} N {'B-PER' if at else 'O'}" for at, word in enumerate(text.split()))
            for text, _ in sentences(count)
        ]
        (folder / "conll2002" / f"esp.{part}").write_text("\n\n".join(rows) + "\n")
    return [f"data_dir={folder}"]


def write_squad(folder: Path) -> list[str]:
    asked = [
        {
            "context": text,
            "qas": [{"question": "what?", "id": "1", "answers": [{"text": text.split()[0], "answer_start": 0}]}],
        }
        for text, _ in sentences(60)
    ]
    (folder / "questions.json").write_text(json.dumps({"data": [{"paragraphs": asked}]}))
    return [f"dataset.path={folder / 'questions.json'}"]


def write_cranfield(folder: Path) -> list[str]:
    (folder / "cranfield").mkdir()
    texts = [text for text, _ in sentences(20)]
    documents = "".join(f".I {at}\n.T\nnumber {at}\n.W\n{text}\n" for at, text in enumerate(texts, 1))
    (folder / "cranfield" / "cran.all.1400").write_text(documents)
    (folder / "cranfield" / "cran.qry").write_text(
        "".join(f".I {at}\n.W\n{text}\n" for at, text in enumerate(texts, 1))
    )
    (folder / "cranfield" / "cranqrel").write_text("".join(f"{at} {at} 1\n" for at in range(1, 21)))
    return [f"data_dir={folder}"]


def write_documents(folder: Path) -> list[str]:
    (folder / "documents").mkdir()
    for at, (text, kind) in enumerate(sentences(30)):
        (folder / "documents" / f"{at}.txt").write_text(f"{kind} {at}\n{text}\n")
    return [f"dataset.path={folder / 'documents'}"]


def write_series(folder: Path) -> list[str]:
    for part in ("TRAIN", "TEST"):
        rows = [(1 + at % 2, *(random.normal(3 * (at % 2), 1, 20))) for at in range(30)]
        (folder / f"Waves_{part}.tsv").write_text("".join("\t".join(f"{v:.3f}" for v in row) + "\n" for row in rows))
    return [f"dataset.path={folder / 'Waves_TRAIN.tsv'}"]


def write_idx(folder: Path, name: str) -> list[str]:
    (folder / name).mkdir()
    for stem, count in (("train", 100), ("t10k", 40)):
        x, y = random.integers(0, 256, (count, 28, 28), dtype=np.uint8), (np.arange(count) % 10).astype(np.uint8)
        for kind, values in (("images-idx3", x), ("labels-idx1", y)):
            head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
            (folder / name / f"{stem}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + values.tobytes()))
    return [f"data_dir={folder}", "dataset.split.train=0.8", "dataset.split.val=0.2"]


def write_cifar(folder: Path, name: str) -> list[str]:
    coarse = name == "cifar100"
    inner = folder / ("cifar-100-binary" if coarse else "cifar-10-batches-bin")
    inner.mkdir(parents=True)
    files = ["train.bin", "test.bin"] if coarse else [*(f"data_batch_{at}.bin" for at in range(1, 6)), "test_batch.bin"]
    for file in files:
        count = 300 if coarse else 40
        labels = np.arange(count)[:, None] % (100 if coarse else 10)
        labels = np.concatenate([labels * 0, labels], axis=1) if coarse else labels
        table = np.concatenate([labels, random.integers(0, 256, (count, 3072))], axis=1).astype(np.uint8)
        table.tofile(inner / file)
    if coarse:
        (inner / "fine_label_names.txt").write_text("\n".join(f"thing{at}" for at in range(100)))
    return [f"data_dir={folder}", "dataset.split.train=0.6", "dataset.split.val=0.4"]


ENLARGED = ["dataset.image_size=32", "dataset.split.train=2", "dataset.split.val=1", "dataset.split.test=1"]


def write_voc(folder: Path) -> list[str]:
    annotated.write_voc(folder)
    return [f"dataset.path={folder}", *ENLARGED]


def write_voc_masks(folder: Path) -> list[str]:
    annotated.write_masks(folder, (0, 3, 255))
    (folder / "images").rename(folder / "JPEGImages")
    (folder / "masks").rename(folder / "SegmentationClass")
    return [f"dataset.path={folder}", *ENLARGED]


def write_bccd(folder: Path) -> list[str]:
    annotated.write_voc(folder / "bccd")
    return [f"data_dir={folder}", *ENLARGED]


def write_mask_folders(folder: Path) -> list[str]:
    annotated.write_masks(folder)
    return [f"dataset.path={folder}", *ENLARGED]


def write_membrane(folder: Path) -> list[str]:
    annotated.write_masks(folder / "membrane", (255, 0, 0))
    for own, theirs in (("images", "image"), ("masks", "label")):
        (folder / "membrane" / own).rename(folder / "membrane" / theirs)
    return [f"data_dir={folder}", *ENLARGED]


def write_coco(folder: Path) -> list[str]:
    return [f"dataset.path={annotated.write_coco(folder)[1]['path']}", *ENLARGED]


def write_coco_points(folder: Path) -> list[str]:
    annotated.write_images(folder / "images")
    content = annotated.points_of_coco()
    content["images"] += [{"id": 10, "file_name": "3.png"}]
    content["annotations"] += [{**content["annotations"][0], "image_id": 10}]
    (folder / "points.json").write_text(json.dumps(content))
    return [f"dataset.path={folder / 'points.json'}", *ENLARGED, "dataset.split.train=1"]


def write_coco_masks(folder: Path) -> list[str]:
    path = Path(annotated.write_coco(folder)[1]["path"])
    content = json.loads(path.read_text())
    for one in content["annotations"]:
        left, top, width, height = one["bbox"]
        one["segmentation"] = [[left, top, left + width, top, left + width, top + height]]
    path.write_text(json.dumps(content))
    return [f"dataset.path={path}", *ENLARGED]


def write_yolo_folder(folder: Path) -> list[str]:
    annotated.write_yolo(folder)
    return [f"dataset.path={folder}", *ENLARGED]


def write_keypoints(folder: Path) -> list[str]:
    annotated.write_points(folder)
    return [f"dataset.path={folder / 'points.csv'}", *ENLARGED, "dataset.split.train=1"]


def write_labels(folder: Path) -> list[str]:
    annotated.write_labels(folder)
    return [f"dataset.path={folder / 'labels.csv'}", *ENLARGED]


def write_captions(folder: Path) -> list[str]:
    return [f"dataset.path={annotated.write_captions(folder)}", *ENLARGED]


FILES = {
    "labelled_images": write_labels,
    "image_captions": write_captions,
    "voc": write_voc,
    "voc_masks": write_voc_masks,
    "bccd": write_bccd,
    "mask_folders": write_mask_folders,
    "membrane": write_membrane,
    "coco": write_coco,
    "coco_masks": write_coco_masks,
    "coco_points": write_coco_points,
    "yolo_folder": write_yolo_folder,
    "keypoints": write_keypoints,
    "csv": write_table,
    "large_table": write_large_table,
    "image_folder": write_images,
    "unpaired_folders": write_unpaired,
    "labelled_text": write_texts,
    "rt_polarity": write_rt_polarity,
    "imdb": write_imdb,
    "parallel_text": write_pairs,
    "fra_eng": write_fra_eng,
    "multi30k": write_multi30k,
    "tinyshakespeare": write_shakespeare,
    "text_pairs": write_text_pairs,
    "sick": write_sick,
    "conll": write_conll,
    "squad": write_squad,
    "cranfield": write_cranfield,
    "documents": write_documents,
    "series": write_series,
    **dict.fromkeys(("mnist", "fashion_mnist"), write_idx),
    **dict.fromkeys(("cifar10", "cifar100"), write_cifar),
}
SCENES = ["dataset.scenes=60", "dataset.split={train: 0.6, val: 0.2, test: 0.2}"]
SMALL = {
    **dict.fromkeys(("reverse", "dates"), ["dataset.rows=300", "dataset.split.val=40", "dataset.split.test=40"]),
    "arithmetic": ["dataset.rows=300", "dataset.split.train=220", "dataset.split.val=40", "dataset.split.test=40"],
    "cylinder_bell_funnel": ["dataset.rows=90"],
    **dict.fromkeys(("shapes_3d", "moving_squares"), ["dataset.rows=90"]),
    **dict.fromkeys(("ring", "grid25", "moons"), ["dataset.rows=300"]),
    "text_file": ["dataset.split.train=0.02", "dataset.split.val=2000", "dataset.split.test=2000", "dataset.steps_per_epoch=2"],
    "docstrings": ["dataset.packages=[filelock]", "dataset.steps_per_epoch=2"],
    "docstring_packages": ["dataset.packages=[filelock,pooch]"],
    **dict.fromkeys(
        ("docstring_pairs", "docstring_tags", "docstring_questions", "docstring_search"),
        ["dataset.packages=[joblib,networkx]", "dataset.split={train: 60, val: 20, test: 20}"],
    ),
    "language_id": ["dataset.languages=[de,fr,vi]"],
    **dict.fromkeys(("digit_scenes", "digit_scenes_one", "digit_scenes_masks", "digit_scenes_labels", "digit_scenes_captions", "digit_scenes_questions"), SCENES),
    "landmarks_synthetic": ["dataset.rows=60"],
    "style_images": ["dataset.side=32", "dataset.steps_per_epoch=2"],
    **dict.fromkeys(("glyphs", "glyph_names"), ["dataset.scripts=[GREEK]", "dataset.characters=20"]),
    "oracle_sequences": ["dataset.rows=200", "dataset.vocabulary=20", "dataset.length=5"],
    "gymnasium": ["dataset.id=CartPole-v1"],
    "unpaired_digits": [f"dataset.images.split.{part}={size}" for part, size in (("train", 60), ("val", 30), ("test", 30))],
}  # fmt: skip
ACTING = ["dataset.num_envs=2", "dataset.val_episodes=1", "dataset.test_episodes=1", "dataset.max_episode_steps=60"]
TINY_BERT = [f"model.network.encoder.{name}={value}" for name, value in {"width": 16, "heads": 2, "layers": 1}.items()]
TINY_BERT += ["model.preprocessor.tokenizer.size=400"]
BY_PROBLEM = {  # a model that works on every dataset of the problem
    "regression": ["model=mlp"],
    "translation": ["model=transformer", "model.network.width=16", "model.network.heads=2"],
    "language_modeling": ["model=gpt", "model.network.width=16", "model.network.heads=2"],
    "generation": ["model=diffusion_2d", "model.steps=5"],
    "image_translation": ["model=cyclegan"],
    "control": ["model=dqn", "model.steps_per_epoch=128", *ACTING],
    "text_pairs": ["model=bert_pair", *TINY_BERT],
    "tagging": ["model=bert_tagger", *TINY_BERT],
    "question_answering": ["model=bert_qa", *TINY_BERT],
    "retrieval": ["model=rag"],
    "oracle_generation": ["model=seqgan"],
    "similarity": ["model=triplet", "+model.network.channels=[8,8]"],
    "auto": ["model=mlp"],
    "detection": ["model=yolo", "model.network.backbone.channels=[8,8,8,8]", "model.network.hidden=8"],
    "localization": ["model=localization", "model.network.backbone.channels=[8,8,8,8]"],
    "segmentation": ["model=fcn", "model.network.backbone.channels=[8,8,8,8]"],
    "landmarks": ["model=landmarks", "model.network.channels=[8,8,8]", "model.network.hidden=[8]"],
    "multi_label": ["model=multi_label", "model.network.channels=[8,8,8]"],
    "captioning": ["model=captioning", "model.network.encoder.channels=[8,8,8,8]", "model.network.decoder.width=16"],
    "visual_questions": ["model=vlm", "model.network.encoder.channels=[8,8,8,8]", "model.network.language.width=16"],
    "style_transfer": ["model=style_transfer", "model.network.channels=[8,8,8,8]"],
}
BY_FACT = {
    "vocab_size": ["model=text_bag"],
    "series_shape": ["model=series_fcn", "model.network.channels=[4,4,4]"],
    "volume_shape": ["model=cnn3d", "model.network.channels=[4,4]"],
}


def model_for(entry) -> list[str]:
    problem = entry.get("problem")
    if problem != "classification":
        return BY_PROBLEM[problem]
    return next((model for fact, model in BY_FACT.items() if fact in (entry.get("facts") or [])), ["model=mlp"])


DATASETS = {entry.name: entry for entry in entries("dataset") if not entry.own}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in ("MLFLOW_TRACKING_URI", "MLRUN_DATA_DIR"):
            patch.delenv(name, raising=False)
        patch.setattr("mlrun.experiment.reference_classifier.EPOCHS", 1)
        yield folder


@pytest.mark.parametrize("name", [name for name in DATASETS if name != "huggingface"])
def test_every_dataset_goes_all_the_way(name, place, tmp_path):
    write = FILES.get(name, lambda folder: [])
    given = write(tmp_path, name) if write in (write_idx, write_cifar) else write(tmp_path)
    walk(place / name, *model_for(DATASETS[name]), f"dataset={name}", *given, *SMALL.get(name, []))


def test_huggingface_goes_all_the_way(place, tmp_path):
    pytest.importorskip("datasets", reason="needs the extra [hub]")
    write_table(tmp_path)
    path = tmp_path / "table.csv"
    walk(
        place / "hub",
        "model=mlp",
        "dataset=huggingface",
        "dataset.path=csv",
        f"dataset.files={path}",
        "dataset.target=kind",
    )
