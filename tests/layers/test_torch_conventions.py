"""What torch users do with a module: compile, copy, save, cast, nest."""

import copy
import io
import math
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hybridq.circuits import Circuit, RealAmplitudes, RyRzCnot
from hybridq.layers import (
    Attention,
    QuantumAttention,
    QuantumOptions,
    evaluate_together,
    fourier_attention,
)
from tests.layers._layers import SMALL, assert_same, make, results, tokens

X = tokens(2, 5, 8)


class Block(nn.Module):
    """A small model around the layer."""

    def __init__(self, layer: Attention) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.before = nn.Linear(8, 8).double()
        self.layer = layer
        self.after = nn.Linear(8, 3).double()

    def forward(self, x: Tensor, need_weights: bool = False) -> tuple[Tensor, None]:
        x = self.before(x)
        attended = self.layer(x, x, x, need_weights=need_weights, is_causal=True)[0]
        return self.after(x + attended), None


def without_prefix(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that they have before the model is compiled."""
    return {name.removeprefix("_orig_mod."): tensor for name, tensor in tensors.items()}


@pytest.fixture
def dynamo() -> Any:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("dynamo")
# Dynamo itself warns where the graph breaks.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_compiled_it_is_the_same(together: bool, need_weights: bool) -> None:
    model = Block(make())
    if together:
        evaluate_together(model)
    expected = results(model, X, need_weights=need_weights)
    compiled = torch.compile(model, backend="aot_eager")
    for _ in range(2):
        ours = results(compiled, X, need_weights=need_weights)
        assert_same(without_prefix(ours), expected, 1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("dynamo")
def test_compiled_by_inductor_it_is_the_same() -> None:
    model = Block(make())
    expected = results(model, X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # inductor's own
        ours = results(torch.compile(model), X)
    assert_same(without_prefix(ours), expected, 1e-12)


@pytest.mark.usefixtures("dynamo")
def test_the_operators_compile_without_a_break() -> None:
    q, k, v = (tokens(2, 2, 5, 4, seed=i) for i in range(3))
    c = tokens(2, 17, seed=3)

    def loss(q: Tensor, k: Tensor, v: Tensor, c: Tensor) -> Tensor:
        return fourier_attention(q.tanh(), k, v, c, scale=0.5).pow(2).sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    compiled_gradients = torch.autograd.grad(compiled(q, k, v, c), (q, k, v, c))
    gradients = torch.autograd.grad(loss(q, k, v, c), (q, k, v, c))
    for ours, theirs in zip(compiled_gradients, gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    "clone",
    [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))],  # noqa: S301 - of ours
    ids=["deepcopy", "pickle"],
)
@pytest.mark.parametrize("backend", ["statevector", "default.qubit"])
def test_a_used_layer_can_be_copied(clone: Any, backend: str) -> None:
    layer = make(backend=backend).eval()
    expected = results(layer, X, X, X)
    with torch.no_grad():
        layer(X, X, X)  # fills the cache
    twin = clone(layer)
    with torch.no_grad():
        layer.circuit_weights.angles.add_(1.0)
        layer.out_proj.bias.add_(1.0)
    assert_same(results(twin, X, X, X), expected, 1e-12)


def test_state_dicts_are_plain_tensors() -> None:
    trained = make(seed=1, options=QuantumOptions(SMALL, learn_frequency=True))
    file = io.BytesIO()
    torch.save(trained.state_dict(), file)
    file.seek(0)
    loaded = make(seed=2, options=QuantumOptions(SMALL, learn_frequency=True))
    assert loaded.load_state_dict(torch.load(file, weights_only=True)) == ([], [])
    assert_same(results(loaded, X, X, X), results(trained, X, X, X), 0.0)


def test_a_checkpoint_of_another_circuit_is_refused() -> None:
    other = make(options=QuantumOptions(Circuit(RyRzCnot(n_qubits=3))))
    with pytest.raises(RuntimeError, match=r"size mismatch for score\.circuit_weights\.angles"):
        make().load_state_dict(other.state_dict())


def test_it_can_change_its_dtype_back_and_forth() -> None:
    layer = make()
    exact = results(layer, X, X, X)
    layer.float()
    x = X.detach().float().requires_grad_()
    for need_weights in (False, True):
        output = layer(x, x, x, need_weights=need_weights)[0]
        assert output.dtype == torch.float32
        # 8 features, 9 coefficients, 5 keys and 8 features again, of size below 5: a few hundred
        # roundings
        torch.testing.assert_close(output.double(), exact["output"], atol=500 * 2.0**-24, rtol=0)
    layer.double()
    assert layer(X, X, X)[0].dtype == torch.float64


def _error(output: Tensor, exact: Tensor) -> float:
    return (output.double() - exact).abs().max().item()


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("how", ["cast", "autocast"])
@pytest.mark.parametrize(
    "options",
    [QuantumOptions(), QuantumOptions(argument="tanh", learn_frequency=True)],
    ids=["fused", "composed"],
)
def test_half_precision_costs_no_more_than_in_plain_attention(
    options: QuantumOptions, how: str, dtype: torch.dtype, need_weights: bool
) -> None:
    quantum = make(options=options)
    plain = Attention(8, 2, batch_first=True).double()
    plain.load_state_dict(quantum.state_dict(), strict=False)
    errors = []
    for layer in (quantum, plain):
        exact = layer(X, X, X, need_weights=need_weights)[0]
        layer.to(dtype if how == "cast" else torch.float32)
        x = X.detach().to(dtype if how == "cast" else torch.float32).requires_grad_()
        with torch.autocast("cpu", dtype, enabled=how == "autocast"):
            output = layer(x, x, x, need_weights=need_weights)[0]
        assert output.dtype == dtype
        output.float().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
        errors.append(_error(output.detach(), exact.detach()))
    # The scores are rounded, and Phi has slopes of at most 9 times theirs.
    assert errors[0] < 9 * max(errors[1], torch.finfo(dtype).eps)


def test_it_works_inside_torchs_own_encoder_layer() -> None:
    """Its fast path, in evaluation mode, would compute plain attention from our parameters."""
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).double()
    encoder.self_attn = make()
    padding = torch.zeros(2, 5, dtype=torch.bool)
    padding[0, 3:] = True
    trained = encoder.train()(X, src_key_padding_mask=padding)
    with torch.no_grad():
        evaluated = encoder.eval()(X, src_key_padding_mask=padding)
        torch.testing.assert_close(evaluated, trained.detach(), atol=1e-12, rtol=0)
        encoder.self_attn.gate.zero_()
        assert (encoder(X, src_key_padding_mask=padding) - trained).abs().max() > 1e-3


class Checkpointed(nn.Module):
    """Computes its layer again in the backward pass."""

    def __init__(self, layer: QuantumAttention, *, use_reentrant: bool) -> None:
        super().__init__()
        self.layer = layer
        self.use_reentrant = use_reentrant

    def forward(self, x: Tensor) -> Tensor:
        def block(x: Tensor) -> Tensor:
            output: Tensor = self.layer(x, x, x, need_weights=False)[0]
            return output

        output: Tensor = checkpoint(block, x, use_reentrant=self.use_reentrant)
        return output


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing(together: bool, use_reentrant: bool) -> None:
    model = Checkpointed(make(dropout=0.3), use_reentrant=use_reentrant)
    gradients = []
    for function in (lambda x: model.layer(x, x, x, need_weights=False)[0], model):
        if function is model and together:
            evaluate_together(model)
        torch.manual_seed(0)
        model.zero_grad()
        function(X).pow(2).sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    X.grad = None
    assert len(gradients[0]) == len(gradients[1]) == 7
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain, atol=1e-12, rtol=0)


@pytest.mark.parametrize("options", ["recommended", "literal"])
def test_a_first_use_in_inference_mode_leaves_training_possible(options: str) -> None:
    literal = QuantumOptions.literal(encoding="every_layer")
    layer = make(options=QuantumOptions() if options == "recommended" else literal)
    with torch.inference_mode():
        expected = layer(X, X, X, need_weights=False)[0].clone()
    output = results(layer, X, X, X, need_weights=False)["output"]
    torch.testing.assert_close(output, expected, atol=1e-14, rtol=0)


def test_parameters_have_the_seed_of_torch() -> None:
    layers = []
    for _ in range(2):
        torch.manual_seed(5)
        layers.append(QuantumAttention(8, 2).state_dict())
    assert all(torch.equal(layers[0][name], layers[1][name]) for name in layers[0])


def test_its_text_names_the_circuit() -> None:
    assert "RyRzCnot(n_qubits=2, n_layers=2" in repr(make())
    assert "n_sets=2" in repr(make())


@pytest.mark.gpu
@pytest.mark.parametrize("need_weights", [False, True])
def test_a_gpu_agrees_with_the_cpu(need_weights: bool) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    options = QuantumOptions(Circuit(RyRzCnot(), RealAmplitudes()))
    layer = make(options=options).eval()
    expected = results(layer, X, X, X, need_weights=need_weights)
    with torch.no_grad():
        layer(X, X, X)  # a cache on the CPU
        layer.cuda()
        layer(X.cuda(), X.cuda(), X.cuda())
    x = X.detach().cuda().requires_grad_()
    ours = results(layer, x, x, x, need_weights=need_weights)
    assert_same({name: t.cpu() for name, t in ours.items()}, expected)
    assert math.isfinite(ours["output"].sum().item())


def test_its_checkpoint_has_the_keys_that_it_always_had() -> None:
    layer = make(options=QuantumOptions(SMALL, learn_frequency=True))
    of_torch = {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"}
    angles = {"circuit_weights.angles", "circuit_weights.frozen", "circuit_weights.readout"}
    state = layer.state_dict()
    assert set(state) == of_torch | angles | {"gate", "frequency"}
    nested = nn.ModuleDict({"block": Block(layer)}).state_dict()
    assert {"block.layer.gate", "block.layer.circuit_weights.angles"} <= set(nested)


@pytest.mark.parametrize("prefix", ["", "score."])
def test_checkpoints_load_by_the_names_of_the_layer_and_of_its_score(prefix: str) -> None:
    trained, loaded = make(seed=1), make(seed=2)
    of_score = set(trained.score.state_dict())
    state = {prefix * (key in of_score) + key: value for key, value in trained.state_dict().items()}
    loaded.load_state_dict(state)
    assert_same(results(loaded, X, X, X), results(trained, X, X, X), 0.0)
    with pytest.raises(RuntimeError, match=r"[Uu]nexpected.*gates"):
        loaded.load_state_dict(state | {"gates": torch.zeros(2)})
