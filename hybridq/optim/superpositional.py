"""Superpositional Gradient Descent (SPGD): Adam with steps that a sine of the weights perturbs."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.optimizer import Optimizer, ParamsT, _use_grad_for_differentiable

from hybridq._torch import not_compiled
from hybridq.errors import CheckpointMismatch, InvalidArgument
from hybridq.optim._checks import check_flag
from hybridq.optim._parameters import check_finite, without_duplicates
from hybridq.optim._perturbations import (
    AbstractPerturbation,
    NoPerturbation,
    Perturbations,
    Place,
)
from hybridq.optim._superpositional import checkpoints
from hybridq.optim._superpositional.adam import Batch
from hybridq.optim._superpositional.diagnosis import SuperpositionalRecord, Tally
from hybridq.optim._superpositional.entries import Slot, check_masks, slots
from hybridq.optim._superpositional.options import (
    Strength,
    SuperpositionalOptions,
    check_numbers,
    check_switches,
    strength_at,
)
from hybridq.optim._superpositional.q_term import BatchKey, KeptTerm, QTerm
from hybridq.optim._superpositional.shards import local_view
from hybridq.optim._superpositional.updates import BatchUpdate

__all__ = ["SuperpositionalAdam", "SuperpositionalOptions", "SuperpositionalRecord"]


class SuperpositionalAdam(Optimizer):
    """Run Adam with steps that are perturbed by the sine of the weights (SPGD).

        theta <- theta - lr * (m_hat / (sqrt(v_hat) + eps) + lambda * Q(theta))
        Q_i    = sin(pi * theta_i) * m_hat_i / (sqrt(v_hat_i) + eps)   for the chosen entries i
        Q_i    = 0                                                     for all others

    What it can do: make the step of a weight longer or shorter, by a factor between 1 - lambda and
    1 + lambda that depends on where the weight is.

    What it cannot do: leave a stationary point, because Q is a multiple of the average gradient and
    vanishes with it. Nor does Q oscillate for small weights, where the sine is close to pi * theta.

    As printed, with `scale="raw"`, Q = sin(pi theta) * g knows nothing of Adam's scale. A weight
    climbs wherever the sine is negative and lambda * |sin| * |g| exceeds Adam's step. At lambda =
    0.5 the loss of a convex problem then grows, unless gradients are clipped (the paper clips their
    norm at 1.0). As printed, with `entries="global"`, Q touches `n_qubits` numbers of the whole
    model. For a large model no measurement can see that.

    With `strength=0`, or with `NoPerturbation()`, it is `torch.optim.AdamW` to the last bit and at
    its cost; with `decay="l2"` it is `torch.optim.Adam`. This holds for parameters in float32 and
    float64. For those in bfloat16 and float16 the moments and the update are computed in float32,
    and the moments are kept so (SPEC S18). Torch's Adam does not do that.

    How to use it:

    - An entry of a complex parameter counts as two real ones, its real part first. Each has a sine
      of its own.
    - A DTensor is perturbed in the entries in which the whole tensor would be, whatever rank they
      lie on (SPEC S8). All ranks need the same parameters in the same order.
    - A compiled step (`torch.compile`) counts as a captured one. No graph can hold a `strength`
      that is a function, noise, a circuit, `check_finite` or `diagnose`. With one of these the step
      runs as if it were not compiled.

    Args:
        params: Parameters, named parameters, or groups of them. A group can override every
            argument but `params`, and each field of `options`, under its own name. A tensor that
            is listed twice counts once.
        lr: The learning rate, in the units of the weights, at least 0. A tensor of one element is
            read at each step; it is left unread with `capturable` or `differentiable`.
        betas: The decay of the averages of the gradient and of its square, each in [0, 1).
        eps: The number that is added to the denominator, in the units of the gradient, at least 0.
        weight_decay: The weight decay, at least 0; `options.decay` says of which kind.
        strength: The paper's lambda (SPEC S10), without unit: a number of at least 0, or a function
            of the step, counted from 1. A function is not stored in a checkpoint: build the
            optimizer with it again before loading.
        options: All other switches; None is `SuperpositionalOptions.recommended()`.
        foreach: Whether to use torch's multi-tensor operations. None, as in torch, is yes if all
            parameters are on a CUDA or XPU device. Both ways give the same numbers.
        maximize: Whether to climb instead of descend.
        capturable: Whether a step can be recorded in a CUDA graph. The step counts then lie on the
            device of the parameters and are not read.
        differentiable: Whether autograd runs through the step. The parameters must then be no
            leaves.
        check_finite: Whether each step first looks for NaN and infinity in all gradients, and
            refuses them. It costs one more reading of the gradients. Without it they go where
            torch's Adam lets them go.
        diagnose: Whether each step leaves a `SuperpositionalRecord` in `diagnosis`. It costs a copy
            of the parameters.

    Raises:
        InvalidArgument: If an argument is out of range.
        InvalidArgument: If two arguments exclude each other.
        InvalidArgument: If a mask does not fit its parameter.
        UnknownName: If a group names a perturbation that does not exist.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([0.5, 0.0]))
        >>> optimizer = SuperpositionalAdam([weight], lr=0.1, strength=0.5)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> weight.data  # Where the sine is 1, the step is 1.5 times as long.
        tensor([ 0.3500, -0.1000])

    Differs from the paper: Q is normalized (S12) and touches some entries of every tensor (S6), and
    the moments are corrected for their bias (S3). `SuperpositionalOptions.literal()` undoes all of
    it. Without the correction Adam alone, at lambda = 0, reproduces the gain that the paper
    reports, so compare with that.

    Reference: arXiv 2511.01918, equations (1) and (2). A. E. Pamuk, E. K. Özdemir and Ş. T.
    Kocabay, "Superpositional Gradient Descent: Harnessing Quantum Principles for Model Training",
    2025.
    """

    diagnosis: SuperpositionalRecord | None
    """The record of the last step, if `diagnose` is set."""
    _perturbations: Perturbations
    _slots: list[list[Slot | None]] | None
    _terms: dict[BatchKey, KeptTerm]

    def __init__(  # noqa: PLR0913 - torch.optim.Adam has these arguments
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        strength: Strength = 0.5,
        options: SuperpositionalOptions | None = None,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        check_finite: bool = False,
        diagnose: bool = False,
    ) -> None:
        options = SuperpositionalOptions.recommended() if options is None else options
        if not isinstance(options, SuperpositionalOptions):
            raise InvalidArgument.of("options", options, "give a SuperpositionalOptions")
        check_flag("diagnose", diagnose)
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "strength": strength,
            "foreach": foreach,
            "maximize": maximize,
            "capturable": capturable,
            "differentiable": differentiable,
            "check_finite": check_finite,
            **options.plain(),
        }
        self._diagnose = diagnose
        self.diagnosis = None
        self._perturbations = Perturbations()
        self._perturbations.keep(options.perturbation)
        self._forget()
        check_numbers(defaults)
        check_switches(defaults, options.perturbation)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters.

        Args:
            param_group: Its "params", and the arguments and options that it overrides.

        Raises:
            InvalidArgument: As for the constructor.
            UnknownName: As for the constructor.
        """
        group = {**param_group, "params": without_duplicates(param_group["params"])}
        given = group.get("perturbation")
        if isinstance(given, AbstractPerturbation):
            self._perturbations.keep(given)
            group["perturbation"] = given.name
            group["seed"] = given.seed
        merged = {**self.defaults, **group}
        check_numbers(merged)
        perturbation = self._perturbations.of(merged)
        check_switches(merged, perturbation)
        SuperpositionalOptions.of_group(merged, perturbation)
        if merged["differentiable"] != self.defaults["differentiable"]:
            reason = "give it to the constructor, for all groups"
            raise InvalidArgument.of("differentiable", merged["differentiable"], reason)
        if merged["entries"] == "mask":
            params = [item[1] if isinstance(item, tuple) else item for item in group["params"]]
            check_masks(params, merged.get("mask"))
        super().add_param_group(group)
        self._forget()

    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Do one step.

        Args:
            closure: Evaluates the model again, with gradients, and returns the loss.

        Returns:
            The loss that `closure` returned.

        Raises:
            InvalidArgument: If a gradient is sparse. Nothing has been changed then.
            InvalidArgument: If `check_finite` is set and a gradient is not finite. Nothing has been
                changed then.
            InvalidArgument: If a `strength` that is a function returns no number of at least 0.
                Nothing has been changed then.
        """
        self._accelerator_graph_capture_health_check()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if torch.compiler.is_compiling() and not self._is_capturable():
            self._advance_uncompiled()
        else:
            self._advance()
        return loss

    def _is_capturable(self) -> bool:
        return not self._diagnose and not any(
            callable(group["strength"])
            or group["check_finite"]
            or not self._perturbations.of(group).capturable
            for group in self.param_groups
        )

    @not_compiled
    def _advance_uncompiled(self) -> None:
        self._advance()

    def _advance(self) -> None:
        """Do everything that can fail, for all groups, before the first change."""
        if any(group["check_finite"] for group in self.param_groups):
            check_finite(self.param_groups)
        updates = [
            self._prepared(batch, BatchKey(number, part))
            for number, group in enumerate(self.param_groups)
            for part, batch in enumerate(self._batches(number, group))
        ]
        tally = Tally() if self._diagnose else None
        for update in updates:
            update.apply(tally)
        self.diagnosis = None if tally is None else tally.record()

    def _init_group(
        self,
        group: Mapping[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        exp_avgs: list[Tensor],
        exp_avg_sqs: list[Tensor],
        counts: list[Tensor],
        indices: list[int],
    ) -> None:
        """Fill the lists with the tensors of the parameters that have a gradient.

        `torch.compile` calls a method of this name. It would trace one of another name.
        """
        for index, param in enumerate(group["params"]):
            grad = param.grad
            if grad is None:
                continue
            if grad.layout is not torch.strided:
                reason = "sparse gradients are not supported; build the embedding with sparse=False"
                fault = f"holds a parameter whose gradient has the layout {grad.layout}"
                raise InvalidArgument.that("params", fault, reason)
            state = self.state[param]
            if not state:
                checkpoints.start(state, param, group)
            params.append(param)
            grads.append(grad)
            exp_avgs.append(state["exp_avg"])
            exp_avg_sqs.append(state["exp_avg_sq"])
            counts.append(state["step"])
            indices.append(index)
        if self._slots is None:
            self._slots = slots(self.param_groups)

    def _batches(self, number: int, group: Mapping[str, Any]) -> list[Batch]:
        """Sort the parameters that have a gradient by device, dtype and step."""
        params: list[Tensor] = []
        grads: list[Tensor] = []
        exp_avgs: list[Tensor] = []
        exp_avg_sqs: list[Tensor] = []
        counts: list[Tensor] = []
        indices: list[int] = []
        self._init_group(group, params, grads, exp_avgs, exp_avg_sqs, counts, indices)
        captured = group["capturable"] or torch.compiler.is_compiling()
        lr = _rate(group, captured)
        foreach = _wants_foreach(group)
        batches: dict[Any, Batch] = {}
        for param, grad, exp_avg, exp_avg_sq, count, index in zip(
            params, grads, exp_avgs, exp_avg_sqs, counts, indices, strict=True
        ):
            step = None if captured else int(count.item()) + 1
            key = (param.device, param.dtype, step)
            batch = batches.get(key)
            if batch is None:
                batch = batches[key] = Batch(group, step, lr, foreach)
            batch.places.append(Place(number, index))
            batch.counts.append(count)
            if type(param) in _NATIVE and not param.is_complex():
                batch.params.append(param)
                batch.grads.append(grad)
                batch.exp_avgs.append(exp_avg)
                batch.exp_avg_sqs.append(exp_avg_sq)
            else:
                batch.params.append(local_view(param))
                batch.grads.append(local_view(grad, like=param))
                batch.exp_avgs.append(local_view(exp_avg))
                batch.exp_avg_sqs.append(local_view(exp_avg_sq))
        return list(batches.values())

    def _prepared(self, batch: Batch, key: BatchKey) -> BatchUpdate:
        """Prepare the update of a batch: its perturbed entries, their factors and the strength."""
        if batch.params[0].dtype in checkpoints.LOW:  # SPEC S18
            batch.rounded = batch.params
            batch.params = [param.float() for param in batch.params]
            batch.grads = [grad.float() for grad in batch.grads]
        # A captured step does not know its number here, and nothing that a graph holds reads it.
        step = batch.step or 0
        strength = strength_at(batch.group["strength"], step)
        perturbation = self._perturbations.of(batch.group)
        if strength == 0 or isinstance(perturbation, NoPerturbation):
            return BatchUpdate(batch)
        term = self._term(batch, key)
        # The factors are taken here, before the weight decay (SPEC S17).
        return BatchUpdate(batch, term, term.factors(batch, perturbation, step), strength)

    def _term(self, batch: Batch, key: BatchKey) -> QTerm:
        """Return the entries to perturb.

        They are those of the last step, if the tensors are still where they were.
        """
        transient = (
            bool(batch.rounded) or batch.group["differentiable"] or torch.compiler.is_compiling()
        )
        pointers = [] if transient else QTerm.pointers(batch)
        kept = self._terms.get(key)
        if kept is not None and kept.pointers == pointers:
            return kept.term
        assert self._slots is not None  # noqa: S101 - they are made with the batch
        term = QTerm(batch, [self._slots[place.group][place.tensor] for place in batch.places])
        if not transient:
            self._terms[key] = KeptTerm(pointers, term)
        return term

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values and tensors.

        A `strength` that is a function is left out.
        """
        state_dict = super().state_dict()
        for group in state_dict["param_groups"]:
            if callable(group["strength"]):
                group["strength"] = checkpoints.CALLABLE
        return state_dict

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, which may be one of `torch.optim.Adam` or `AdamW`.

        Whatever it does not say stays as it is here.

        Args:
            state_dict: A state from `state_dict`.

        Raises:
            CheckpointMismatch: If it was saved with a function for `strength`, and this optimizer
                was built without one.
            CheckpointMismatch: If it was saved with a perturbation of your own, and this optimizer
                was built without it.
            CheckpointMismatch: If its parameters have other shapes.
            ValueError: If its groups have other sizes. This error is torch's.
        """
        strengths = [group["strength"] for group in self.param_groups]
        for saved, strength in zip(state_dict["param_groups"], strengths, strict=False):
            self._check_loadable(saved, strength)
        checkpoints.check_shapes(self.param_groups, state_dict)
        super().load_state_dict(checkpoints.with_defaults(state_dict, self.param_groups))
        for group, strength in zip(self.param_groups, strengths, strict=True):
            if group["strength"] == checkpoints.CALLABLE:
                group["strength"] = strength
        checkpoints.keep_float32(self.param_groups, self.state, state_dict)

    def __getstate__(self) -> dict[str, Any]:
        names = ("_perturbations", "_diagnose", "diagnosis")
        return super().__getstate__() | {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_forms" in state:  # Pickles of earlier versions call the perturbations so.
            state = {**state, "_perturbations": state["_forms"]}
            del state["_forms"]
        super().__setstate__(state)
        for name in checkpoints.SWITCHES:
            self.defaults.setdefault(name, False)
        for group in self.param_groups:
            checkpoints.upgrade(group, self.defaults, self.state)
        self._forget()

    def _forget(self) -> None:
        """Drop all that is derived from the groups and the state, for the next step to derive."""
        self._slots = None
        self._terms = {}

    def _check_loadable(self, saved: Mapping[str, Any], strength: Strength) -> None:
        if saved.get("strength") == checkpoints.CALLABLE and not callable(strength):
            raise CheckpointMismatch(
                f"strength={strength!r}: the checkpoint was saved with a function of the step, "
                "which it does not contain; build the optimizer with that function before loading"
            )
        try:
            self._perturbations.of({"perturbation": "none", "seed": 0, **saved})
        except InvalidArgument as error:
            raise CheckpointMismatch(
                f"{error} Build the optimizer with that perturbation before loading."
            ) from error


_NATIVE = (Tensor, Parameter)


def _rate(group: Mapping[str, Any], captured: bool) -> float | Tensor:
    """Return the learning rate, as a tensor only if a graph or autograd must see it."""
    lr: float | Tensor = group["lr"]
    if not isinstance(lr, Tensor):
        return lr
    return lr.reshape(()) if captured or group["differentiable"] else lr.item()


def _wants_foreach(group: Mapping[str, Any]) -> bool:
    if torch.compiler.is_compiling() and not group["differentiable"]:
        # torch 2.13 loses what a compiled loop writes to 0-dimensional float64 tensors. Its own
        # Adam suffers, too.
        return True
    if group["foreach"] is not None:
        return bool(group["foreach"])
    return not group["differentiable"] and all(
        type(param) in _NATIVE and param.device.type in ("cuda", "xpu") for param in group["params"]
    )
