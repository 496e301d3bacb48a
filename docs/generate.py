"""`python docs/generate.py`: writes the pages that follow from the YAML files, docs/course.md and docs/reference.md.

`--check` writes nothing, and exits with 1 if a page is out of date.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from mlrun.config import catalogue, schema
from mlrun.config.catalogue import CONF, Entry
from mlrun.config.values import describe

DOCS = Path(__file__).resolve().parent
FIGURES = {  # names in `figures:` of a model -> what to look at
    "labels": "confusion matrix",
    "values": "predicted against true values",
    "importance": "feature importance or coefficients",
    "boundary": "decision regions",
    "convolution": "filters, feature maps, Grad-CAM",
    "clusters": "clusters against classes",
    "dendrogram": "dendrogram",
    "components": "explained variance, components",
    "vectors": "vectors in two dimensions",
    "anomalies": "distribution of the scores, ROC and precision-recall curves",
    "restored": "reconstructions",
    "latent": "latent space",
    "latent_arithmetic": "latent arithmetic",
    "samples": "samples per epoch",
    "denoising": "path from noise to data",
    "translations": "translations",
    "beam_errors": "errors of model and search",
    "attention": "attention maps",
    "continuations": "sample texts",
    "words": "nearest words",
    "pairs": "distances of pairs",
    "episodes": "returns, an animation of an episode",
    "action_values": "policy and values",
    "translated_images": "images translated there and back",
    "objects": "boxes on images, precision-recall",
    "masks": "masks on images",
    "captions": "where the decoder looks at each word",
    "visual_questions": "images with questions and answers",
    "rollout": "patches that the class attends to",
    "points": "points on images",
    "stylized": "the image as it changes",
}
PAGES = {  # family -> its page
    "linear models": "classical.md#linear-models",
    "neighbours and naive Bayes": "classical.md#neighbours-and-naive-bayes",
    "support vector machines": "classical.md#support-vector-machines",
    "trees and ensembles": "classical.md#trees-and-ensembles",
    "clustering and decomposition": "classical.md#clustering-and-decomposition",
    "anomaly detection": "classical.md#anomaly-detection",
    "neural networks": "classical.md#neural-networks",
    "convolutional networks": "convolution.md",
    "vision transformers": "image_text.md#vision-transformer",
    "vision and language": "image_text.md",
    "detection and segmentation": "vision.md",
    "similarity learning": "similarity.md",
    "text classification": "sequences.md#text-classification",
    "word vectors": "word_vectors.md",
    "language models": "sequences.md#language-models",
    "pre-trained language models": "language.md",
    "translation": "sequences.md#translation",
    "generative models": "generative.md",
    "reinforcement learning": "reinforcement.md",
}
PRACTICE = (  # topic, command, what to look at, page
    ("training, validation and test splits", "mlrun model=mlp dataset.split.train=0.8 dataset.split.val=0.1 dataset.split.test=0.1", "`val/…` against `test/…`", "practice.md"),
    ("baselines", "mlrun model=baseline dataset=breast_cancer", "`baseline_accuracy`", "practice.md"),
    ("overfitting and regularization", "mlrun -m model=mlp trainer.l2=0,0.001,0.01", "train against validation loss", "sweeps.md"),
    ("dropout", "mlrun -m model=mlp model.network.dropout=0,0.2,0.5", "train against validation loss", "sweeps.md"),
    ("early stopping", "mlrun model=mlp trainer.max_epochs=200 trainer.early_stopping_patience=10", "learning curves", "runs.md"),
    ("optimizers", "mlrun -m optim=sgd,momentum,rmsprop,adam", "learning curves", "sweeps.md"),
    ("learning-rate schedules", "mlrun -m optim=sgd scheduler=none,step,cosine,one_cycle", "panel `lr` of the learning curves", "sweeps.md"),
    ("initialization", "mlrun -m model=mlp model.network.init=zeros,small,xavier,he", "loss in the first epochs", "sweeps.md"),
    ("normalization layers", "mlrun -m model=mlp model.network.norm=null,batch,layer", "learning curves", "sweeps.md"),
    ("data augmentation", "mlrun model=cnn augment=affine", "augmented images", "convolution.md"),
    ("generated training data", "mlrun model=cnn augment=generated augment.run=RUN", "the test metrics, against augment=none", "convolution.md"),
    ("transfer learning", "mlrun experiment=transfer_source", "accuracy after a few epochs", "convolution.md"),
    ("class imbalance", "mlrun model=logistic_regression model.class_weight=balanced", "recall per class", "practice.md"),
    ("cross-validation", "mlrun model=svm trainer=kfold trainer.folds=10", "`cv/…` and `cv_std/…`", "practice.md"),
    ("model comparison", "mlrun -m experiment=compare", "ranked table", "practice.md"),
    ("hyperparameter search", "mlrun -m experiment=tune/mlp_digits", "history and importance", "sweeps.md"),
    ("bias and variance", "mlrun diagnose RUN", "the gaps", "practice.md"),
    ("error analysis", "mlrun errors RUN", "`errors/mistakes.csv`", "practice.md"),
)  # fmt: skip
REFERENCE = (  # title, file, the group of its keys
    ("Run", "config.yaml", ""),
    ("Trainer", "trainer/default.yaml", "trainer"),
    ("Cross-validation (`trainer=kfold`)", "trainer/kfold.yaml", "trainer"),
    ("Tables (`dataset=csv`)", "dataset/csv.yaml", "dataset"),
    ("Image folders (`dataset=image_folder`)", "dataset/image_folder.yaml", "dataset"),
    ("Labelled texts (`dataset=labelled_text`)", "dataset/labelled_text.yaml", "dataset"),
    ("Plain text (`dataset=text_file`)", "dataset/text_file.yaml", "dataset"),
    ("Environments (`dataset=gymnasium`)", "dataset/gymnasium.yaml", "dataset"),
    ("Sweeps: launcher", "hydra/launcher/pool.yaml", "hydra.launcher"),
    ("Sweeps: Ray (`hydra/launcher=ray`)", "hydra/launcher/ray.yaml", "hydra.launcher"),
    ("Sweeps: grid", "hydra/sweeper/grid.yaml", "hydra.sweeper"),
    ("Search", "hydra/sweeper/optuna.yaml", "hydra.sweeper"),
)


def course() -> str:
    """Every topic in teaching order: the command, what to look at, the measured result, and the paper."""
    lines = [
        "# Course map",
        "",
        "Every topic of a machine-learning course, in teaching order. The commands of the models run as they are, on data that need no download. "
        "`RUN` is a finished run: its directory, its MLflow id, or `last`. `mlrun show model=NAME` shows the settings. "
        "Made from the headers of `conf/` by `python docs/generate.py`.",
        "",
        "## Practice",
        "",
        "| topic | command | look at |",
        "|---|---|---|",
    ]
    lines += [f"| [{topic}]({page}) | `{command}` | {look} |" for topic, command, look, page in PRACTICE]
    for family, models in catalogue.by_family(packaged("model")).items():
        title = family[0].upper() + family[1:]
        lines += ["", f"## {title}", ""]
        if family in PAGES:
            lines += [f"[More about {family}]({PAGES[family]})", ""]
        lines += ["| method | command | look at | measured | source |", "|---|---|---|---|---|"]
        lines += [row(entry) for entry in models]
    lines += ["", "## Presets with published settings", "", "| preset | what it reproduces |", "|---|---|"]
    for entry in packaged("experiment"):
        text = " ".join(entry.head.split())
        lines.append(f"| `mlrun experiment={entry.name}` | {cell(text)} |")
    return "\n".join(lines) + "\n"


def packaged(group: str) -> list[Entry]:
    """The package's own entries: those of the working directory are not documented."""
    return [entry for entry in catalogue.entries(group) if not entry.own]


