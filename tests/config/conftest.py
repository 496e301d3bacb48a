from __future__ import annotations

import pytest
from omegaconf import OmegaConf

NETWORK = """
seed: 1
data_dir: null
tracking: {experiment: mlrun, run_name: null}
dataset:
  name: things
  problem: classification
  facts: [input_shape, num_outputs]
  split: {train: 0.6, val: 0.2, test: 0.2}
  batch_size: 64
optim: {_target_: torch.optim.Adam, lr: 0.001, betas: [0.9, 0.999], weight_decay: 0, eps: 1e-8}
scheduler: {_target_: null}
trainer: {max_epochs: 20, max_time: null, accelerator: auto, devices: 1, strategy: auto, precision: 32-true,
          accumulate_grad_batches: 1, gradient_clip_val: null, gradient_clip_algorithm: norm, l1: 0, l2: 0,
          penalize_bias_and_norm: false, early_stopping_patience: null, deterministic: false, fast_dev_run: false}
model:
  name: mlp
  fits: [classification, regression]
  _target_: mlrun.tasks.supervised.Supervised
  loss: auto
  network: {_target_: mlrun.networks.mlp.MLP, hidden: [256], activation: relu, dropout: 0.0}
"""
ESTIMATOR = """
name: random_forest
fits: [classification, regression]
preprocessing: null
classifier: {_target_: sklearn.ensemble.RandomForestClassifier, n_estimators: 100, criterion: gini}
regressor: {_target_: sklearn.ensemble.RandomForestRegressor, n_estimators: 100}
"""


@pytest.fixture
def network():
    """A correct configuration of a network."""
    return OmegaConf.create(NETWORK)


@pytest.fixture
def estimator():
    """A correct configuration of an estimator."""
    cfg = OmegaConf.create(NETWORK)
    cfg.model = OmegaConf.create(ESTIMATOR)
    return cfg
