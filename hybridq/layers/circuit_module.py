"""The common part of all torch modules with circuits inside: how they say which ones they need."""

from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from hybridq.backends import AbstractBackend, resolve
from hybridq.circuits import Circuit, FourierForm
from hybridq.errors import InvalidArgument

__all__ = ["AbstractCircuitModule", "CircuitRequest"]


@dataclass(frozen=True, eq=False)
class CircuitRequest:
    """Circuits that a module needs for one forward pass.

    Their samples give the Fourier series of gate * (readout . outputs), for each set of weights.

    Args:
        circuit: A circuit with one input.
        weights: Shape (sets, *weight_shape), radians.
        readout: The weight of each output, shape (sets, n_outputs), of the dtype of `weights`.
        gate: The factor of each set, shape (sets,), of the dtype of `weights`.
    """

    circuit: Circuit
    weights: Tensor
    readout: Tensor
    gate: Tensor

    @property
    def form(self) -> FourierForm:
        """The circuit's Fourier form, which says where it is sampled."""
        return FourierForm.of(self.circuit)


class AbstractCircuitModule(nn.Module, ABC):
    """A torch module that runs circuits on a backend.

    It keeps no results: those of one forward pass come from `hybridq.layers.evaluation`, which runs
    the circuits of many modules together where it is asked to.

    Args:
        backend: Where the circuits run: a name, a name with options such as "aer:shots=4096", or a
            backend.

    Raises:
        UnknownName: If there is no such backend.
        InvalidArgument: If an option of the backend does not fit.
    """

    def __init__(self, backend: str | AbstractBackend = "statevector") -> None:
        super().__init__()
        self.backend = resolve(backend)

    def requests(self) -> Sequence[CircuitRequest] | None:
        """Return the circuits that one forward pass needs, whatever the batch and the length.

        Returns:
            The requests; an empty sequence if the module runs no circuit. None if the circuits
            depend on the data, for example one for each pair of tokens.
        """
        return None

    @property
    def n_circuits(self) -> int:
        """The number of circuits that one forward pass runs: samples times sets of weights.

        Raises:
            InvalidArgument: If the circuits depend on the data, so that there is no fixed number.
        """
        requests = self.requests()
        if requests is None:
            name = type(self).__name__
            reason = "it runs circuits for the data of each pass, so that there is no fixed number"
            raise InvalidArgument.of("n_circuits", name, reason)
        return sum(request.form.n_samples * len(request.weights) for request in requests)

    def to_backend(self, backend: str | AbstractBackend) -> "AbstractCircuitModule":
        """Run the circuits elsewhere from now on; the weights stay.

        Args:
            backend: A name, a name with options, or a backend.

        Returns:
            This module.

        Raises:
            UnknownName: If there is no such backend.
            InvalidArgument: If an option of the backend does not fit.
        """
        self.backend = resolve(backend)
        return self
