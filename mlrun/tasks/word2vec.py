"""word2vec (Mikolov et al. 2013): a vector for each word, from the words around it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mlrun.data.batches import Batch, Batches
from mlrun.data.module import DataModule
from mlrun.data.word_blocks import NoiseWords, WordBlocks, pair_mask
from mlrun.networks.text.word_vectors import HuffmanTree, WordTables, log_partition, logistic_loss
from mlrun.tasks.task import Loss
from mlrun.tasks.word_vectors import WordVectorTask

VALIDATION_SEED = 0  # of windows and noise words in validation, which are the same in every epoch


class Word2Vec(WordVectorTask):
    """Predicts each word of a text from the words around it, from one at a time (skip-gram) or from their mean (CBOW).

    The loss is the mean over the predictions. Training minimizes the sum over a batch, so that a learning rate is that of a single prediction,
    as in the authors' program. All pairs of words of a block are scored by one matrix product, and the noise words of a block are shared by
    its predictions: each counts as negatives / shared_negatives of one, and does not count for a prediction of that same word.

    Args:
        network: the tables.
        architecture: "skip_gram" or "cbow".
        objective: "negative_sampling": distinguishes the word from noise words (arXiv:1310.4546, equation 4); "hierarchical_softmax": the
            turns on the word's path through a Huffman tree (equation 3); "softmax": over the whole vocabulary (equation 2).
        window: words on each side at most; the number is drawn at each position.
        negatives: noise words of a prediction, k in the paper.
        shared_negatives: noise words drawn for a block.
        noise_exponent: see `NoiseWords`.
        subsample: see `kept_share`; 0: frequent words are not thinned out.
        block: words of a block.
    """

    def __init__(
        self,
        network: WordTables,
        architecture: Literal["skip_gram", "cbow"] = "skip_gram",
        objective: Literal["softmax", "negative_sampling", "hierarchical_softmax"] = "negative_sampling",
        window: int = 5,
        negatives: int = 5,
        shared_negatives: int = 32,
        noise_exponent: float = 0.75,
        subsample: float = 1e-3,
        block: int = 64,
    ):
        super().__init__(network)
        if architecture not in ("skip_gram", "cbow"):
            raise ValueError(f"architecture={architecture}: choose skip_gram or cbow")
        if objective not in ("softmax", "negative_sampling", "hierarchical_softmax"):
            raise ValueError(f"objective={objective}: choose softmax, negative_sampling or hierarchical_softmax")
        if not 1 <= window < block:
            raise ValueError(f"window={window}: must be at least 1 and less than block={block}")
        if negatives < 1 or shared_negatives < 1:
            raise ValueError(f"negatives={negatives}, shared_negatives={shared_negatives}: must be at least 1")
        self.architecture, self.objective, self.window, self.block = architecture, objective, window, block
        self.negatives, self.shared_negatives = negatives, shared_negatives
        self.noise_exponent, self.subsample = noise_exponent, subsample
        self._tree: HuffmanTree | None = None
        self._absent: Tensor | None = None

    # --- batches -----------------------------------------------------------------------------------------------------

    def train_loader(self, data: DataModule, device: torch.device, shard: tuple[int, int]) -> Batches:
        return self._blocks(data, "train", device, shard, shuffle=True, seed=data.seed)

    def loader(self, data: DataModule, part: str, device: torch.device, shard: tuple[int, int]) -> Batches | None:
        if not len(self.corpus(data, part).tokens):
            return None
        return self._blocks(data, part, device, shard, shuffle=False, seed=VALIDATION_SEED)

    def _blocks(
        self, data: DataModule, part: str, device: torch.device, shard: tuple[int, int], shuffle: bool, seed: int
    ) -> WordBlocks:
        counts = self.preprocessor.counts
        samples = self.objective == "negative_sampling"
        return WordBlocks(
            self.corpus(data, part),
            counts,
            data.batch_size,
            self.block,
            self.window,
            self.subsample,
            NoiseWords(counts, self.noise_exponent) if samples else None,
            self.shared_negatives if samples else 0,
            device,
            shuffle,
            seed,
            shard,
        )

    # --- the loss ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        loss = self.loss(batch)
        self.report("train", loss)
        return loss.value * loss.count * self.trainer.world_size  # gradients are averaged over the processes

    def loss(self, batch: Batch) -> Loss:
        """Of the blocks of a batch, see `WordBlocks`."""
        mask = pair_mask(batch["texts"], batch["reach"]).to(self.network.embedding.weight.dtype)
        inputs = self.network.embedding(batch["input_ids"])
        if self.architecture == "cbow":
            neighbours = mask.sum(2, keepdim=True)
            inputs = torch.bmm(mask / neighbours.clamp(min=1), inputs)
            mask = torch.diag_embed((neighbours > 0).squeeze(2).to(mask.dtype))  # each word from its own mean
        total = getattr(self, f"_{self.objective}")(inputs, mask, batch)
        count = mask.sum().clamp(min=1)
        return Loss(total / count, count, {"loss": total.detach()})

    # Each takes inputs (blocks, length, width), the weights of the predictions (blocks, t, j) of word t from input j, and the batch.

    def _negative_sampling(self, inputs: Tensor, mask: Tensor, batch: Batch) -> Tensor:
        ids, negatives = batch["input_ids"], batch["negatives"]
        others = (negatives[:, :, None] != ids[:, None, :]).to(mask.dtype)
        weights = torch.bmm(others, mask) * (self.negatives / self.shared_negatives)
        noise = logistic_loss(inputs, self.network.output(negatives), weights, -1.0)
        return noise + self._scored(inputs, self.network.output(ids), mask)

    def _scored(self, inputs: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
        """Sum of -log sigmoid of the scores of the predictions."""
        if self.architecture == "skip_gram":
            return logistic_loss(inputs, targets, mask)
        source, target = (tensor.flatten(0, 1).unsqueeze(1) for tensor in (inputs, targets))
        return logistic_loss(source, target, mask.diagonal(dim1=1, dim2=2).reshape(-1, 1, 1))

    def _hierarchical_softmax(self, inputs: Tensor, mask: Tensor, batch: Batch) -> Tensor:
        tree = self.tree
        ids = batch["input_ids"]
        longest = int((tree.signs[ids] != 0).sum(2).max())
        nodes, signs = (table[ids][:, :, : max(1, longest)].flatten(0, 1) for table in (tree.nodes, tree.signs))
        if self.architecture == "cbow":
            sources, weights = inputs.flatten(0, 1).unsqueeze(1), mask.diagonal(dim1=1, dim2=2).reshape(-1, 1, 1)
        else:
            reach = self.window
            sources = F.pad(inputs, (0, 0, reach, reach)).unfold(1, 2 * reach + 1, 1).flatten(0, 1).mT
            length = ids.shape[1]
            place = torch.arange(length, device=ids.device)[:, None] + torch.arange(2 * reach + 1, device=ids.device)
            weights = F.pad(mask, (reach, reach)).gather(2, place.expand(len(ids), -1, -1)).flatten(0, 1).unsqueeze(1)
        turns = (signs != 0).unsqueeze(2).to(weights.dtype)
        return logistic_loss(sources, self.network.output(nodes), weights * turns, signs.unsqueeze(2))

    def _softmax(self, inputs: Tensor, mask: Tensor, batch: Batch) -> Tensor:
        if self._absent is None or self._absent.device != inputs.device:
            self._absent = torch.from_numpy(self.preprocessor.counts == 0).to(inputs.device)
        table = self.network.output.weight
        scores = torch.bmm(F.embedding(batch["input_ids"], table), inputs.mT)
        normalizer = log_partition(inputs.flatten(0, 1), table, mask.sum(1).flatten(), self._absent)
        return normalizer - (scores * mask).sum()

    @property
    def tree(self) -> HuffmanTree:
        """Of the vocabulary."""
        if self._tree is None or self._tree.nodes.device != self.device:
            self._tree = HuffmanTree(self.preprocessor.counts).to(self.device)
        return self._tree
