"""What a noise does to a trained model: to its accuracy, its logits, and its Phi."""

from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.shared.classifier import TextClassifier
from hybridq.backends import AbstractBackend
from hybridq.layers import Elementwise, circuit_modules, evaluate_circuits, to_backend
from hybridq.study.data import Split

__all__ = [
    "Effect",
    "ModelOutputs",
    "accuracy_of",
    "measure_effect",
    "outputs_of",
    "without_circuits",
]

_SENTENCES_AT_ONCE = 256


@dataclass(frozen=True)
class ModelOutputs:
    """What a model computes for a split.

    Args:
        logits: Shape (sentences, classes), float64.
        harmonics: The harmonics 1..D of gate * Phi of each layer, cosine and sine, shape (layers,
            2, D), float64.
    """

    logits: Tensor
    harmonics: Tensor


@dataclass(frozen=True)
class Effect:
    """What one noise, with one seed of the shots, does to a trained model.

    Args:
        accuracy: On the test sentences, with the noise.
        reclassed: The part of the sentences that get another class than without noise.
        logit_error: The rms deviation of the logits, in units of their standard deviation without
            noise.
        phi_error: The rms deviation of Phi over a period, in units of its rms without noise;
            constants are left out.
        phi_scale: What is left of Phi: the factor b with the least rms of Phi - b Phi without
            noise.
        harmonics: The same for each harmonic 1..D: its amplitude, in units of that without noise.
    """

    accuracy: float
    reclassed: float
    logit_error: float
    phi_error: float
    phi_scale: float
    harmonics: tuple[float, ...]


@torch.no_grad()
def outputs_of(model: TextClassifier, split: Split) -> ModelOutputs:
    """Compute the logits of all sentences and the harmonics of all layers.

    Args:
        model: The model, on the backend that it is asked about.
        split: The sentences.

    Returns:
        The outputs.
    """
    model.eval()
    batches = torch.split(split.ids, _SENTENCES_AT_ONCE)
    logits = torch.cat([model(ids) for ids in batches]).double()
    # The circuits have run already; their results are kept. The heads of a layer share their
    # angles, so that the first head stands for all. Its coefficients are the constant, the cosines
    # and the sines.
    coefficients = [results[0][0] for results in evaluate_circuits(circuit_modules(model))]
    harmonics = torch.stack([each[1:].reshape(2, -1) for each in coefficients])
    return ModelOutputs(logits, harmonics.double())


def measure_effect(
    model: TextClassifier, split: Split, exact: ModelOutputs, backend: AbstractBackend
) -> Effect:
    """Evaluate a model on a backend.

    By Parseval's theorem, mean squares over a period are sums of squares of the harmonics.

    Args:
        model: The trained model; it stays on the backend.
        split: The sentences to evaluate on.
        exact: The outputs without noise.
        backend: Where the circuits run.

    Returns:
        The effect of the backend's noise.
    """
    noisy = outputs_of(to_backend(model, backend), split)  # type: ignore[arg-type]
    before = exact.harmonics
    scale = (noisy.harmonics * before).sum() / before.square().sum()
    amplitudes = noisy.harmonics.square().sum((0, 1)).sqrt() / before.square().sum((0, 1)).sqrt()
    return Effect(
        **_changes(noisy.logits, split, exact),
        phi_error=float((noisy.harmonics - before).norm() / before.norm()),
        phi_scale=float(scale),
        harmonics=tuple(amplitudes.tolist()),
    )


def without_circuits(model: TextClassifier, split: Split, exact: ModelOutputs) -> dict[str, float]:
    """Measure the control: the same model with the weight on Phi set to 0.

    Args:
        model: The trained model; its weights are put back afterwards.
        split: The sentences to evaluate on.
        exact: The outputs without noise.

    Returns:
        The numbers "accuracy", "reclassed" and "logit_error", as in `Effect`.
    """
    scores = [module for module in model.modules() if isinstance(module, Elementwise)]
    gates = [score.gate.detach().clone() for score in scores]
    for score in scores:
        score.gate.data.zero_()
    control = outputs_of(model, split)
    for score, gate in zip(scores, gates, strict=True):
        score.gate.data.copy_(gate)
    return _changes(control.logits, split, exact)


def accuracy_of(logits: Tensor, labels: Tensor) -> float:
    """Return the part of the sentences whose largest logit is that of the label.

    Args:
        logits: Shape (sentences, classes).
        labels: Shape (sentences,).
    """
    return float((logits.argmax(1) == labels).double().mean())


def _changes(logits: Tensor, split: Split, exact: ModelOutputs) -> dict[str, float]:
    deviation = (logits - exact.logits).norm()
    spread = (exact.logits - exact.logits.mean(0)).norm()
    return {
        "accuracy": accuracy_of(logits, split.labels),
        "reclassed": 1 - accuracy_of(logits, exact.logits.argmax(1)),
        "logit_error": float(deviation / spread),
    }
