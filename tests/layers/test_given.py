"""Results of circuits brought to modules: by hand, in threads, and under checkpointing."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hybridq._torch import checkpoint_frame
from hybridq.backends import resolve
from hybridq.layers import (
    AbstractScore,
    Attention,
    CircuitRequest,
    FourierSeries,
    circuits_given,
    evaluate_together,
    to_backend,
)
from hybridq.layers import given as module_under_test
from hybridq.layers.evaluation import coefficients_of
from hybridq.layers.fused.plain import scaled_scores
from hybridq.layers.given import given_to
from tests.layers._layers import SMALL, Counting, make, tokens

X = tokens(2, 3, 8)


class OwnScore(AbstractScore):
    """A score of somebody's own, with two circuits: the sum of two Phi."""

    def __init__(self, num_heads: int, head_dim: int, backend: str = "statevector") -> None:
        super().__init__(num_heads, head_dim, backend)
        self.angles = nn.Parameter(torch.randn(2, num_heads, 2, 2, 2))

    def requests(self) -> Sequence[CircuitRequest]:
        ones = self.angles.new_ones(self.num_heads)
        readout = self.angles.new_ones(self.num_heads, 2)
        return [CircuitRequest(SMALL, weights, readout, ones) for weights in self.angles]

    def series(self, scale: float) -> FourierSeries:
        first, second = coefficients_of(self)
        return FourierSeries(first + second)

    def per_pair(self, q: Tensor, k: Tensor, scale: float) -> Tensor:
        scores = scaled_scores(q, k, scale)
        phi = torch.zeros_like(scores)
        for weights in self.angles:
            for head in range(self.num_heads):
                inputs = scores[:, head].reshape(-1, 1)
                outputs = self.backend.evaluate(SMALL, inputs, weights[head]).sum(1)
                phi[:, head] += outputs.view_as(scores[:, head])
        return scores + phi


class Blocks(nn.Module):
    """Layers one after the other, each under checkpointing if it is asked for."""

    def __init__(self, *layers: nn.Module, reentrant: bool | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.reentrant = reentrant

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = x + self._block(layer, x)
        return x

    def _block(self, layer: nn.Module, x: Tensor) -> Tensor:
        def block(x: Tensor) -> Tensor:
            output: Tensor = layer(x, x, x, need_weights=False)[0]
            return output

        if self.reentrant is None:
            return block(x)
        output: Tensor = checkpoint(block, x, use_reentrant=self.reentrant)
        return output


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


def assert_same(ours: Sequence[Tensor], theirs: Sequence[Tensor], limit: float = 1e-12) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=limit, rtol=0)


def test_given_results_are_used_and_no_circuit_runs() -> None:
    layer = make(backend=Counting())
    coefficients = torch.randn(2, 9, dtype=torch.float64)
    with circuits_given({layer.score: [coefficients]}):
        torch.testing.assert_close(layer.coefficients(), coefficients, atol=0, rtol=0)
        layer(X, X, X, need_weights=False)
    assert layer.backend.calls == 0  # type: ignore[attr-defined]
    assert given_to(layer.score) is None


def test_inner_results_come_before_outer_ones() -> None:
    layer = make()
    outer = torch.full((2, 9), 1.0, dtype=torch.float64)
    inner = torch.full((2, 9), 2.0, dtype=torch.float64)
    with circuits_given({layer.score: [outer]}):
        with circuits_given({layer.score: [inner]}):
            assert layer.coefficients() is inner
        assert layer.coefficients() is outer


def test_an_error_inside_leaves_nothing_behind() -> None:
    layer = make()
    results = {layer.score: [torch.zeros(2, 9, dtype=torch.float64)]}
    with pytest.raises(KeyError), circuits_given(results):
        raise KeyError
    assert given_to(layer.score) is None


