"""Preprocessor of queries and, in training, of the document that answers each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mlrun.data.examples import Examples
from mlrun.data.features import Feature, Text
from mlrun.data.preprocess.pieces import TextsPreprocessor
from mlrun.data.preprocess.text import as_texts
from mlrun.errors import ConfigError

OF_DOCUMENT = "document_"  # prefix of the tensors of the document
DOCUMENT = "document"  # the target that holds its text


class SearchPreprocessor(TextsPreprocessor):
    """Query and document alike as [CLS] text [SEP]. A batch holds `input_ids`, `attention_mask` and `token_type_ids` of the query and, where the
    examples have it, the same of the target `document` under names that begin with OF_DOCUMENT."""

    def __init__(self, inputs: Mapping[str, Feature], targets: Mapping[str, Feature], **options: Any):
        if len(inputs) != 1 or not isinstance(targets.get(DOCUMENT, Text()), Text):
            raise ConfigError(f"model: reads queries, and this dataset has {', '.join([*inputs, *targets])}")
        super().__init__(inputs, targets, **options)

    def texts(self, examples: Examples) -> Iterator[str]:
        yield from super().texts(examples)
        if DOCUMENT in examples:
            yield from as_texts(examples[DOCUMENT])

    def encode_inputs(self, examples: Examples) -> dict[str, Any]:
        encoded = super().encode_inputs(examples)
        if DOCUMENT in examples:
            columns = self.tokenizer.encode_all(as_texts(examples[DOCUMENT]))
            joined = [self.join([pieces]) for pieces in columns]
            for name, values in self.sequences(*zip(*joined)).items():
                if hasattr(values, "mask") and values.mask:
                    values.mask = OF_DOCUMENT + values.mask
                encoded[OF_DOCUMENT + name] = values
        return encoded
