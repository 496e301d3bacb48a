"""Word vectors against gensim on the same words: `python -m benchmarks.word_vectors --seeds 1 2 3`.

Both get the training texts of `dataset=docstrings` with rare words left out, the same window, width, epochs and one thread. Prints a line
for each training: Spearman's correlations on WordSim-353 and SimLex-999, and words of the text per second (all that are read, before
frequent ones are thinned out; vocabulary and start-up are not counted).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")
MODELS = ("skip_gram negative_sampling", "skip_gram hierarchical_softmax", "cbow negative_sampling", "cbow hierarchical_softmax", "glove")  # fmt: skip
WIDTH, WINDOW, NEGATIVES, SUBSAMPLE = 100, 5, 5, 1e-3


def correlations(vectors):
    """Metrics of the evaluator, of `WordVectors`."""
    from mlrun.evaluation.word_similarity import WordSimilarity

    evaluator = WordSimilarity()
    owner = SimpleNamespace(word_vectors=lambda _: vectors)
    evaluator.begin(SimpleNamespace(model=SimpleNamespace(task=owner, preprocessor=None), data=None))
    return {name: round(value, 4) for name, value in evaluator.compute().items()}


def ours(model, seed, epochs, overrides):
    """A training by mlrun, without MLflow."""
    from mlrun.data.word_vectors import vectors_of
    from mlrun.evaluation.evaluator import Better  # noqa: F401  # imports are not timed
    from tests.test_models import Nobody, prepared
    from mlrun.predictions.learner import make_learner
    from mlrun.report import silent

    chosen = ["model=glove"]
    if model != "glove":
        architecture, objective = model.split()
        chosen = ["model=word2vec", f"model.architecture={architecture}", f"model.objective={objective}"]
    cfg, data = prepared(*chosen, f"seed={seed}", f"trainer.max_epochs={epochs}", "trainer.threads=1", *overrides)
    learner = make_learner(cfg, data)
    words = learner.task.corpus(data, "train")
    learner.task.corpus(data, "val")
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        learner.fit(data, Nobody(), Path(folder), silent.Progress())
        seconds = time.perf_counter() - start
    losses = {name: points[-1][1] for name, points in learner.training.history.items() if "loss" in name}
    return vectors_of(learner), epochs * len(words.tokens) / seconds, losses


def sentences(seed, overrides):
    """The same words for gensim, text by text."""
    from tests.test_models import prepared

    from mlrun.data.preprocess.preprocessor import make_preprocessor

    cfg, data = prepared("model=word2vec", f"seed={seed}", *[one for one in overrides if one.startswith("dataset")])
    preprocessor = make_preprocessor(cfg["model"]["preprocessor"], data)
    vocabulary = preprocessor.tokenizer.vocabulary
    texts = [[vocabulary[word] for word in preprocessor.ids(text)] for text in data.examples("train")["text"]]
    return [text for text in texts if text], preprocessor.words


def theirs(model, seed, epochs, overrides):
    """A training by gensim with one worker."""
    from gensim.models import Word2Vec

    from mlrun.data.word_vectors import WordVectors

    texts, words = sentences(seed, overrides)
    architecture, objective = model.split()
    hs = objective == "hierarchical_softmax"
    made = Word2Vec(
        vector_size=WIDTH, window=WINDOW, min_count=1, sg=int(architecture == "skip_gram"), hs=int(hs),
        negative=0 if hs else NEGATIVES, sample=SUBSAMPLE, workers=1, seed=seed,
    )  # fmt: skip
    made.build_vocab(texts)
    start = time.perf_counter()
    made.train(texts, total_examples=made.corpus_count, epochs=epochs)
    seconds = time.perf_counter() - start
    return WordVectors(words, made.wv[words]), epochs * sum(map(len, texts)) / seconds, {}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.word_vectors", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--by", nargs="+", default=["mlrun", "gensim"], choices=["mlrun", "gensim"])
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    for model in given.models:
        for seed in given.seeds:
            for by in given.by:
                if by == "gensim" and model == "glove":
                    continue
                train = ours if by == "mlrun" else theirs
                vectors, speed, losses = train(model, seed, given.epochs, given.overrides)
                row = {"by": by, "model": model, "seed": seed, "words_per_second": round(speed), **correlations(vectors), **losses}
                print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
