"""`QuantumAttention`: attention with the elementwise score, under the names of its checkpoints."""

from functools import partial
from typing import Any

from torch import Tensor, nn

from hybridq.backends import AbstractBackend
from hybridq.layers.attention import Attention
from hybridq.layers.circuit_weights import CircuitWeights
from hybridq.layers.options import QuantumOptions
from hybridq.layers.scores.elementwise import Elementwise

__all__ = ["QuantumAttention"]

_PREFIX = "score."
_OF_THE_SCORE = ("backend", "circuit_weights", "frequency", "gate", "options")


class QuantumAttention(Attention):
    """Attention whose scores pass through a quantum circuit: softmax(s + gate * Phi(s) + mask) v.

    This is `Attention(..., score=Elementwise(...))`. It adds nothing but this constructor, short
    names for the parts of the score, and the keys of checkpoints: "gate" and
    "circuit_weights.angles" instead of "score.gate" and "score.circuit_weights.angles".
    Checkpoints with either kind of keys load.

    Phi is the readout of a circuit with the score s as its input. The Fourier form of Phi makes
    this practical: a circuit of 4 qubits and 2 layers runs 17 times for each set of angles and each
    step, whatever the batch and the length.

    Args:
        embed_dim: Size of the model, a multiple of `num_heads`.
        num_heads: Number of heads.
        dropout: Probability of dropping an attention weight while training.
        bias: Whether the projections have biases.
        batch_first: Whether tensors are (batch, length, embed_dim) instead of
            (length, batch, embed_dim).
        options: The circuit and how it enters; by default `QuantumOptions.recommended()`.
        backend: Where the circuits run: a name, a name with options such as "aer:shots=4096", or a
            backend.

    Raises:
        InvalidArgument: If an argument does not fit.
        UnknownName: If there is no such backend.

    Warns:
        QuantumNoOpWarning: If Phi does not depend on the score, so that softmax cancels it
            (SPEC A24).

    Example:
        >>> import torch
        >>> layer = QuantumAttention(8, 2, batch_first=True)
        >>> x = torch.randn(3, 5, 8)
        >>> output, _ = layer(x, x, x, need_weights=False)
        >>> output.shape, layer.n_circuits
        (torch.Size([3, 5, 8]), 34)

    Differs from the paper: as printed, equation (5) does not contain the score and the layer does
        nothing (SPEC A3); `QuantumOptions.literal()` is that reading.

    Reference: "Superpositional Gradient Descent: Harnessing Quantum Principles for Model Training",
        arXiv 2511.01918, equations (3) to (5).
    """

    score: Elementwise

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        options: QuantumOptions | None = None,
        backend: str | AbstractBackend = "statevector",
    ) -> None:
        score = partial(Elementwise, options=options, backend=backend)
        super().__init__(embed_dim, num_heads, dropout, bias, batch_first, score)
        self.register_state_dict_post_hook(_shorten_keys)  # type: ignore[no-untyped-call]

    @property
    def options(self) -> QuantumOptions:
        """The options: the circuit and how it enters."""
        return self.score.options

    @property
    def backend(self) -> AbstractBackend:
        """The backend, where the circuits run; `to_backend` changes it."""
        return self.score.backend

    @property
    def circuit_weights(self) -> CircuitWeights:
        """The angles and the readout of the circuits."""
        return self.score.circuit_weights

    @property
    def gate(self) -> nn.Parameter:
        """The factor of Phi, shape (sets,)."""
        return self.score.gate

    @property
    def frequency(self) -> nn.Parameter | None:
        """The common factor of the circuits' input, shape (); None if it is not learned."""
        return self.score.frequency

    @property
    def circuit_parameters(self) -> tuple[Tensor, Tensor, Tensor]:
        """The angles (sets, live angles), readouts (sets, outputs) and gates (sets,) that learn."""
        return self.circuit_weights.angles, self.circuit_weights.readout, self.gate

    @property
    def n_circuits(self) -> int:
        """The number of circuits that one forward pass runs: samples times sets of angles.

        Raises:
            InvalidArgument: If the method is "per_score", which runs one circuit for every score.
        """
        return self.score.n_circuits

    def to_backend(self, backend: str | AbstractBackend) -> "QuantumAttention":
        """Run the circuits elsewhere from now on; the weights stay.

        Args:
            backend: A name or a backend.

        Returns:
            This module.

        Raises:
            UnknownName: If there is no such backend.
            InvalidArgument: If an option of the backend does not fit.
        """
        self.score.to_backend(backend)
        return self

    def coefficients(self) -> Tensor:
        """Return the Fourier coefficients of gate * Phi for each head.

        It runs `n_circuits` circuits; see `Elementwise.coefficients`.

        Returns:
            Shape (num_heads, 2 D + 1).
        """
        return self.score.coefficients()

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OF_THE_SCORE:
            setattr(self.score, name, value)
        else:
            super().__setattr__(name, value)


def _shorten_keys(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, metadata: dict[str, Any]
) -> None:
    """Shorten the keys of `state_dict()`: "gate" for "score.gate", and so on."""
    long = prefix + _PREFIX
    for key in [key for key in state_dict if key.startswith(long)]:
        state_dict[prefix + key.removeprefix(long)] = state_dict.pop(key)