def row(entry: Entry) -> str:
    """The line of a model."""
    names = [name for name in entry.get("figures") or [] if isinstance(name, str) and draws(entry, name)]
    look = ", ".join(dict.fromkeys(FIGURES[name] for name in names if FIGURES.get(name)))
    measured = entry.measured if any(character.isdigit() for character in entry.measured) else ""
    method = entry.summary.partition(":")[0] if ":" in entry.summary else entry.summary.rstrip(".")
    return f"| {cell(method)} | `mlrun model={entry.name}` | {look} | {cell(measured)} | {cell(entry.paper)} |"


def draws(entry: Entry, view: str) -> bool:
    """Whether the default run of a model has the figures of a view: those of views that do not suit its data are left out."""
    data = catalogue.find("dataset", entry.dataset or catalogue.default_dataset())
    problem = data.get("problem") if data else None
    if view == "values":
        return problem not in ("classification", "text_pairs")
    if view == "labels":
        return problem != "regression"
    if view == "boundary":  # of tables
        return problem == "classification" and data is not None and "image_shape" not in data.get("facts", [])
    return view != "convolution" or entry.family == "convolutional networks"


def reference() -> str:
    """Every key that mlrun reads, with its default, type and comment."""
    lines = [
        "# Reference",
        "",
        "All settings that do not depend on a model. `mlrun show model=NAME` lists those of a model, dataset, optimizer or schedule; "
        "`mlrun --cfg job` prints the value of every key. Made by `python docs/generate.py`.",
    ]
    for title, file, group in REFERENCE:
        lines += ["", f"## {title}", "", "| key | default | values | meaning |", "|---|---|---|---|"]
        for key, value, comment in commented(CONF / file):
            path = f"{group}.{key}" if group else key
            kinds = describe(schema.KEYS[path]) if path in schema.KEYS else ""
            lines.append(f"| `{path}` | `{value}` | {cell(kinds)} | {cell(comment)} |")
    lines += ["", "## Commands", "", "| command | what it does |", "|---|---|"]
    from importlib import import_module

    from mlrun.commands import verbs

    for verb in verbs():
        lines.append(f"| `mlrun {verb}` | {cell(import_module(f'mlrun.commands.{verb}').SUMMARY)} |")
    return "\n".join(lines) + "\n"


