"""The contract of an attention score."""

from abc import abstractmethod

import torch
from torch import Tensor

from hybridq.backends import AbstractBackend
from hybridq.errors import InvalidArgument
from hybridq.layers.circuit_module import AbstractCircuitModule
from hybridq.layers.fused.plain import repeat_heads, scaled_scores
from hybridq.layers.fused.series import FourierSeries

__all__ = ["AbstractScore"]


class AbstractScore(AbstractCircuitModule):
    """A score makes logits from queries and keys; attention takes their softmax.

    `per_pair` is the definition, and the only method that a score must have. A score that can be
    computed faster has one of two other methods, and attention then takes that route:

    - `series`, for logits s + Phi(s) of the scaled score s, where Phi is a Fourier series. A fused
      kernel computes these.
    - `features`, for logits that are dot products of features of each token. Torch's own attention
      computes these.

    A class of scores is made as `Class(num_heads, head_dim)`; its further arguments have defaults.

    Args:
        num_heads: Number of heads of the queries.
        head_dim: Size of a head.
        backend: Where the circuits run: a name, a name with options, or a backend.

    Raises:
        InvalidArgument: If a number is not a positive integer.
        UnknownName: If there is no such backend.
    """

    def __init__(
        self, num_heads: int, head_dim: int, backend: str | AbstractBackend = "statevector"
    ) -> None:
        super().__init__(backend)
        for argument, value in (("num_heads", num_heads), ("head_dim", head_dim)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidArgument.of(argument, value, "give a positive integer")
        self.num_heads = num_heads
        self.head_dim = head_dim

    @abstractmethod
    def per_pair(self, q: Tensor, k: Tensor, scale: float) -> Tensor:
        """Return the logits by one circuit for each pair of a query and a key.

        This way is slow, and every faster way is tested against it. It runs
        batch * heads * length * keys circuits.

        Args:
            q: Queries, shape (batch, heads, length, head_dim).
            k: Keys, shape (batch, key heads, keys, head_dim); each key head serves
                heads / key heads neighbouring heads.
            scale: The factor of q.k, usually 1 / sqrt(head_dim).

        Returns:
            Shape (batch, heads, length, keys), before the mask. Differentiable.
        """

    @staticmethod
    def pairs(q: Tensor, k: Tensor) -> Tensor:
        """Return every pair of a query and a key, for scores with one circuit for each pair.

        Args:
            q: As `per_pair`.
            k: As `per_pair`.

        Returns:
            Shape (batch, heads, length, keys, 2 * head_dim): the numbers of the query, then those
            of the key.
        """
        k = repeat_heads(k, q.shape[1])
        queries = q.unsqueeze(3).expand(-1, -1, -1, k.shape[2], -1)
        keys = k.unsqueeze(2).expand(-1, -1, q.shape[2], -1, -1)
        return torch.cat((queries, keys), -1)

    def series(self, scale: float) -> FourierSeries | None:
        """Return Phi, for a score whose logits are s + Phi(s) with s = scale q.k.

        Args:
            scale: The factor of q.k.

        Returns:
            Phi for each head, with coefficients of shape (num_heads, 2 D + 1); None for a score
            that is not of this form.
        """
        return None

    def features(self, q: Tensor, k: Tensor, scale: float) -> tuple[Tensor, Tensor] | None:
        """Return features of each token, for a score whose logits are their dot products.

        Args:
            q: As `per_pair`.
            k: As `per_pair`.
            scale: As `per_pair`.

        Returns:
            The features of the queries, shape (batch, heads, length, features), and those of the
            keys, shape (batch, heads or key heads, keys, features). None for a score without
            features.
        """
        return None

    def logits(self, q: Tensor, k: Tensor, scale: float) -> Tensor:
        """Return the logits by the fastest way that the score has.

        Args:
            q: As `per_pair`.
            k: As `per_pair`.
            scale: As `per_pair`.

        Returns:
            Shape (batch, heads, length, keys), before the mask. Differentiable.
        """
        features = self.features(q, k, scale)
        if features is not None:
            return scaled_scores(*features, 1.0)
        series = self.series(scale)
        if series is not None:
            scores = scaled_scores(q, k, scale)
            return scores + series(scores)
        return self.per_pair(q, k, scale)
