"""Encoders of the library `transformers` with the interface of `Bert`, so that all heads of BERT's tasks work on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mlrun.data.published import directory_of
from mlrun.errors import ConfigError


class TransformersEncoder(nn.Module):
    """Any encoder that `AutoModel` builds: BERT's family and those with the same inputs.

    Args:
        weights: a directory, `hub:NAME` or `package:NAME`, see `mlrun.data.published`. A stored run needs its `config.json` again.
        pretrained: whether the weights are loaded, too; False: random ones of the same architecture.
        weights_policy: "offline" or "fetch".

    Raises:
        ConfigError: transformers is not installed, or the checkpoint is not there.
    """

    def __init__(self, weights: str, pretrained: bool = True, weights_policy: str = "offline"):
        super().__init__()
        key = "model.network.encoder.weights"
        folder = directory_of(weights, weights_policy, key)
        try:
            from transformers import AutoConfig, AutoModel
        except ImportError:
            raise ConfigError(f"{key}={weights}: needs transformers: pip install 'mlrun[hub]'") from None
        self.model: Any
        if pretrained:
            self.model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
        else:
            self.model = AutoModel.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
        self.width = int(self.model.config.hidden_size)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None
    ) -> Tensor:
        """(batch, tokens) each -> (batch, tokens, width)."""
        mask = None if attention_mask is None else attention_mask.long()
        given = {"input_ids": input_ids, "attention_mask": mask}
        if getattr(self.model.config, "type_vocab_size", 0) > 1:
            given["token_type_ids"] = token_type_ids
        return self.model(**given).last_hidden_state

    def pool(self, vectors: Tensor) -> Tensor:
        """(batch, tokens, width) -> (batch, width): the first token through the pooling layer, where the model has one."""
        pooler = getattr(self.model, "pooler", None)
        return vectors[:, 0] if pooler is None else pooler(vectors)

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published tensors under the names of this class."""
        own = set(self.model.state_dict())
        found = {name if name in own else name.partition(".")[2]: tensor for name, tensor in tensors.items()}
        return {f"model.{name}": tensor for name, tensor in found.items()}