_LINE = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?: (?P<value>.*?))?(?:\s+# (?P<comment>.*))?$")


def commented(path: Path) -> Iterator[tuple[str, str, str]]:
    """(key, value as written, comment) of each line with a value; the keys of mappings are joined by dots.

    An indented line that is only a comment continues the comment of the line above.
    """
    parents: list[str] = []
    text = re.sub(r"(#.*)\n +# ", r"\1 ", path.read_text(encoding="utf-8"))
    for line in text.splitlines():
        found = _LINE.match(line)
        if not found or line.startswith("#"):
            continue
        depth, key, value = len(found["indent"]) // 2, found["key"], (found["value"] or "").strip()
        parents = [*parents[:depth], key]
        dotted = ".".join(parents)
        if parents[0] in ("defaults", "hydra", "_target_") or key in ("name", "facts", "_target_") or not value:
            continue
        yield dotted, value.replace("|", "\\|"), found["comment"] or ""


def cell(text: str) -> str:
    """Text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def main(argv: list[str] | None = None) -> int:
    """Writes or checks the pages; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    arguments = parser.parse_args(argv)
    stale = []
    for name, page in (("course.md", course()), ("reference.md", reference())):
        path = DOCS / name
        if not path.is_file() or path.read_text(encoding="utf-8") != page:
            stale.append(name)
            if not arguments.check:
                path.write_text(page, encoding="utf-8")
    for name in stale:
        print(f"{name} is out of date: run python docs/generate.py" if arguments.check else f"{name} written")
    return 1 if arguments.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
