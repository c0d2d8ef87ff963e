"""A tiny model with quantum attention, and a loader of it."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from hybridq.circuits import Circuit, RyRzCnot
from hybridq.layers import QuantumAttention, QuantumOptions, evaluate_together
from hybridq.study.runs import RunLoader

CIRCUIT = Circuit(RyRzCnot(n_qubits=2, n_layers=1))  # degree 2: 5 circuits


@dataclass
class Examples:
    ids: Tensor
    labels: Tensor


@dataclass
class Data:
    test: Examples


class Tiny(nn.Module):
    """Two attention layers; the first has a set of angles per head."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 4)
        options = [
            QuantumOptions(CIRCUIT, angle_std=1.0, sharing=sharing)
            for sharing in ("per_head", "module")
        ]
        self.layers = nn.ModuleList(
            QuantumAttention(4, 2, batch_first=True, options=o) for o in options
        )
        self.classify = nn.Linear(4, 3)
        evaluate_together(self)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        for layer in self.layers:
            x = x + 3 * layer(x, x, x, need_weights=False)[0]
        return self.classify(x.mean(1))


def tiny(seed: int = 0) -> tuple[Tiny, Examples]:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = Tiny()
        ids = torch.randint(11, (60, 5))
        with torch.no_grad():
            for layer in model.layers:
                layer.circuit_weights.readout.normal_()
                layer.gate.uniform_(0.5, 2)
    with torch.no_grad():
        labels = model(ids).argmax(1)
    labels[::3] = (labels[::3] + 1) % 3
    return model, Examples(ids, labels)


@RunLoader
def load(path: Path) -> tuple[Tiny, Data]:
    model, examples = tiny(int((path / "seed").read_text()))
    return model, Data(examples)
