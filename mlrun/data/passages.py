"""Long documents divided into overlapping passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mlrun.errors import ConfigError


@dataclass
class Passages:
    """texts: of all passages. owners: (passages,) the document of each."""

    texts: list[str]
    owners: np.ndarray

    @classmethod
    def of(cls, documents: Sequence[str], words: int | None, overlap: int) -> Passages:
        """Passages of `words` words, each sharing `overlap` words with the one before. words: None for whole documents. Raises ConfigError."""
        if words is None:
            return cls(list(documents), np.arange(len(documents)))
        if words < 1 or not 0 <= overlap < words:
            raise ConfigError(
                f"model.passages: words={words} and overlap={overlap}: give 0 <= overlap < words, or words=null"
            )
        texts, owners = [], []
        for owner, document in enumerate(documents):
            found = document.split()
            for start in range(0, max(1, len(found) - overlap), words - overlap):
                texts.append(" ".join(found[start : start + words]))
                owners.append(owner)
        return cls(texts, np.array(owners))
