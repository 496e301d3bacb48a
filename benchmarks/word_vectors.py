"""Word vectors against gensim on the same words: `python -m benchmarks.word_vectors --seeds 1 2 3`.

Both get the training texts of `dataset=docstrings` with rare words left out, the same window, width, epochs and one thread. Prints a line
for each training: Spearman's correlations on WordSim-353 and SimLex-999, and words of the text per second of CPU time (all that are
read, before frequent ones are thinned out; vocabulary and start-up are not counted).
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

from benchmarks.in_process import Nobody, prepared

os.environ.setdefault("OMP_NUM_THREADS", "1")
MODELS = ("skip_gram negative_sampling", "skip_gram hierarchical_softmax", "cbow negative_sampling", "cbow hierarchical_softmax", "glove")  # fmt: skip
WIDTH, WINDOW, NEGATIVES, SUBSAMPLE = 100, 5, 5, 1e-3
LONGEST = 10_000  # words of a text that gensim reads; it ignores the rest


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
    from mlrun.predictions.learner import make_learner
    from mlrun.report import silent

    chosen = ["model=glove"]
    if model != "glove":
        architecture, objective = model.split()
        chosen = ["model=word2vec", f"model.architecture={architecture}", f"model.objective={objective}"]
    cfg, data = prepared(*chosen, f"seed={seed}", f"trainer.max_epochs={epochs}", *overrides)
    learner = make_learner(cfg, data)
    words = learner.task.corpus(data, "train")
    learner.task.corpus(data, "val")
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        learner.fit(data, Nobody(), Path(folder), silent.Progress())
        seconds = time.process_time() - start
    losses = {name: points[-1][1] for name, points in learner.training.history.items() if "loss" in name}
    return vectors_of(learner), epochs * len(words.tokens) / seconds, losses


def sentences(seed, overrides):
    """The same words for gensim, text by text."""
    from mlrun.data.preprocess.preprocessor import make_preprocessor

    cfg, data = prepared("model=word2vec", f"seed={seed}", *[one for one in overrides if one.startswith("dataset")])
    preprocessor = make_preprocessor(cfg["model"]["preprocessor"], data)
    vocabulary = preprocessor.tokenizer.vocabulary
    texts = [[vocabulary[word] for word in preprocessor.ids(text)] for text in data.examples("train")["text"]]
    return [text[i : i + LONGEST] for text in texts for i in range(0, len(text), LONGEST)], preprocessor.words


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
    start = time.process_time()
    made.train(texts, total_examples=made.corpus_count, epochs=epochs)
    seconds = time.process_time() - start
    return WordVectors(words, made.wv[words]), epochs * sum(map(len, texts)) / seconds, {}


def script(model, seed, epochs, overrides):
    """Plain PyTorch: the pairs of the same batches one by one, five noise words for each pair, sparse gradients and Adagrad."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    from mlrun.data.preprocess.preprocessor import make_preprocessor
    from mlrun.data.word_blocks import NoiseWords, WordBlocks, pair_mask
    from mlrun.data.word_vectors import WordVectors

    cfg, data = prepared("model=word2vec", f"seed={seed}", *[one for one in overrides if one.startswith("dataset")])
    preprocessor = make_preprocessor(cfg["model"]["preprocessor"], data)
    corpus, counts = preprocessor.corpus(data.examples("train")["text"]), preprocessor.counts
    torch.manual_seed(seed)
    inputs, outputs = (nn.Embedding(len(counts), WIDTH, sparse=True) for _ in range(2))
    nn.init.uniform_(inputs.weight, -0.5 / WIDTH, 0.5 / WIDTH)
    nn.init.zeros_(outputs.weight)
    optimizer = torch.optim.Adagrad([inputs.weight, outputs.weight], lr=0.05)
    batches = WordBlocks(corpus, counts, 32, 64, WINDOW, SUBSAMPLE, NoiseWords(counts), 1, shuffle=True, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    noise = NoiseWords(counts)
    start = time.process_time()
    for _ in range(epochs):
        for batch in batches:
            block, target, source = pair_mask(batch["texts"], batch["reach"]).nonzero(as_tuple=True)
            x, y = inputs(batch["input_ids"][block, source]), outputs(batch["input_ids"][block, target])
            wrong = outputs(noise.draw(len(block), NEGATIVES, generator))
            loss = -F.logsigmoid((x * y).sum(1)).sum() - F.logsigmoid(-torch.bmm(wrong, x.unsqueeze(2))).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    seconds = time.process_time() - start
    matrix = inputs.weight.detach().numpy()[preprocessor.offset :]
    return WordVectors(preprocessor.words, matrix), epochs * len(corpus.tokens) / seconds, {}


def costs(sizes=(1000, 3000, 10_000, 30_000), steps=15):
    """(objective, vocabulary, milliseconds per step): loss, gradients and Adagrad for 8 blocks of 64 words of a Zipf distribution."""
    import statistics

    import numpy as np
    import torch

    from mlrun.data.preprocess.words import Corpus
    from mlrun.data.word_blocks import NoiseWords, WordBlocks
    from mlrun.networks.text.word_vectors import WordTables
    from mlrun.tasks.word2vec import Word2Vec

    for objective in ("softmax", "negative_sampling", "hierarchical_softmax"):
        for size in sizes:
            counts = np.concatenate([[0] * 4, (1e7 / np.arange(1, size + 1)).astype(np.int64)])
            random = np.random.default_rng(0)
            tokens = random.choice(len(counts), size=8 * 64 * (steps + 5), p=counts / counts.sum()).astype(np.int32)
            task = Word2Vec(WordTables(len(counts), WIDTH), objective=objective)
            task.preprocessor = SimpleNamespace(counts=counts)
            optimizer = torch.optim.Adagrad(task.parameters(), lr=0.05)
            seconds = []
            for batch in WordBlocks(Corpus(tokens, tokens * 0), counts, 8, noise=NoiseWords(counts), negatives=32):
                start = time.process_time()
                loss = task.loss(batch)
                optimizer.zero_grad()
                (loss.value * loss.count).backward()
                optimizer.step()
                seconds.append(time.process_time() - start)
            yield objective, size, 1e3 * statistics.median(seconds[5:])


def draw_costs(path):
    """Prints the costs and draws them over the vocabulary, both axes logarithmic."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    by_objective: dict[str, list[tuple[int, float]]] = {}
    for objective, size, milliseconds in costs():
        print(
            json.dumps({"objective": objective, "vocabulary": size, "ms_per_step": round(milliseconds, 2)}), flush=True
        )
        by_objective.setdefault(objective, []).append((size, milliseconds))
    for objective, points in by_objective.items():
        axes.loglog(*zip(*points), "o-", label=objective.replace("_", " "))
    axes.set(xlabel="words in the vocabulary", ylabel="milliseconds per step of 512 words")
    axes.legend()
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.word_vectors", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--by", nargs="+", default=["mlrun", "gensim"], choices=["mlrun", "gensim", "script"])
    parser.add_argument(
        "--costs", metavar="FILE.png", help="instead: the cost of a step over the size of the vocabulary"
    )
    parser.add_argument("overrides", nargs="*")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    if given.costs:
        draw_costs(given.costs)
        return 0
    for model in given.models:
        for seed in given.seeds:
            for by in given.by:
                if by == "gensim" and model == "glove" or by == "script" and model != MODELS[0]:
                    continue
                train = {"mlrun": ours, "gensim": theirs, "script": script}[by]
                vectors, speed, losses = train(model, seed, given.epochs, given.overrides)
                row = {
                    "by": by,
                    "model": model,
                    "seed": seed,
                    "words_per_second": round(speed),
                    **correlations(vectors),
                    **losses,
                }
                print(json.dumps(row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
