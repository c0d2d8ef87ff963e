"""Attention against `nn.MultiheadAttention`: the same call, shapes and parameters.

With the gate at 0 the numbers are the same, too.
"""

import itertools
import math
import warnings
from typing import Any

import pennylane as qml
import pytest
import torch
from torch import Tensor, nn

from hybridq.circuits import Circuit, RyRzCnot
from hybridq.errors import InvalidArgument, NonAffineAngle, UnknownName, UnsupportedEncoding
from hybridq.layers import Attention, QuantumAttention, QuantumOptions, attention
from tests.circuits._ansaetze import Queues
from tests.layers._layers import SMALL, assert_same, make, results, scatter, tokens

B = 3  # batch
S = 4  # queries
K = 5  # keys
E = 8  # size of the model
H = 2  # heads
HIDDEN_KEYS = torch.tensor(
    [
        [False, False, False, False, False],
        [False, False, True, False, True],
        [False, False, False, True, True],
    ]
)
CAUSAL = torch.ones(K, K, dtype=torch.bool).triu(1)


def floats(mask: Tensor, seed: int = 2) -> Tensor:
    """The same mask with generic numbers where a key is not hidden."""
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(mask.shape, dtype=torch.float64, generator=rng).masked_fill(mask, -math.inf)


def hidden(*shape: int) -> Tensor:
    mask = torch.rand(*shape, generator=torch.Generator().manual_seed(3)) < 0.4
    mask[..., 0] = False
    return mask


def pair(kind: str, **arguments: Any) -> tuple[nn.MultiheadAttention, Attention]:
    """Torch's attention and ours with the same parameters; the gate of the quantum one is 0."""
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(E, H, **arguments).double()
    scatter(theirs)
    ours: Attention
    if kind == "quantum":
        ours = QuantumAttention(E, H, **arguments, options=QuantumOptions(SMALL)).double()
    else:
        ours = Attention(E, H, **arguments).double()
    missing, unexpected = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert not unexpected
    assert all(name.startswith("score.") for name in missing)
    if kind == "quantum":
        with torch.no_grad():
            ours.gate.zero_()
    return theirs, ours


CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "padding": {"key_padding_mask": HIDDEN_KEYS},
    "float padding": {"key_padding_mask": floats(HIDDEN_KEYS)},
    "2-D mask": {"attn_mask": hidden(S, K)},
    "float 2-D mask": {"attn_mask": floats(hidden(S, K))},
    "3-D mask": {"attn_mask": hidden(B * H, S, K)},
    "float 3-D mask": {"attn_mask": floats(hidden(B * H, S, K))},
    "both": {"key_padding_mask": HIDDEN_KEYS, "attn_mask": hidden(S, K)},
    "both floats": {
        "key_padding_mask": floats(HIDDEN_KEYS),
        "attn_mask": floats(hidden(B * H, S, K), 5),
    },
}


