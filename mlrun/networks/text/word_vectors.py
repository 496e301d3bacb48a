"""Word vectors: the two tables of word2vec and GloVe, the Huffman tree, and losses that compute their gradients in the forward pass."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 2**22  # scores of a softmax over the vocabulary that are held at once


class WordTables(nn.Module):
    """A vector for each word as input, `embedding`, and one for each word (or inner node of a tree) as output, `output`.

    Inputs are uniform in +-0.5 / width at first and outputs zero, as in the authors' program.

    Args:
        vocab_size: words.
        width: of the vectors.
        sparse: gradients with the rows of a batch only, which suit optim=adagrad, sgd and sparse_adam.
        bias: whether each vector has a bias, as in GloVe.
        symmetric: outputs begin like inputs, and a word's vector is the sum of both, as in GloVe.
    """

    def __init__(
        self, vocab_size: int, width: int = 100, sparse: bool = True, bias: bool = False, symmetric: bool = False
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width, sparse=sparse)
        self.output = nn.Embedding(vocab_size, width, sparse=sparse)
        nn.init.uniform_(self.embedding.weight, -0.5 / width, 0.5 / width)
        if symmetric:
            nn.init.uniform_(self.output.weight, -0.5 / width, 0.5 / width)
        else:
            nn.init.zeros_(self.output.weight)
        if bias:
            self.input_bias = nn.Embedding(vocab_size, 1, sparse=sparse)
            self.output_bias = nn.Embedding(vocab_size, 1, sparse=sparse)
            nn.init.zeros_(self.input_bias.weight)
            nn.init.zeros_(self.output_bias.weight)

        self.symmetric = symmetric

    def vectors(self) -> Tensor:
        """(vocabulary, width), a vector for each word."""
        return self.embedding.weight + self.output.weight if self.symmetric else self.embedding.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The mean vector of the words of each text: (batch, length) -> (batch, width); zero for a text without words."""
        vectors = self.embedding(input_ids) + self.output(input_ids) if self.symmetric else self.embedding(input_ids)
        present = attention_mask.unsqueeze(-1).to(vectors.dtype)
        return (vectors * present).sum(1) / present.sum(1).clamp(min=1)


class HuffmanTree:
    """The prefix code in which frequent words have short paths (Morin and Bengio 2005; Mikolov et al. 2013, arXiv:1301.3781, section 3).

    nodes: (vocabulary, longest path) int64, the inner nodes from the root to each word, padded with 0. signs: the same shape, float32: 1 where
    the path turns left, -1 where it turns right, 0 where it has ended. A word without occurrences has no path.

    Args:
        counts: (vocabulary,) frequencies.
    """

    def __init__(self, counts: np.ndarray):
        words = np.flatnonzero(counts)
        heap = [(int(counts[word]), at) for at, word in enumerate(words)]
        heapq.heapify(heap)
        children: list[tuple[int, int]] = []  # of the inner nodes; a number below len(words) is a word
        while len(heap) > 1:
            (first, left), (second, right) = heapq.heappop(heap), heapq.heappop(heap)
            heapq.heappush(heap, (first + second, len(words) + len(children)))
            children.append((left, right))
        paths: dict[int, tuple[list[int], list[float]]] = {len(words) + len(children) - 1: ([], [])}
        for node in range(len(children) - 1, -1, -1):  # a node is made after its children
            nodes, signs = paths.pop(len(words) + node)
            for child, sign in zip(children[node], (1.0, -1.0)):
                paths[child] = ([*nodes, node], [*signs, sign])
        longest = max((len(nodes) for nodes, _ in paths.values()), default=0)
        shape = (len(counts), longest)
        all_nodes, all_signs = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        for at, word in enumerate(words):
            length = len(paths[at][0])
            all_nodes[word, :length], all_signs[word, :length] = paths[at]
        self.nodes, self.signs = torch.from_numpy(all_nodes), torch.from_numpy(all_signs)

    def to(self, device: torch.device) -> HuffmanTree:
        """Moves the tables to a device."""
        self.nodes, self.signs = self.nodes.to(device), self.signs.to(device)
        return self


class LogisticLoss(torch.autograd.Function):
    """Sum of weights * -log sigmoid(signs * scores) with scores = targets @ inputs^T, for each of a batch of matrices.

    Half as long as autograd takes for the same: one product of the gradient of the scores with each side, nothing else is kept.

    Shapes: inputs (batch, j, width), targets (batch, t, width), weights and signs broadcast to (batch, t, j).
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, targets: Tensor, weights: Tensor, signs: Tensor | float) -> Tensor:
        scores = torch.bmm(targets, inputs.mT)
        if not isinstance(signs, float) or signs != 1.0:
            scores = scores.mul_(signs)
        loss = -(F.logsigmoid(scores) * weights).sum()
        gradient = scores.neg_().sigmoid_().mul_(weights).mul_(signs).neg_()
        ctx.save_for_backward(inputs, targets, gradient)
        return loss

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, Tensor, None, None]:
        inputs, targets, gradient = ctx.saved_tensors
        gradient = gradient * outer[0]
        return torch.bmm(gradient.mT, targets), torch.bmm(gradient, inputs), None, None


def logistic_loss(inputs: Tensor, targets: Tensor, weights: Tensor, signs: Tensor | float = 1.0) -> Tensor:
    """See `LogisticLoss`."""
    return LogisticLoss.apply(inputs, targets, weights, signs)


class LogPartition(torch.autograd.Function):
    """Sum over rows of weights * log sum_w exp(inputs . table_w): the normalizer of a softmax over the vocabulary.

    The scores are made and used chunk by chunk, so that (rows, vocabulary) numbers are never in memory at once.

    Shapes: inputs (rows, width), table (vocabulary, width), weights (rows,), `absent` (vocabulary,) bool: words that cannot occur.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, table: Tensor, weights: Tensor, absent: Tensor) -> Tensor:
        total = inputs.new_zeros(())
        of_inputs, of_table = torch.empty_like(inputs), torch.zeros_like(table)
        size = max(1, CHUNK // len(table))
        for start in range(0, len(inputs), size):
            rows = slice(start, start + size)
            scores = (inputs[rows] @ table.T).masked_fill_(absent, -torch.inf)
            total += (torch.logsumexp(scores, 1) * weights[rows]).sum()
            shares = scores.softmax(1).mul_(weights[rows, None])
            of_inputs[rows] = shares @ table
            of_table.addmm_(shares.T, inputs[rows])
        ctx.save_for_backward(of_inputs, of_table)
        return total

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor, Tensor, None, None]:
        of_inputs, of_table = ctx.saved_tensors
        return of_inputs * outer[0], of_table * outer[0], None, None


def log_partition(inputs: Tensor, table: Tensor, weights: Tensor, absent: Tensor) -> Tensor:
    """See `LogPartition`."""
    return LogPartition.apply(inputs, table, weights, absent)
