"""Other names of choices and keys, for suggestions: abbreviations, and the names that other libraries use."""

from __future__ import annotations

from collections.abc import Iterable

# Choices, of all groups. The initials of a name, such as rf for random_forest, need no entry.
CHOICES = {
    "ada": "adaboost", "ae": "autoencoder", "bagging": "random_forest", "boosting": "gradient_boosting", "cart": "decision_tree",
    "catboost": "gradient_boosting", "convnet": "cnn", "ddpm": "diffusion", "dense": "mlp", "dnn": "mlp", "dummy": "baseline",
    "elastic": "ridge", "forest": "random_forest", "gbdt": "gradient_boosting", "gbm": "gradient_boosting", "gmm": "gaussian_mixture",
    "hist_gradient_boosting": "gradient_boosting", "inception": "googlenet", "isoforest": "isolation_forest",
    "k_means": "kmeans", "k_nearest_neighbors": "knn", "lightgbm": "gradient_boosting", "logistic": "logistic_regression",
    "logreg": "logistic_regression", "lsa": "tfidf_svd", "lsi": "tfidf_svd", "lstm": "lstm_lm", "majority": "baseline", "nearest_neighbors": "knn",
    "neural_network": "mlp", "nn": "mlp", "ols": "linear_regression", "qlearning": "q_learning", "randomforest": "random_forest",
    "skipgram": "word2vec", "softmax": "softmax_regression", "svc": "svm", "tree": "decision_tree", "w2v": "word2vec", "xgb": "gradient_boosting",
    "xgboost": "gradient_boosting", "nesterov_momentum": "nesterov", "cosine_annealing": "cosine", "onecycle": "one_cycle",
    "constant": "none", "table": "csv", "folder": "image_folder", "images": "image_folder", "hf": "huggingface", "cv": "kfold", "cuda": "gpu",
}  # fmt: skip
# Keys; a key that exists below a group, such as `lr`, needs no entry.
KEYS = {
    "batch": "dataset.batch_size", "bs": "dataset.batch_size", "cv": "trainer.folds", "data": "dataset", "device": "trainer.accelerator",
    "dropout": "model.network.dropout", "early_stopping": "trainer.early_stopping_patience", "epoch": "trainer.max_epochs",
    "epochs": "trainer.max_epochs", "file": "dataset.path", "gpus": "trainer.devices", "hidden": "model.network.hidden",
    "hidden_size": "model.network.hidden", "learning_rate": "optim.lr", "max_iter": "trainer.max_epochs", "n_epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs", "optimizer": "optim", "path": "dataset.path", "patience": "trainer.early_stopping_patience",
    "random_state": "seed", "schedule": "scheduler", "sched": "scheduler", "steps": "trainer.max_steps", "target": "dataset.target",
    "wd": "optim.weight_decay", "workers": "dataset.num_workers",
}  # fmt: skip


def choice(name: str, known: Iterable[str]) -> str | None:
    """The choice that a name stands for: by its entry in CHOICES, or by its initials if only one choice has these."""
    known = list(known)
    name = name.lower().replace("-", "_")
    if (found := CHOICES.get(name)) in known:
        return found
    initials = [one for one in known if "_" in one and "".join(word[:1] for word in one.split("_")) == name]
    return initials[0] if len(initials) == 1 else None


def key(name: str, known: Iterable[str], groups: Iterable[str] = ()) -> str | None:
    """The dotted key, or the group, that a word without dots stands for: `optim.lr` for `lr`.

    Args:
        name: the word.
        known: the dotted keys of the configuration.
        groups: the names of the groups.
    """
    known, name = list(known), name.lower()
    found = KEYS.get(name)
    if found in known or found in groups:
        return found
    ending = [one for one in known if one.rpartition(".")[2] == name and "." in one]
    return min(ending, key=lambda one: one.count("."), default=None)