@pytest.mark.parametrize("kind", ["plain", "quantum"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_cross_attention_is_torchs(call: dict[str, Any], batch_first: bool, kind: str) -> None:
    theirs, ours = pair(kind, batch_first=batch_first)
    inputs = [tokens(B, S, E), tokens(B, K, E, seed=2), tokens(B, K, E, seed=3)]
    if not batch_first:
        inputs = [x.detach().transpose(0, 1).requires_grad_() for x in inputs]
    for need_weights, average in itertools.product((True, False), repeat=2):
        options = {**call, "need_weights": need_weights, "average_attn_weights": average}
        tensors = results(ours, *inputs, **options)
        expected = results(theirs, *inputs, **options)
        assert tensors["output"].shape == inputs[0].shape
        assert ("weights" in tensors) == ("weights" in expected) == need_weights
        assert_same(tensors, expected)


@pytest.mark.parametrize("kind", ["plain", "quantum"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_self_attention_is_torchs(kind: str, batch_first: bool, bias: bool) -> None:
    theirs, ours = pair(kind, batch_first=batch_first, bias=bias)
    # With as many batches as tokens a wrong transposition would show in the numbers only.
    x = tokens(K, K, E)
    assert_same(results(ours, x, x, x), results(theirs, x, x, x))
    key = tokens(K, K, E, seed=2)
    assert_same(results(ours, x, key, key), results(theirs, x, key, key))


@pytest.mark.parametrize("kind", ["plain", "quantum"])
@pytest.mark.parametrize("need_weights", [False, True])
def test_causal_attention_is_torchs(kind: str, need_weights: bool) -> None:
    theirs, ours = pair(kind, batch_first=True)
    x = tokens(B, K, E)

    def attend(layer: nn.Module, **call: Any) -> dict[str, Tensor]:
        return results(layer, x, x, x, **call, need_weights=need_weights)

    expected = attend(theirs, attn_mask=CAUSAL, is_causal=True)
    assert_same(attend(ours, is_causal=True), expected)
    assert_same(attend(ours, attn_mask=CAUSAL), expected)
    assert_same(attend(ours, attn_mask=CAUSAL, is_causal=True), expected)
    merged = hidden(K, K) | CAUSAL
    expected = attend(theirs, attn_mask=merged)
    assert_same(attend(ours, attn_mask=hidden(K, K), is_causal=True), expected)
    expected = attend(theirs, attn_mask=floats(merged))
    assert_same(attend(ours, attn_mask=floats(hidden(K, K)), is_causal=True), expected)
    both = {"attn_mask": CAUSAL, "key_padding_mask": HIDDEN_KEYS}
    assert_same(attend(ours, **both), attend(theirs, **both))


@pytest.mark.parametrize("kind", ["plain", "quantum"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_without_a_batch_it_is_torchs(kind: str, batch_first: bool) -> None:
    theirs, ours = pair(kind, batch_first=batch_first)
    query = tokens(S, E)
    key = tokens(K, E, seed=2)
    for call in (
        {},
        {"average_attn_weights": False},
        {"key_padding_mask": HIDDEN_KEYS[1]},
        {"attn_mask": hidden(S, K)},
        {"attn_mask": hidden(H, S, K), "need_weights": False},
    ):
        tensors = results(ours, query, key, key, **call)
        expected = results(theirs, query, key, key, **call)
        assert tensors["output"].shape == (S, E)
        assert_same(tensors, expected)
        if "weights" in expected:
            assert tensors["weights"].shape == expected["weights"].shape


@pytest.mark.parametrize("kind", ["plain", "quantum"])
@pytest.mark.parametrize("need_weights", [False, True])
def test_a_token_that_sees_nothing_attends_to_nothing(kind: str, need_weights: bool) -> None:
    """As in torch without weights. A NaN there would reach every parameter.

    Such tokens appear in causal attention with padding on the left.
    """
    theirs, ours = pair(kind, batch_first=True)
    x = tokens(B, K, E)
    padding = torch.zeros(B, K, dtype=torch.bool)
    padding[1, :2] = True
    call = {"attn_mask": CAUSAL, "key_padding_mask": padding}
    tensors = results(ours, x, x, x, **call, need_weights=need_weights)
    assert_same(tensors, results(theirs, x, x, x, **call, need_weights=False))
    bias = ours.out_proj.bias.detach().expand(2, E)
    torch.testing.assert_close(tensors["output"][1, :2], bias, atol=0, rtol=0)
    if need_weights:
        assert not tensors["weights"][1, :2].any()


def test_its_checkpoint_holds_torchs() -> None:
    theirs, ours = pair("quantum")
    assert theirs.state_dict().keys() <= ours.state_dict().keys()
    without_bias = nn.MultiheadAttention(E, H, bias=False)
    assert without_bias.state_dict().keys() <= make(bias=False).state_dict().keys()


@pytest.mark.parametrize("kind", ["plain", "quantum"])
def test_dropout_acts_in_training_only(kind: str) -> None:
    theirs, ours = pair(kind, batch_first=True, dropout=0.5)
    x = tokens(B, K, E)
    assert_same(results(ours.eval(), x, x, x), results(theirs.eval(), x, x, x))
    for need_weights in (True, False):
        ours.train()
        torch.manual_seed(1)
        first, again = (ours(x, x, x, need_weights=need_weights)[0] for _ in range(2))
        torch.manual_seed(1)
        assert torch.equal(ours(x, x, x, need_weights=need_weights)[0], first)
        assert not torch.equal(first, again)


# What must not leak -------------------------------------------------------------------------------

VARIANTS: dict[str, tuple[QuantumOptions, bool]] = {
    "fused": (QuantumOptions(angle_std=1.0), False),
    "composed": (QuantumOptions(angle_std=1.0), True),
    "learned frequency": (QuantumOptions(SMALL, learn_frequency=True, angle_std=1.0), False),
    "tanh": (QuantumOptions(SMALL, argument="tanh", angle_std=1.0), False),
    "per score": (QuantumOptions(SMALL, method="per_score", angle_std=1.0), False),
}


def test_causal_attention_without_a_mask_is_that_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = make()
    x = tokens(2, 7, 8)
    hidden_keys = torch.ones(7, 7, dtype=torch.bool).triu(1)
    expected = results(layer, x, x, x, attn_mask=hidden_keys, need_weights=False)
    with monkeypatch.context() as patch:
        patch.delattr(attention, "_additive")  # no mask is made
        assert_same(results(layer, x, x, x, is_causal=True, need_weights=False), expected)
    call = {"is_causal": True, "need_weights": False}
    nothing_hidden = torch.zeros(2, 7, dtype=torch.bool)
    assert_same(results(layer, x, x, x, **call, key_padding_mask=nothing_hidden), expected)
    short = tokens(2, 3, 8)
    wide = torch.ones(7, 3, dtype=torch.bool).triu(1)
    expected = results(layer, x, short, short, attn_mask=wide, need_weights=False)
    assert_same(results(layer, x, short, short, is_causal=True, need_weights=False), expected)


@pytest.mark.parametrize(("options", "need_weights"), VARIANTS.values(), ids=VARIANTS)
def test_future_tokens_never_leak(options: QuantumOptions, need_weights: bool) -> None:
    layer = make(options=options)
    x = tokens(2, 7, 8)
    changed = x.detach().clone()
    changed[:, 4:] = 100 * torch.randn(2, 3, 8, dtype=torch.float64)
    call = {"is_causal": True, "need_weights": need_weights}
    before, after = (layer(t, t, t, **call)[0] for t in (x, changed))
    assert torch.equal(before[:, :4], after[:, :4])
    assert not torch.equal(before[:, 4:], after[:, 4:])
    (gradient,) = torch.autograd.grad(before[:, :4].sum(), x)
    assert not gradient[:, 4:].any()
    assert gradient[:, :4].any()


@pytest.mark.parametrize(("options", "need_weights"), VARIANTS.values(), ids=VARIANTS)
def test_padding_never_leaks(options: QuantumOptions, need_weights: bool) -> None:
    layer = make(options=options)
    x = tokens(2, 7, 8)
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[1, 5:] = True
    changed = x.detach().clone()
    changed[1, 5:] = 100 * torch.randn(2, 8, dtype=torch.float64)
    call = {"key_padding_mask": mask, "need_weights": need_weights}
    before, after = (layer(t, t, t, **call)[0] for t in (x, changed))
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[1, :5], after[1, :5])
    (gradient,) = torch.autograd.grad(before[1, :5].sum(), x)
    assert not gradient[1, 5:].any()
    shorter = layer(x[1:, :5], x[1:, :5], x[1:, :5], need_weights=need_weights)[0]
    torch.testing.assert_close(before[1:, :5], shorter, atol=1e-12, rtol=0)


def test_a_mask_that_learns_gets_its_gradient() -> None:
    layer = make()
    x = tokens(2, 5, 8)
    bias = torch.randn(5, 5, dtype=torch.float64, requires_grad=True)
    gradients = []
    for need_weights in (False, True):
        output, _ = layer(x, x, x, attn_mask=bias, need_weights=need_weights)
        gradients += torch.autograd.grad(output.pow(2).sum(), bias)
    assert gradients[0].any()
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=0)


def test_the_scores_pass_through_the_circuit_before_the_mask() -> None:
    """A16: a finite mask shifts logits, not the argument of the circuit."""
    layer = make()
    x = tokens(1, 4, 8)
    shift = torch.full((4, 4), 0.7, dtype=torch.float64)
    for need_weights in (False, True):
        before = layer(x, x, x, need_weights=need_weights)[0]
        after = layer(x, x, x, attn_mask=shift, need_weights=need_weights)[0]
        torch.testing.assert_close(before, after, atol=1e-12, rtol=0)


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Attention, QuantumAttention])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((10, 4), "embed_dim=10.*multiple of num_heads=4"),
        ((8, 0), "embed_dim=8.*num_heads=0"),
        ((0, 2), "embed_dim=0"),
        ((8, 2, 1.0), r"dropout=1\.0.*\[0, 1\)"),
        ((8, 2, -0.1), r"dropout=-0\.1"),
        ((8, 2, float("nan")), "dropout=nan"),
    ],
)
def test_bad_sizes_are_named(
    kind: type[Attention], arguments: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        kind(*arguments)


@pytest.mark.parametrize(
    ("shapes", "call", "message"),
    [
        (((2, 3, 6), (2, 3, 8), (2, 3, 8)), {}, r"query=\(2, 3, 6\).*embed_dim=8"),
        (((2, 3, 8), (3, 8), (3, 8)), {}, r"key=\(3, 8\)"),
        (((2, 3, 4, 8), (2, 3, 4, 8), (2, 3, 4, 8)), {}, "query="),
        (((2, 3, 8), (2, 4, 8), (2, 5, 8)), {}, r"value=\(2, 5, 8\).*\(2, 4, 8\)"),
        (((2, 3, 8),) * 3, {"attn_mask": torch.zeros(3, 4)}, r"attn_mask=\(3, 4\)"),
        (
            ((2, 3, 8),) * 3,
            {"attn_mask": torch.zeros(2, 3, 3)},
            r"attn_mask=.*batch \* heads.*\(4, 3, 3\)",
        ),
        (
            ((2, 3, 8),) * 3,
            {"key_padding_mask": torch.zeros(3, 2)},
            r"key_padding_mask=\(3, 2\).*\(2, 3\)",
        ),
        (
            ((2, 3, 8),) * 3,
            {"key_padding_mask": torch.ones(2, 3, dtype=torch.int64)},
            r"mask\.dtype.*True to hide",
        ),
        (
            ((2, 3, 8),) * 3,
            {"attn_mask": torch.ones(3, 3, dtype=torch.uint8)},
            r"mask\.dtype.*True to hide",
        ),
    ],
)
def test_bad_calls_are_named(
    shapes: tuple[tuple[int, ...], ...], call: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        make()(*(tokens(*shape) for shape in shapes), **call)


def test_a_batch_of_queries_and_keys_must_match() -> None:
    with pytest.raises(InvalidArgument, match=r"key=\(3, 3, 8\).*batch"):
        make()(tokens(2, 3, 8), tokens(3, 3, 8), tokens(3, 3, 8))
    with pytest.raises(InvalidArgument, match="batch"):
        make(batch_first=False)(tokens(3, 2, 8), tokens(3, 3, 8), tokens(3, 3, 8))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"argument": "cosine"}, "argument='cosine': choose one of 'scaled', 'raw', 'tanh'"),
        ({"sharing": "layer"}, "sharing='layer'"),
        ({"method": "exact"}, "method='exact'"),
        ({"angle_std": -1.0}, r"angle_std=-1\.0"),
        ({"angle_std": math.nan}, "angle_std=nan.*finite"),
        ({"angle_std": math.inf}, "angle_std=inf"),
        ({"gate": math.nan}, "gate=nan.*finite"),
        ({"gate": "one"}, "gate='one'"),
        ({"circuit": RyRzCnot()}, r"circuit=RyRzCnot.*Circuit\(RyRzCnot"),
        ({"circuit": "ry_rz_cnot"}, r"circuit='ry_rz_cnot'.*Circuit\("),
    ],
)
def test_bad_options_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        QuantumOptions(**fields)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x.double(), r"query\.dtype=torch\.float64: the weights are torch\.float32"),
        (lambda x: x.long(), r"query\.dtype=torch\.int64"),
        (lambda x: x.numpy(), r"query='ndarray': give a torch\.Tensor"),
    ],
)
def test_another_dtype_is_refused_by_name(wrong: Any, message: str) -> None:
    x = wrong(torch.zeros(2, 3, 8))
    with pytest.raises(InvalidArgument, match=message):
        QuantumAttention(8, 2, batch_first=True)(x, x, x)


