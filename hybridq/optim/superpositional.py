"""Superpositional Gradient Descent: Adam, and a sine of the weights that stretches or shortens its steps."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer, ParamsT

from hybridq.errors import CheckpointMismatch, InvalidArgument
from hybridq.optim._adam import Batch, adam_update, decayed_gradients
from hybridq.optim._entries import Slot, check_masks, slots
from hybridq.optim._options import Strength, SuperpositionalOptions, check_numbers, strength_at
from hybridq.optim._perturbations import KNOWN, AbstractPerturbation, NoPerturbation, Place, perturbation
from hybridq.optim._q_term import QTerm

__all__ = ["SuperpositionalAdam", "SuperpositionalOptions"]

_CALLABLE = "callable"  # what a checkpoint holds in place of a strength that is a function
_LOW = (torch.bfloat16, torch.float16)


class SuperpositionalAdam(Optimizer):
    r"""Adam whose step is perturbed by the sine of the weights (SPGD).

        theta <- theta - lr * (m_hat / (sqrt(v_hat) + eps) + lambda * Q(theta))
        Q_i    = sin(pi * theta_i) * m_hat_i / (sqrt(v_hat_i) + eps)   for the chosen entries i, else 0

    What Q can do: make the step of a weight longer or shorter, by a factor between 1 - lambda and 1 + lambda that depends on
    where the weight is. What it cannot: leave a stationary point, for Q is a multiple of the average gradient and vanishes
    with it. Nor does it oscillate for small weights, where the sine is close to pi * theta.

    With `scale="raw"`, as printed, Q = sin(pi theta) * g knows nothing of Adam's scale. A weight climbs wherever the sine
    is negative and lambda * |sin| * |g| exceeds Adam's step, so the loss of a convex problem grows at lambda = 0.5 unless
    gradients are clipped (the paper clips their norm at 1.0). With `entries="global"`, as printed, Q touches `n_qubits`
    numbers of the whole model, which no measurement of a large one can see.

    With `strength=0`, or `NoPerturbation()`, it is `torch.optim.AdamW` (or `Adam`, with `decay="l2"`) to the last bit and at
    its cost, for parameters in float32 and float64. Those in bfloat16 and float16 have their moments and their update
    computed and kept in float32 (SPEC S18), which torch's Adam does not.

    Args:
        params: Parameters, named parameters, or groups of them. A group can override every argument but `params`, and each
            field of `options`, under its own name. A tensor that is listed twice counts once.
        lr: Learning rate. A tensor of one element is read at each step.
        betas: Decay of the averages of the gradient and of its square, each in [0, 1).
        eps: Added to the denominator.
        weight_decay: Weight decay; `options.decay` says which kind.
        strength: The paper's lambda (SPEC S10): a number, at least 0, or a function of the step, counted from 1. A function
            is not stored in a checkpoint: build the optimizer with it again before loading.
        options: All other choices; None is `SuperpositionalOptions.recommended()`.
        foreach: Whether to use torch's multi-tensor operations. None, as in torch, is yes if all parameters are on a CUDA or
            XPU device. Both ways give the same numbers.

    Raises:
        InvalidArgument: If an argument is out of range, a mask does not fit, or a parameter is complex.
        UnknownName: If a group names a perturbation that does not exist.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([0.5, 0.0]))
        >>> optimizer = SuperpositionalAdam([weight], lr=0.1, strength=0.5)
        >>> weight.sum().backward()
        >>> optimizer.step()
        >>> weight.data  # where the sine is 1, the step is 1.5 times as long
        tensor([ 0.3500, -0.1000])

    Differs from the paper: in all that `SuperpositionalOptions.literal()` undoes: Q is normalized (S12) and touches some
    entries of every tensor (S6), and the moments are corrected for their bias (S3). Without that correction Adam alone, at
    lambda = 0, reproduces the gain that the paper reports, so compare with that.

    Reference: arXiv 2511.01918, equations (1) and (2).
    """

    _own_perturbations: dict[str, AbstractPerturbation]
    _slots: list[list[Slot | None]] | None
    _terms: dict[tuple[int, int], QTerm]

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        strength: Strength = 0.5,
        options: SuperpositionalOptions | None = None,
        foreach: bool | None = None,
    ) -> None:
        options = SuperpositionalOptions.recommended() if options is None else options
        if not isinstance(options, SuperpositionalOptions):
            raise InvalidArgument.of("options", options, "give a SuperpositionalOptions")
        self._own_perturbations = {}
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "strength": strength,
            "foreach": foreach,
            **options.plain(),
        }
        check_numbers(defaults)
        self._keep(options.perturbation)
        self._forget()
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters.

        Args:
            param_group: Its "params", and what it overrides.

        Raises:
            InvalidArgument: As for the constructor.
            UnknownName: As for the constructor.
        """
        group = dict(param_group)
        if isinstance(group["params"], Tensor):
            group["params"] = [group["params"]]
        elif not isinstance(group["params"], set):  # which torch refuses
            group["params"] = _once(list(group["params"]))
        if isinstance(group.get("perturbation"), AbstractPerturbation):
            self._keep(group["perturbation"])
            group |= {"seed": group["perturbation"].seed, "perturbation": group["perturbation"].name}
        merged = {**self.defaults, **group}
        check_numbers(merged)
        SuperpositionalOptions.of_group(merged, self._perturbation(merged))
        tensors = [item[1] if isinstance(item, tuple) else item for item in group["params"]]
        for tensor in tensors:
            if isinstance(tensor, Tensor) and tensor.is_complex():
                reason = "complex parameters are not supported; optimize torch.view_as_real of them"
                raise InvalidArgument.of("params", tensor.dtype, reason)
        if merged["entries"] == "mask":
            check_masks(tensors, merged.get("mask"))
        super().add_param_group(group)
        self._forget()

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Do one step.

        Args:
            closure: Evaluates the model again, with gradients, and returns the loss.

        Returns:
            What `closure` returned.

        Raises:
            InvalidArgument: If a gradient is sparse, or a `strength` that is a function returns no number of at least 0.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for number, group in enumerate(self.param_groups):
                for part, batch in enumerate(self._batches(number, group)):
                    self._update(batch, group, (number, part))
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the state: plain values and tensors only. A `strength` that is a function is left out."""
        state_dict = super().state_dict()
        for group in state_dict["param_groups"]:
            if callable(group["strength"]):
                group["strength"] = _CALLABLE
        return state_dict

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state; one of `torch.optim.Adam` or `AdamW` will do, and what it does not say stays as it is here.

        Args:
            state_dict: What `state_dict` returned.

        Raises:
            CheckpointMismatch: If it was saved with a function for `strength`, or a perturbation of your own, and this
                optimizer was built without; or if it is of parameters of other shapes.
            ValueError: If its groups are not of the same sizes, from torch.
        """
        own = [group["strength"] for group in self.param_groups]
        for saved, strength in zip(state_dict["param_groups"], own, strict=False):
            self._check_loadable(saved, strength)
        for number, param, saved in self._saved(state_dict):
            if "exp_avg" in saved and saved["exp_avg"].shape != param.shape:
                shapes = f"{tuple(saved['exp_avg'].shape)}, here {tuple(param.shape)}"
                raise CheckpointMismatch(f"parameter {number} has the shape {shapes}; load a checkpoint of the same model")
        super().load_state_dict(state_dict)
        for group, strength in zip(self.param_groups, own, strict=True):
            if group["strength"] == _CALLABLE:
                group["strength"] = strength
        for _, param, saved in self._saved(state_dict):
            for name in ("exp_avg", "exp_avg_sq"):
                if name in saved and param.dtype in _LOW:  # SPEC S18: torch has rounded them to the parameter's dtype
                    self.state[param][name] = saved[name].to(param.device, torch.float32, copy=True)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"_own_perturbations": self._own_perturbations}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._forget()
        for group in self.param_groups:  # of an older version, or of another Adam
            if "decoupled_weight_decay" in group:
                group.setdefault("decay", "decoupled" if group["decoupled_weight_decay"] else "l2")
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def _batches(self, number: int, group: dict[str, Any]) -> list[Batch]:
        """Sort the parameters that have a gradient by device, dtype and step."""
        foreach = _wants_foreach(group)
        batches: dict[Any, Batch] = {}
        for index, param in enumerate(group["params"]):
            grad = param.grad
            if grad is None:
                continue
            state = self.state[param]
            if not state:
                _start(state, param)
            if grad.layout is not torch.strided:
                reason = "sparse gradients are not supported; build the embedding with sparse=False"
                raise InvalidArgument.of("params", f"a gradient with layout {grad.layout}", reason)
            step = int(state["step"].item()) + 1
            key = (param.device, param.dtype, step)
            batch = batches.get(key)
            if batch is None:
                batch = batches[key] = Batch(step, foreach)
            batch.places.append(Place(number, index))
            batch.params.append(param)
            batch.grads.append(grad)
            batch.exp_avgs.append(state["exp_avg"])
            batch.exp_avg_sqs.append(state["exp_avg_sq"])
            batch.counts.append(state["step"])
        return list(batches.values())

    def _update(self, batch: Batch, group: dict[str, Any], key: tuple[int, int]) -> None:
        params, low = batch.params, batch.params[0].dtype in _LOW
        if low:  # SPEC S18
            batch.params = [param.float() for param in batch.params]
            batch.grads = [grad.float() for grad in batch.grads]
        strength, form = strength_at(group["strength"], batch.step), self._perturbation(group)
        if strength == 0 or isinstance(form, NoPerturbation):
            decayed_gradients(batch, group)
            adam_update(batch, group)
        else:
            term = self._term(batch, None if low else key)
            factors = term.factors(batch, form)  # SPEC S17: before the weight decay
            decayed_gradients(batch, group)
            if group["acts_on"] == "moments":
                term.feed(batch, factors, strength)
                adam_update(batch, group)
            else:
                adam_update(batch, group)
                term.apply(batch, factors, group, strength)
        if low:
            torch._foreach_copy_(params, batch.params)

    def _term(self, batch: Batch, key: tuple[int, int] | None) -> QTerm:
        """The entries to perturb; with a key those of the last step, if the tensors are still where they were."""
        term = self._terms.get(key) if key is not None else None
        if term is None or not term.fits(batch):
            if self._slots is None:
                self._slots = slots(self.param_groups)
            term = QTerm(batch, [self._slots[place.group][place.tensor] for place in batch.places])
            if key is not None:
                self._terms[key] = term
        return term

    def _forget(self) -> None:
        """Drop what is derived from the groups and the state; the next step derives it anew."""
        self._slots = None
        self._terms = {}

    def _keep(self, form: AbstractPerturbation) -> None:
        """Remember a perturbation of the user's own: the groups hold its name only."""
        if form.name in KNOWN:
            held = perturbation(form.name, form.seed)
        else:
            held = self._own_perturbations.setdefault(form.name, form)
        if held != form:
            reason = f"the name {form.name!r} belongs to {held!r}; give this one another"
            raise InvalidArgument.of("perturbation", form, reason)

    def _perturbation(self, group: Mapping[str, Any]) -> AbstractPerturbation:
        own = self._own_perturbations.get(group["perturbation"])
        return perturbation(group["perturbation"], group["seed"]) if own is None else own

    def _check_loadable(self, saved: Mapping[str, Any], strength: Strength) -> None:
        if saved.get("strength") == _CALLABLE and not callable(strength):
            raise CheckpointMismatch(
                f"strength={strength!r}: the checkpoint was saved with a function of the step, which it does not contain; "
                "build the optimizer with that function before loading"
            )
        try:
            self._perturbation({"perturbation": "none", "seed": 0, **saved})
        except InvalidArgument as error:
            raise CheckpointMismatch(f"{error} Build the optimizer with that perturbation before loading.") from error

    def _saved(self, state_dict: Mapping[str, Any]) -> Iterator[tuple[int, Tensor, Mapping[str, Any]]]:
        """Number, parameter and saved state of each parameter."""
        params = [param for group in self.param_groups for param in group["params"]]
        numbers = [number for group in state_dict["param_groups"] for number in group["params"]]
        for number, param in zip(numbers, params, strict=False):
            yield number, param, state_dict["state"].get(number, {})


def _start(state: dict[str, Any], param: Tensor) -> None:
    dtype = torch.float32 if param.dtype in _LOW else param.dtype
    state["step"] = torch.tensor(0.0, dtype=torch.float32)
    state["exp_avg"] = torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format)
    state["exp_avg_sq"] = torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format)


def _wants_foreach(group: Mapping[str, Any]) -> bool:
    if group["foreach"] is not None:
        return bool(group["foreach"])
    native = (Tensor, torch.nn.Parameter)
    return all(type(param) in native and param.device.type in ("cuda", "xpu") for param in group["params"])


def _once(items: list[Any]) -> list[Any]:
    """Drop what is listed twice (SPEC S9); torch would step it twice."""
    seen: set[int] = set()
    kept = []
    for item in items:
        mark = id(item[1]) if isinstance(item, tuple) else id(item)
        if mark not in seen:
            seen.add(mark)
            kept.append(item)
    return kept
