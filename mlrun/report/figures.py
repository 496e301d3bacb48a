"""All figures: each function returns a matplotlib Figure, and `save` writes it as PNG.

This module imports matplotlib's Agg renderer (about 0.3 s): import it only when drawing.
"""

from __future__ import annotations

from mlrun.report.classes import confusion_matrix, roc_and_pr
from mlrun.report.curves import learning_curves
from mlrun.report.images import component_images, misclassified_images
from mlrun.report.importance import coefficients, feature_importance, patches, permutation_importance
from mlrun.report.regression import predicted_against_true
from mlrun.report.structure import clusters_2d, pca_variance, tree_drawing
from mlrun.report.style import save

__all__ = [
    "clusters_2d",
    "coefficients",
    "component_images",
    "confusion_matrix",
    "feature_importance",
    "learning_curves",
    "misclassified_images",
    "patches",
    "pca_variance",
    "permutation_importance",
    "predicted_against_true",
    "roc_and_pr",
    "save",
    "tree_drawing",
]
