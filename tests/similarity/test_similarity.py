"""Similarity learning on characters: unseen ones are told apart, and every broken version misses the same floors. Queries and other data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mlrun.cli import dispatch
from mlrun.config.compose import compose
from mlrun.experiment.run import run
from mlrun.networks.vision.siamese_cnn import SiameseCNN
from mlrun.predictions.learner import make_learner
from mlrun.report import silent
from mlrun.tasks.siamese import contrastive
from mlrun.tasks.similarity import euclidean
from mlrun.tasks.verification import Verification
from tests.test_models import Nobody, prepared, shuffle_labels, trained
