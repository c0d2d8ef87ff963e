"""SGD with Quantum Tunneling: any optimizer, and a random jump of the weights every few epochs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import Optimizer

from hybridq._torch import not_compiled
from hybridq.errors import CheckpointMismatch, InvalidArgument
from hybridq.optim._parameters import check_finite
from hybridq.optim._tunneling.jumps import copies, displace, put_back, reset
from hybridq.optim._tunneling.options import TunnelingOptions, check_count, check_strength
from hybridq.optim._tunneling.schedule import Clock
from hybridq.seeding import derive

__all__ = ["QuantumTunneling", "TunnelingOptions", "TunnelingRecord"]

_PREFIX = "tunneling_"
_PER_GROUP = ("strength", "noise", "size", "tensors")
_SHARED_HOOKS = (
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)


@dataclass(frozen=True)
class TunnelingRecord:
    """What the last call of `step`, `epoch_end` or `jump` did.

    Args:
        step: How many steps there have been.
        epoch: How many epochs have ended.
        jumps: How many jumps there have been.
        jumped: Whether this call jumped.
        trigger: What made it jump: "interval", "plateau" or "call"; None if it did not.
        norm: The length of the jump, over all tensors that jumped; 0 without one.
        relative: That length over theirs before the jump, the ratio of the root mean squares; 0
            without one.
        reverted: Whether this call took a jump back.
    """

    step: int
    epoch: int
    jumps: int
    jumped: bool = False
    trigger: str | None = None
    norm: float = 0.0
    relative: float = 0.0
    reverted: bool = False


class QuantumTunneling(Optimizer):
    r"""A wrapper around any optimizer that throws the weights to a random place nearby every few epochs (SGD-QT).

        after every `interval`-th epoch:   theta <- theta + strength * rms(theta) * N(0, 1)   for each weight matrix,
                                           and the optimizer under it starts with an empty state

    Between jumps it is the base optimizer, to the last bit: it shares its groups and its state, so
    that schedulers, `GradScaler` and checkpoints see what they know. Call `epoch_end` when an epoch
    is over, after evaluating and saving the model (SPEC T10).

    What it can do: leave a narrow minimum, as a restart with noise does. What it cannot: know where
    a better one is. A jump is blind to the loss, so it destroys progress, the more the larger
    `strength` is, and what follows has to earn it back. Nothing tunnels in it: the barrier does not
    matter, only the distance. As printed, 0.1 for every number of the model, it moves the weights
    of a fresh ResNet-18 by 3.8 times their root mean square, which is a new start rather than a
    jump, and it hits normalization layers and biases as well. So compare a run with the same one
    without jumps (`strength=0`, `reset="keep"`), with the reset alone (`strength=0`) and with the
    noise alone (`reset="keep"`) (SPEC T22).

    The noise is a pure function of `seed`, the number of the jump and the tensor's place in its
    group, kept as plain numbers in `param_groups`, so that a resumed run and every rank draw the
    same (SPEC T13, T14). Parameters may be shards (FSDP2): all ranks have to call `epoch_end`, with
    the same metric, and a jump gathers them one at a time. Tied weights jump once (T16). Batch-norm
    statistics are of the weights before: `recalibrate_batch_norm` measures them anew, before the
    model is evaluated (T9).

    Hooks of its own steps run once a step; torch's global ones twice, for the base's step is one
    too.

    What a library puts around it, such as what accelerate's `prepare` returns, has no `epoch_end`:
    keep this one to call it. Save before `epoch_end` with torch.distributed.checkpoint, which
    cannot load the empty state after a jump. A step under `torch.compile` is compiled anew after a
    jump that clears the state, until it reaches `torch._dynamo.config.recompile_limit` and goes on
    uncompiled; a CUDA graph has to be captured anew.

    Args:
        base: The optimizer. Step, save, load and add groups through the wrapper from now on.
        interval: Epochs, or steps, from one jump to the next; with a plateau, epochs without a
            better metric.
        strength: Standard deviation of the noise: in units of the tensor's root mean square, or
            absolute, as `options.size` says. A group of `base` can override it under the name
            "tunneling_strength", and likewise "tunneling_noise", "tunneling_size" and
            "tunneling_tensors".
        options: All other choices; None is `TunnelingOptions.recommended()`.
        total: How many epochs, or steps, there will be: no jump after the last one (SPEC T2). None:
            it is not known, and what jumps last is up to you; with epochs, do not call `epoch_end`
            after the last.
        seed: The source of the noise.
        diagnose: Whether to keep a `TunnelingRecord` of each call in `diagnosis`. It waits for the
            GPU at each jump.

    Raises:
        InvalidArgument: If an argument is out of range, `base` is no optimizer or is wrapped
            already, or jumps would come before the verdict of `revert_after`.

    Example:
        >>> layer = torch.nn.Linear(2, 1)
        >>> optimizer = QuantumTunneling(torch.optim.Adam(layer.parameters()), interval=5, strength=0.1, total=20)
        >>> [epoch for epoch in range(1, 21) if optimizer.epoch_end()]
        [5, 10, 15]

    Differs from the paper: in all that `TunnelingOptions.literal()` undoes: the noise is relative
    to each tensor (T5), only matrices jump (T6), and there is no jump after the last epoch (T2),
    which would return a model that was just destroyed.

    Reference: the SGD-QT paper, section 2.2 and algorithm 1.
    """

    trial_options: ClassVar[Mapping[str, Any]] = {
        "interval": 3,
        "strength": 0.001,
        "options": TunnelingOptions(unit="step", tensors="all"),
    }
    """The arguments with which the contract's tests make one: some of a few steps have a jump."""

    base: Optimizer
    diagnosis: TunnelingRecord | None
    _clock: Clock
    _diagnose: bool

    def __init__(
        self,
        base: Optimizer,
        interval: int,
        strength: float,
        options: TunnelingOptions | None = None,
        *,
        total: int | None = None,
        seed: int = 0,
        diagnose: bool = False,
    ) -> None:
        options = TunnelingOptions.recommended() if options is None else options
        _check(base, interval, options, total, seed)
        settings = asdict(options) | {"base": type(base).__name__, "strength": strength}
        settings |= {"interval": interval, "total": total, "seed": seed}
        additions = [_with_settings(group, settings) for group in base.param_groups]
        for group, addition in zip(base.param_groups, additions, strict=True):
            group.update(addition)
        # Not Optimizer.__init__, which would make groups and a state of its own: here both are the
        # base's.
        self.__setstate__(
            {"base": base, "_clock": Clock(), "_diagnose": diagnose, "diagnosis": None}
        )
        self._write_clock()
        self._keep(self.param_groups)

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The groups of the base optimizer."""
        return self.base.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """The state of the base optimizer."""
        return self.base.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """The defaults of the base optimizer."""
        return self.base.defaults

    @property
    def options(self) -> TunnelingOptions:
        """The switches, as the first group has them."""
        return TunnelingOptions.of_group(self.param_groups[0], _PREFIX)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Do one step of the base optimizer, and jump after it if it is time and steps are what counts.

        Args:
            closure: Evaluates the model again, with gradients, and returns the loss.

        Returns:
            What the base optimizer returned.

        Raises:
            InvalidArgument: If `options.check_finite` is set and a gradient is not finite. Nothing
                has been changed then.
        """
        if self._setting("check_finite"):
            closure = self._checked(closure)
        loss = self.base.step(closure)
        if self._diagnose or self._setting("unit") == "step":
            self._count_step()
        return loss

    def epoch_end(self, metric: float | None = None) -> bool:
        """Say that an epoch is over, after evaluating and saving the model: jump, or take the last jump back, if it is time.

        Args:
            metric: The loss of the weights as they are, or with `mode="max"` something to be large;
                the same number on every rank. Only a plateau and `revert_after` use it. Any number
                is better than NaN.

        Returns:
            Whether the weights were changed, by a jump or by taking one back.

        Raises:
            InvalidArgument: If `metric` is needed and not given.
        """
        options, clock = self.options, self._clock
        score = math.inf
        if options.trigger == "plateau" or options.revert_after is not None:
            score = _score(metric, options.mode)
        what = clock.end_epoch(score, options, self._setting("interval"), self._setting("total"))
        self._record()
        if what == "jump":
            if options.revert_after is not None:
                clock.start_trial(score)
                self._keep(self.param_groups)
            self._jump(options.trigger)
        elif what == "revert":
            self._revert()
        return what is not None

    def jump(self) -> None:
        """Jump now. It counts as a jump of its own and leaves the schedule as it is; `revert_after` does not apply to it."""
        self._jump("call")

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients, as the base optimizer does.

        Args:
            set_to_none: Whether to set them to None rather than to zero.
        """
        self.base.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters to the base optimizer.

        Args:
            param_group: Its "params", and what it overrides.

        Raises:
            InvalidArgument: If a "tunneling_" value is out of range.
        """
        first = self.param_groups[0]
        settings = {
            key.removeprefix(_PREFIX): value
            for key, value in first.items()
            if key.startswith(_PREFIX)
        }
        addition = _with_settings(param_group, settings)
        self.base.add_param_group(param_group)
        self.param_groups[-1].update(addition)
        self._keep(self.param_groups[-1:])

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the base optimizer, with all that the next jumps depend on in its groups."""
        self._write_clock()
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state. As in torch, the settings of the groups come with it, those of the jumps too.

        Args:
            state_dict: What `state_dict` returned.

        Raises:
            CheckpointMismatch: If it was saved by something else than a `QuantumTunneling` around
                such a base.
            ValueError: If its groups are not of the same sizes, from torch.
        """
        ours = {key for key in self.param_groups[0] if key.startswith(_PREFIX)}
        for number, saved in enumerate(state_dict["param_groups"]):
            missing = sorted(ours - set(saved))
            if missing:
                raise CheckpointMismatch(
                    f"group {number} has no {', '.join(missing)}: it is a checkpoint of another optimizer. To start from "
                    f"one of {type(self.base).__name__} alone, load it into that before QuantumTunneling wraps it"
                )
            if saved[_PREFIX + "base"] != self._setting("base"):
                wrapped = f"{saved[_PREFIX + 'base']}, here around {self._setting('base')}"
                raise CheckpointMismatch(
                    f"the checkpoint is of a QuantumTunneling around {wrapped}; wrap the same optimizer"
                )
        self.base.load_state_dict(state_dict)
        self._clock = Clock(**{entry.name: self._setting(entry.name) for entry in fields(Clock)})

    def __getstate__(self) -> dict[str, Any]:
        names = ("base", "_clock", "_diagnose", "diagnosis")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Hooks of saving and loading are the base's, which does both; those of step are the
        # wrapper's own.
        super().__setstate__(state | {name: getattr(state["base"], name) for name in _SHARED_HOOKS})

    def _setting(self, name: str) -> Any:
        return self.base.param_groups[0][_PREFIX + name]

    def _write_clock(self) -> None:
        for group in self.param_groups:
            group.update({_PREFIX + name: value for name, value in asdict(self._clock).items()})

    def _checked(self, closure: Callable[[], float] | None) -> Callable[[], float] | None:
        """Check the gradients now or, if it is the closure that makes them, after it."""
        if closure is None:
            check_finite(self.param_groups, _PREFIX + "check_finite")
            return None

        def checked() -> float:
            loss = closure()
            check_finite(self.param_groups, _PREFIX + "check_finite")
            return loss

        return checked

    @not_compiled  # or it is compiled again for each number of a step
    def _count_step(self) -> None:
        if _is_empty_step(self.param_groups):
            return
        due = self._clock.end_step(self.options, self._setting("interval"), self._setting("total"))
        self._record()
        if due:
            self._jump("interval")

    def _jump(self, trigger: str) -> None:
        self._clock.jumped()
        with torch.no_grad():
            moved = displace(self.param_groups, self._clock.jumps, self._diagnose)
            reset(self.state, self._setting("reset"), self._setting("reset_factor"))
        self._record(jumped=True, trigger=trigger, **(moved._asdict() if moved is not None else {}))

    def _revert(self) -> None:
        self._clock.reverted()
        with torch.no_grad():
            for group in self.param_groups:
                put_back(group["params"], group[_PREFIX + "kept"])
            reset(self.state, self._setting("reset"), self._setting("reset_factor"))
        self._record(reverted=True)

    def _keep(self, groups: list[dict[str, Any]]) -> None:
        """Copy the parameters, for a jump that may be taken back; from the start, so that a checkpoint has the place."""
        keeps = self._setting("revert_after") is not None
        for group in groups:
            group[_PREFIX + "kept"] = copies(group["params"]) if keeps else []

    def _record(self, **what: Any) -> None:
        if self._diagnose:
            clock = self._clock
            self.diagnosis = TunnelingRecord(clock.steps, clock.epochs, clock.jumps, **what)


