"""Recurrent layers: the cells as equations, and torch's fused kernels for the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

State = Tensor | tuple[Tensor, Tensor]  # h, or (h, c) of an LSTM, each (layers * directions, batch, hidden)
CellState = tuple[Tensor, ...]  # (h,) or (h, c), each (batch, hidden)

# One step of a cell, from x (batch, input) and a state to the new state, whose first part is the output.
# W: (gates * hidden, input), U: (gates * hidden, hidden), b and d: (gates * hidden,).


def rnn_cell(x: Tensor, state: CellState, W: Tensor, U: Tensor, b: Tensor, d: Tensor) -> CellState:
    """Elman 1990: h' = tanh(W x + b + U h + d)."""
    (h,) = state
    return (torch.tanh(x @ W.T + b + h @ U.T + d),)


def gru_cell(x: Tensor, state: CellState, W: Tensor, U: Tensor, b: Tensor, d: Tensor) -> CellState:
    """Cho et al. 2014, arXiv:1406.1078, with the reset gate after the product, as in cuDNN.

    r = sigma(W_r x + U_r h), z = sigma(W_z x + U_z h), n = tanh(W_n x + r * (U_n h)), h' = (1 - z) * n + z * h
    """
    (h,) = state
    W_r, W_z, W_n = (x @ W.T + b).chunk(3, dim=-1)
    U_r, U_z, U_n = (h @ U.T + d).chunk(3, dim=-1)
    r, z = torch.sigmoid(W_r + U_r), torch.sigmoid(W_z + U_z)
    n = torch.tanh(W_n + r * U_n)
    return ((1 - z) * n + z * h,)


def lstm_cell(x: Tensor, state: CellState, W: Tensor, U: Tensor, b: Tensor, d: Tensor) -> CellState:
    """Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000.

    i, f, o = sigma(W x + U h), g = tanh(W_g x + U_g h), c' = f * c + i * g, h' = o * tanh(c')
    """
    h, c = state
    i, f, g, o = (x @ W.T + b + h @ U.T + d).chunk(4, dim=-1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


# name -> (one step in torch, torch's layers with the fused kernel)
CELLS: dict[str, tuple[Callable[..., CellState], Callable[..., nn.RNNBase]]] = {
    "rnn": (rnn_cell, nn.RNN),
    "gru": (gru_cell, nn.GRU),
    "lstm": (lstm_cell, nn.LSTM),
}


class Recurrent(nn.Module):
    """Stacked recurrent layers with dropout between them.

    Args:
        input_size: width of the input.
        hidden_size: width of each layer and direction.
        cell: kind of the layers.
        num_layers: their number.
        dropout: between layers.
        bidirectional: a second set of layers reads every row from its end.
        forget_bias: initial bias of an LSTM's forget gates (Jozefowicz et al. 2015 recommend 1).
        fused: use torch's kernels; False runs the cells above step by step on the same weights, slower but readable.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        cell: Literal["rnn", "gru", "lstm"] = "lstm",
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
        forget_bias: float = 0.0,
        fused: bool = True,
    ):
        super().__init__()
        if cell not in CELLS:
            raise ValueError(f"cell={cell}: choose one of {', '.join(CELLS)}")
        self.cell, self.hidden_size, self.num_layers, self.fused = cell, hidden_size, num_layers, fused
        self.directions = 2 if bidirectional else 1
        self.output_size = self.directions * hidden_size
        between = dropout if num_layers > 1 else 0.0  # torch warns about dropout without a next layer
        self.layers = CELLS[cell][1](
            input_size, hidden_size, num_layers, batch_first=True, dropout=between, bidirectional=bidirectional
        )
        if cell == "lstm" and forget_bias:
            for name, bias in self.layers.named_parameters():
                if name.startswith("bias_ih"):
                    nn.init.constant_(bias[hidden_size : 2 * hidden_size], forget_bias)

    def forward(self, x: Tensor, state: State | None = None, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Runs the layers over whole rows.

        Args:
            x: (batch, length, input), padded on the right.
            state: h, or (h, c) of an LSTM, each (layers * directions, batch, hidden); None: zeros.
            lengths: of the rows, (batch,) int64; None: no row is padded.

        Returns:
            Outputs (batch, length, directions * hidden), zero after a row's end, and the state at each row's end.
        """
        if not self.fused or not len(x):  # the kernels refuse a batch without rows
            return self._step_by_step(x, state, lengths)
        if lengths is None:
            return self.layers(x, state)
        packed = pack_padded_sequence(x, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
        outputs, state = self.layers(packed, state)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
        return outputs, state

    def _step_by_step(self, x: Tensor, state: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
        step, parts = CELLS[self.cell][0], 2 if self.cell == "lstm" else 1
        if state is None:
            initial: CellState = (x.new_zeros(self.num_layers * self.directions, len(x), self.hidden_size),) * parts
        else:
            initial = state if isinstance(state, tuple) else (state,)
        valid = None if lengths is None else torch.arange(x.shape[1], device=x.device) < lengths.clamp(min=1)[:, None]
        final_states = []
        for layer in range(self.num_layers):
            outputs_by_direction = []
            for direction in range(self.directions):
                suffix = f"_l{layer}" + "_reverse" * direction
                weights = [
                    getattr(self.layers, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                ]
                current = tuple(part[layer * self.directions + direction] for part in initial)
                outputs: list[Tensor] = [x] * x.shape[1]  # each is replaced below
                for t in reversed(range(x.shape[1])) if direction else range(x.shape[1]):
                    new = step(x[:, t], current, *weights)
                    if valid is None:
                        current, outputs[t] = new, new[0]
                    else:  # past a row's end its state stays the same, and its output is zero
                        inside = valid[:, t, None]
                        current = tuple(torch.where(inside, after, before) for after, before in zip(new, current))
                        outputs[t] = torch.where(inside, new[0], 0.0)
                outputs_by_direction.append(torch.stack(outputs, dim=1))
                final_states.append(current)
            x = torch.cat(outputs_by_direction, dim=-1)
            if layer < self.num_layers - 1:
                x = nn.functional.dropout(x, self.layers.dropout, self.training)
        final = [torch.stack(part) for part in zip(*final_states)]
        return x, (final[0], final[1]) if parts == 2 else final[0]