def test_options_of_another_type_are_refused() -> None:
    for options in ({}, {"gate": 0.0}, SMALL):
        with pytest.raises(InvalidArgument, match=r"options=.*QuantumOptions\("):
            QuantumAttention(8, 2, options=options)  # type: ignore[arg-type]


def test_frequencies_without_a_fourier_form_are_refused_with_the_way_out() -> None:
    circuit = Circuit(RyRzCnot(n_qubits=2, frequencies=(1, 1.5)))
    with pytest.raises(UnsupportedEncoding, match="method='per_score'"):
        QuantumOptions(circuit)
    with pytest.raises(InvalidArgument, match=r"method='per_score'.*every score"):
        _ = QuantumAttention(8, 2, options=QuantumOptions(circuit, method="per_score")).n_circuits


def _not_affine(inputs: Any, weights: Any) -> None:
    qml.RY(inputs[..., 0] * weights[..., 0], wires=0)


def test_an_angle_that_is_not_affine_is_evaluated_by_the_score() -> None:
    circuit = Circuit(Queues(_not_affine))
    with pytest.raises(NonAffineAngle):
        QuantumOptions(circuit)
    options = QuantumOptions(circuit, method="per_score", angle_std=1.0)
    layer = make(options=options, backend="default.qubit")
    assert layer.circuit_weights.angles.shape == (2, 3)
    x = tokens(1, 2, E)
    weights = layer.circuit_weights.weights()
    gate = layer.gate * layer.circuit_weights.readout[:, 0]
    q, k = (torch.randn(1, 2, 2, E // 2, dtype=torch.float64) for _ in range(2))
    scores = q @ k.mT
    expected = gate[:, None, None] * torch.cos(scores * weights[:, 0, None, None])
    logits = layer.score.per_pair(q, k, scale=1.0)
    torch.testing.assert_close(logits - scores, expected, atol=1e-10, rtol=0)
    layer(x, x, x)[0].sum().backward()
    assert layer.circuit_weights.angles.grad is not None


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'statevector'"):
        QuantumAttention(8, 2, backend="statevectr")
    with pytest.raises(UnknownName, match="Did you mean 'aer'"):
        make().to_backend("aerr")


def test_good_layers_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        QuantumAttention(8, 2)
        QuantumAttention(8, 2, options=QuantumOptions.literal(encoding="every_layer"))
