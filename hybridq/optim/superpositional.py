"""Superpositional Gradient Descent: Adam, and a sine of the weights that stretches or shortens its steps."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim.optimizer import Optimizer, ParamsT, _use_grad_for_differentiable

from hybridq._torch import not_compiled
from hybridq.errors import CheckpointMismatch, InvalidArgument
from hybridq.optim._parameters import check_finite, once
from hybridq.optim._perturbations import AbstractPerturbation, Forms, NoPerturbation, Place
from hybridq.optim._superpositional import checkpoints
from hybridq.optim._superpositional.adam import Batch, adam_update, decayed_gradients
from hybridq.optim._superpositional.diagnosis import SuperpositionalRecord, Tally
from hybridq.optim._superpositional.entries import Slot, check_masks, slots
from hybridq.optim._superpositional.options import (
    Strength,
    SuperpositionalOptions,
    check_numbers,
    check_switches,
    strength_at,
)
from hybridq.optim._superpositional.q_term import QTerm
from hybridq.optim._superpositional.shards import plain

__all__ = ["SuperpositionalAdam", "SuperpositionalOptions", "SuperpositionalRecord"]


class SuperpositionalAdam(Optimizer):
    r"""Adam whose step is perturbed by the sine of the weights (SPGD).

        theta <- theta - lr * (m_hat / (sqrt(v_hat) + eps) + lambda * Q(theta))
        Q_i    = sin(pi * theta_i) * m_hat_i / (sqrt(v_hat_i) + eps)   for the chosen entries i, else 0

    What Q can do: make the step of a weight longer or shorter, by a factor between 1 - lambda and 1
    + lambda that depends on where the weight is. What it cannot: leave a stationary point, for Q is
    a multiple of the average gradient and vanishes with it. Nor does it oscillate for small
    weights, where the sine is close to pi * theta.

    With `scale="raw"`, as printed, Q = sin(pi theta) * g knows nothing of Adam's scale. A weight
    climbs wherever the sine is negative and lambda * |sin| * |g| exceeds Adam's step, so the loss
    of a convex problem grows at lambda = 0.5 unless gradients are clipped (the paper clips their
    norm at 1.0). With `entries="global"`, as printed, Q touches `n_qubits` numbers of the whole
    model, which no measurement of a large one can see.

    With `strength=0`, or `NoPerturbation()`, it is `torch.optim.AdamW` (or `Adam`, with
    `decay="l2"`) to the last bit and at its cost, for parameters in float32 and float64. Those in
    bfloat16 and float16 have their moments and their update computed and kept in float32 (SPEC
    S18), which torch's Adam does not. An entry of a complex parameter is two real ones, its real
    part first, each with a sine of its own. A DTensor is perturbed in the entries that the whole
    tensor would be, whatever rank they lie on (SPEC S8), as long as all ranks have the same
    parameters in the same order.

    A compiled step (`torch.compile`) counts as a captured one; what no graph can hold (a `strength`
    that is a function, noise, a circuit, `check_finite`, `diagnose`) makes it run as if it were not
    compiled.

    Args:
        params: Parameters, named parameters, or groups of them. A group can override every argument
            but `params`, and each field of `options`, under its own name. A tensor that is listed
            twice counts once.
        lr: Learning rate. A tensor of one element is read at each step, or left unread if
            `capturable` or `differentiable`.
        betas: Decay of the averages of the gradient and of its square, each in [0, 1).
        eps: Added to the denominator.
        weight_decay: Weight decay; `options.decay` says which kind.
        strength: The paper's lambda (SPEC S10): a number, at least 0, or a function of the step,
            counted from 1. A function is not stored in a checkpoint: build the optimizer with it
            again before loading.
        options: All other choices; None is `SuperpositionalOptions.recommended()`.
        foreach: Whether to use torch's multi-tensor operations. None, as in torch, is yes if all
            parameters are on a CUDA or XPU device. Both ways give the same numbers.
        maximize: Climb instead of descend.
        capturable: Whether a step can be recorded in a CUDA graph: step counts lie on the
            parameters' device, unread.
        differentiable: Whether autograd runs through the step. The parameters must then be no
            leaves.
        check_finite: Whether each step first looks for NaN and infinity in all gradients, at the
            cost of reading them once more, and refuses them. If not, they go where torch's Adam
            lets them go.
        diagnose: Whether each step leaves a `SuperpositionalRecord` in `diagnosis`, at the cost of
            a copy of the parameters.

    Raises:
        InvalidArgument: If an argument is out of range, two of them exclude each other, or a mask
            does not fit.
        UnknownName: If a group names a perturbation that does not exist.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([0.5, 0.0]))
        >>> optimizer = SuperpositionalAdam([weight], lr=0.1, strength=0.5)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> weight.data  # where the sine is 1, the step is 1.5 times as long
        tensor([ 0.3500, -0.1000])

    Differs from the paper: in all that `SuperpositionalOptions.literal()` undoes: Q is normalized
    (S12) and touches some entries of every tensor (S6), and the moments are corrected for their
    bias (S3). Without that correction Adam alone, at lambda = 0, reproduces the gain that the paper
    reports, so compare with that.

    Reference: arXiv 2511.01918, equations (1) and (2).
    """

    diagnosis: SuperpositionalRecord | None
    """What the last step did, if `diagnose` is set."""
    _forms: Forms
    _slots: list[list[Slot | None]] | None
    _terms: dict[tuple[int, int], tuple[list[list[int]], QTerm]]

    def __init__(  # noqa: PLR0913 - those of torch.optim.Adam
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
        if not isinstance(diagnose, bool):
            raise InvalidArgument.of("diagnose", diagnose, "give True or False")
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
        self._diagnose, self.diagnosis = diagnose, None
        self._forms = Forms()
        self._forms.keep(options.perturbation)
        self._forget()
        check_numbers(defaults)
        check_switches(defaults, options.perturbation)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters.

        Args:
            param_group: Its "params", and what it overrides.

        Raises:
            InvalidArgument: As for the constructor.
            UnknownName: As for the constructor.
        """
        group = {**param_group, "params": once(param_group["params"])}
        if isinstance(group.get("perturbation"), AbstractPerturbation):
            self._forms.keep(group["perturbation"])
            group |= {
                "seed": group["perturbation"].seed,
                "perturbation": group["perturbation"].name,
            }
        merged = {**self.defaults, **group}
        check_numbers(merged)
        check_switches(merged, self._forms.of(merged))
        SuperpositionalOptions.of_group(merged, self._forms.of(merged))
        if merged["differentiable"] != self.defaults["differentiable"]:
            raise InvalidArgument.of(
                "differentiable",
                merged["differentiable"],
                "give it to the constructor, for all groups",
            )
        if merged["entries"] == "mask":
            check_masks(
                [item[1] if isinstance(item, tuple) else item for item in group["params"]],
                merged.get("mask"),
            )
        super().add_param_group(group)
        self._forget()

    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Do one step.

        Args:
            closure: Evaluates the model again, with gradients, and returns the loss.

        Returns:
            What `closure` returned.

        Raises:
            InvalidArgument: If a gradient is sparse, or is not finite and `check_finite` is set, or
                a `strength` that is a function returns no number of at least 0. Nothing has been
                changed then.
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
            or not self._forms.of(group).capturable
            for group in self.param_groups
        )

    @not_compiled
    def _advance_uncompiled(self) -> None:
        self._advance()

    def _advance(self) -> None:
        """Change nothing before everything that can fail has been done for all groups."""
        if any(group["check_finite"] for group in self.param_groups):
            check_finite(self.param_groups)
        prepared = [
            (batch, *self._perturbed(batch, (number, part)))
            for number, group in enumerate(self.param_groups)
            for part, batch in enumerate(self._batches(number, group))
        ]
        tally = Tally() if self._diagnose else None
        for batch, term, factors, strength in prepared:
            self._update(batch, term, factors, strength, tally)
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
        """Fill the lists. `torch.compile` calls a method of this name where it would trace another."""
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
        lists: tuple[list[Any], ...] = ([], [], [], [], [], [])
        self._init_group(group, *lists)
        captured = group["capturable"] or torch.compiler.is_compiling()
        lr, foreach = _rate(group, captured), _wants_foreach(group)
        batches: dict[Any, Batch] = {}
        for param, grad, exp_avg, exp_avg_sq, count, index in zip(*lists, strict=True):
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
                batch.params.append(plain(param))
                batch.grads.append(plain(grad, like=param))
                batch.exp_avgs.append(plain(exp_avg))
                batch.exp_avg_sqs.append(plain(exp_avg_sq))
        return list(batches.values())

    def _perturbed(
        self, batch: Batch, key: tuple[int, int]
    ) -> tuple[QTerm | None, list[Tensor], float]:
        """The entries of a batch to perturb, their factors and the strength; None where this is Adam."""
        if batch.params[0].dtype in checkpoints.LOW:  # SPEC S18
            batch.rounded = batch.params
            batch.params = [param.float() for param in batch.params]
            batch.grads = [grad.float() for grad in batch.grads]
        step = batch.step or 0  # 0 where it is not read: neither is it there
        strength, form = strength_at(batch.group["strength"], step), self._forms.of(batch.group)
        if strength == 0 or isinstance(form, NoPerturbation):
            return None, [], 0.0
        term = self._term(batch, key)
        return term, term.factors(batch, form, step), strength  # SPEC S17: before the weight decay

    def _term(self, batch: Batch, key: tuple[int, int]) -> QTerm:
        """The entries to perturb; those of the last step, if the tensors are still where they were."""
        kept = self._terms.get(key)
        passing = (
            bool(batch.rounded) or batch.group["differentiable"] or torch.compiler.is_compiling()
        )
        where = [] if passing else QTerm.pointers(batch)
        if kept is not None and kept[0] == where:
            return kept[1]
        assert self._slots is not None  # noqa: S101 - made with the batch
        term = QTerm(batch, [self._slots[place.group][place.tensor] for place in batch.places])
        if not passing:
            self._terms[key] = where, term
        return term

    def _update(
        self,
        batch: Batch,
        term: QTerm | None,
        factors: list[Tensor],
        strength: float,
        tally: Tally | None,
    ) -> None:
        if tally is not None:
            tally.begin(batch, factors)
        decayed_gradients(batch)
        feeds = term is not None and batch.group["acts_on"] == "moments"
        if term is not None and feeds:
            alone = [] if tally is None else term.gradients(batch)
            added = term.feed(batch, factors, strength)
        adam_update(batch)
        if term is not None and not feeds:
            alone = [] if tally is None else term.steps(batch)
            added = term.deltas(batch, factors, strength)
            term.add_(batch, added)
        if tally is not None:
            if term is not None:
                tally.compare(alone, added)
            tally.end(batch)
        for rounded, param in zip(batch.rounded, batch.params, strict=False):
            rounded.copy_(param)

    def state_dict(self) -> dict[str, Any]:
        """Return the state: plain values and tensors only. A `strength` that is a function is left out."""
        state_dict = super().state_dict()
        for group in state_dict["param_groups"]:
            if callable(group["strength"]):
                group["strength"] = checkpoints.CALLABLE
        return state_dict

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; one of `torch.optim.Adam` or `AdamW` will do, and what it does not say stays as it is here.

        Args:
            state_dict: What `state_dict` returned.

        Raises:
            CheckpointMismatch: If it was saved with a function for `strength`, or a perturbation of
                your own, and this optimizer was built without; or if it is of parameters of other
                shapes.
            ValueError: If its groups are not of the same sizes, from torch.
        """
        own = [group["strength"] for group in self.param_groups]
        for saved, strength in zip(state_dict["param_groups"], own, strict=False):
            self._check_loadable(saved, strength)
        checkpoints.check_shapes(self.param_groups, state_dict)
        super().load_state_dict(checkpoints.completed(state_dict, self.param_groups))
        for group, strength in zip(self.param_groups, own, strict=True):
            if group["strength"] == checkpoints.CALLABLE:
                group["strength"] = strength
        checkpoints.keep_float32(self.param_groups, self.state, state_dict)

    def __getstate__(self) -> dict[str, Any]:
        kept = {"_forms": self._forms, "_diagnose": self._diagnose, "diagnosis": self.diagnosis}
        return super().__getstate__() | kept

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for name in checkpoints.SWITCHES:
            self.defaults.setdefault(name, False)
        for group in self.param_groups:
            checkpoints.upgrade(group, self.defaults, self.state)
        self._forget()

    def _forget(self) -> None:
        """Drop what is derived from the groups and the state; the next step derives it anew."""
        self._slots = None
        self._terms = {}

    def _check_loadable(self, saved: Mapping[str, Any], strength: Strength) -> None:
        if saved.get("strength") == checkpoints.CALLABLE and not callable(strength):
            raise CheckpointMismatch(
                f"strength={strength!r}: the checkpoint was saved with a function of the step, which it does not contain; "
                "build the optimizer with that function before loading"
            )
        try:
            self._forms.of({"perturbation": "none", "seed": 0, **saved})
        except InvalidArgument as error:
            raise CheckpointMismatch(
                f"{error} Build the optimizer with that perturbation before loading."
            ) from error


_NATIVE = (Tensor, Parameter)


def _rate(group: Mapping[str, Any], captured: bool) -> float | Tensor:
    """The learning rate, read from its tensor unless a graph or autograd is to see that."""
    lr: float | Tensor = group["lr"]
    if not isinstance(lr, Tensor):
        return lr
    return lr.reshape(()) if captured or group["differentiable"] else lr.item()


def _wants_foreach(group: Mapping[str, Any]) -> bool:
    if torch.compiler.is_compiling() and not group["differentiable"]:
        # torch 2.13 loses what a compiled loop writes to 0-dimensional float64 tensors; its own
        # Adam suffers too.
        return True
    if group["foreach"] is not None:
        return bool(group["foreach"])
    return not group["differentiable"] and all(
        type(param) in _NATIVE and param.device.type in ("cuda", "xpu") for param in group["params"]
    )