def _check(base: object, interval: int, options: object, total: object, seed: int) -> None:
    """Refuse what is out of range."""
    if not isinstance(base, Optimizer):
        raise InvalidArgument.of(
            "base", base, "give an optimizer, such as torch.optim.Adam(model.parameters())"
        )
    if _PREFIX + "base" in base.param_groups[0]:
        reason = "it is in a QuantumTunneling already; wrap an optimizer once"
        raise InvalidArgument.of("base", type(base).__name__, reason)
    if not isinstance(options, TunnelingOptions):
        raise InvalidArgument.of("options", options, "give a TunnelingOptions")
    check_count("interval", interval)
    if total is not None:
        check_count("total", total)
    if (
        options.trigger == "interval"
        and options.revert_after is not None
        and options.revert_after >= interval
    ):
        reason = (
            f"the next jump, after {interval} epochs, comes first; give less, or a larger interval"
        )
        raise InvalidArgument.of("revert_after", options.revert_after, reason)
    derive(seed)


def _with_settings(group: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What to add to a group, checked: its own values first, for those that a group may have."""
    merged = {_PREFIX + name: value for name, value in settings.items()}
    merged |= {
        _PREFIX + name: group[_PREFIX + name] for name in _PER_GROUP if _PREFIX + name in group
    }
    check_strength("strength", merged[_PREFIX + "strength"])
    TunnelingOptions.of_group(merged, _PREFIX)
    return merged


def _score(metric: object, mode: str) -> float:
    """The metric, turned so that smaller is better. Any number is better than NaN."""
    if isinstance(metric, bool) or not isinstance(metric, (int, float, Tensor)):
        reason = "a plateau and revert_after compare it from epoch to epoch; give the loss on the validation set"
        raise InvalidArgument.of("metric", metric, reason)
    score = float(metric) if mode == "min" else -float(metric)
    return math.inf if math.isnan(score) else score


def _is_empty_step(groups: list[dict[str, Any]]) -> bool:
    """Whether every learning rate is 0, as in the step that torch.distributed.checkpoint takes to fill in an empty state."""
    rates = [group.get("lr") for group in groups]
    return all((not isinstance(rate, Tensor) or rate.is_cpu) and rate == 0 for rate in rates)