def test_a_score_of_ones_own_takes_part() -> None:
    torch.manual_seed(0)
    layers = [Attention(8, 2, batch_first=True, score=OwnScore).double() for _ in range(2)]
    model = Blocks(*layers)
    expected = model(X)
    backend = Counting()
    to_backend(model, backend)
    evaluate_together(model)
    torch.testing.assert_close(model(X), expected, atol=1e-12, rtol=0)
    assert backend.calls == 1
    assert backend.n_circuits_run == sum(layer.score.n_circuits for layer in layers) == 2 * 36


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_checkpointed_blocks_learn_the_same(together: bool, reentrant: bool) -> None:
    model = Blocks(make(seed=0), make(seed=1))
    expected = gradients(model, model(X).square().sum())
    checkpointed = Blocks(*model.layers, reentrant=reentrant)
    if together:
        evaluate_together(checkpointed)
    checkpointed.zero_grad()
    checkpointed(X).square().sum().backward()
    assert_same([p.grad for p in model.parameters() if p.grad is not None], expected)
    X.grad = None


def test_checkpointed_blocks_run_no_circuit_again() -> None:
    backend = Counting()
    model = Blocks(make(seed=0, backend=backend), make(seed=1, backend=backend), reentrant=False)
    evaluate_together(model)
    model(X).square().sum().backward()
    assert backend.calls == 1
    X.grad = None


def test_checkpointed_blocks_see_the_shots_of_their_own_pass() -> None:
    pytest.importorskip("qiskit_aer")
    model = Blocks(make(seed=0), reentrant=False)
    plain = Blocks(*model.layers)
    to_backend(model, "aer:shots=50,seed=3")
    evaluate_together(model)
    outputs = [model(X), model(X)]  # two passes, each with shots of its own, before one backward
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3
    losses = [output.square().sum() for output in outputs]
    ours = [gradients(model, loss) for loss in losses]

    to_backend(plain, resolve("aer:shots=50,seed=3"))
    evaluate_together(plain)
    theirs = [gradients(plain, plain(X).square().sum()) for _ in range(2)]
    # The gradients towards everything but the circuits carry no further shots.
    for one, other in zip(ours, theirs, strict=True):
        assert_same(one[:4], other[:4])


def test_what_a_checkpoint_needs_is_forgotten_with_its_graph() -> None:
    model = Blocks(make(), reentrant=False)
    evaluate_together(model)
    before = len(module_under_test._checkpointed)
    output = model(X)
    assert len(module_under_test._checkpointed) == before + 1
    output.sum().backward()
    del output
    X.grad = None
    assert len(module_under_test._checkpointed) == before


def test_a_checkpoint_has_one_frame_in_both_of_its_runs() -> None:
    frames = []

    def block(x: Tensor) -> Tensor:
        frames.append(checkpoint_frame())
        return x.sin().exp()

    x = torch.ones(3, requires_grad=True)
    first = checkpoint(block, x, use_reentrant=False)
    checkpoint(block, first, use_reentrant=False).sum().backward()
    assert None not in frames
    assert frames[0] is frames[3]
    assert frames[1] is frames[2]
    assert frames[0] is not frames[1]
    assert checkpoint_frame() is None
    with torch.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
        assert checkpoint_frame() is None


def test_threads_do_not_see_each_others_results() -> None:
    model = Blocks(make(seed=0), make(seed=1))
    evaluate_together(model)
    expected = gradients(model, model(X.detach()).square().sum())
    together = Barrier(2, timeout=60)

    def train() -> list[list[Tensor]]:
        steps = []
        for _ in range(20):
            together.wait()
            steps.append(gradients(model, model(X.detach()).square().sum()))
        return steps

    def validate() -> list[Tensor]:
        outputs = []
        for _ in range(20):
            together.wait()
            with torch.no_grad():
                outputs.append(model(X))
        return outputs

    with ThreadPoolExecutor(2) as threads:
        training = threads.submit(train)
        validation = threads.submit(validate)
        for step in training.result():
            assert_same(step, expected)
        for output in validation.result():
            torch.testing.assert_close(output, model(X), atol=1e-12, rtol=0)


@pytest.mark.parametrize("compiled_part", ["model", "layer"])
def test_compiled_code_uses_what_was_given(compiled_part: str) -> None:
    torch.compiler.reset()
    model = Blocks(make(seed=0), make(seed=1))
    expected = model(X).detach()
    evaluate_together(model)
    if compiled_part == "layer":
        for layer in model.layers:
            layer.compile(backend="eager")
        call = model
    else:
        call = torch.compile(model, backend="eager")
    with torch.no_grad():
        for _ in range(2):
            torch.testing.assert_close(call(X), expected, atol=1e-12, rtol=0)
    torch.compiler.reset()
