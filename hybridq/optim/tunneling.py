"""SGD with Quantum Tunneling (SGD-QT): any optimizer, with a random jump every few epochs."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar

import torch
from torch.optim.optimizer import Optimizer

from hybridq._torch import not_compiled
from hybridq.errors import CheckpointMismatch, InvalidArgument
from hybridq.optim._checks import check_positive_integer
from hybridq.optim._parameters import check_finite
from hybridq.optim._tunneling.groups import PREFIX, additions, has_zero_rates, values_of
from hybridq.optim._tunneling.jumps import Displacement, copies, displace, put_back, reset
from hybridq.optim._tunneling.options import TunnelingOptions
from hybridq.optim._tunneling.record import TunnelingRecord
from hybridq.optim._tunneling.schedule import Clock, score_of
from hybridq.seeding import derive

__all__ = ["QuantumTunneling", "TunnelingOptions", "TunnelingRecord"]

_SHARED_HOOKS = (
    "_optimizer_state_dict_pre_hooks",
    "_optimizer_state_dict_post_hooks",
    "_optimizer_load_state_dict_pre_hooks",
    "_optimizer_load_state_dict_post_hooks",
)


class QuantumTunneling(Optimizer):
    """Wrap any optimizer, and throw the weights to a random place nearby every few epochs (SGD-QT).

    After every `interval`-th epoch, for each weight matrix theta:

        theta <- theta + strength * rms(theta) * N(0, 1)

    Then the base optimizer starts with an empty state. rms is the root mean square.

    What it can do: leave a narrow minimum, as a restart with noise does.

    What it cannot do: know where a better minimum is. A jump is blind to the loss. It destroys
    progress, the more the larger `strength` is, and the epochs after it have to earn that back.
    Nothing tunnels here: the height of a barrier does not matter, only the distance. As printed,
    with 0.1 for every number of the model, a jump moves the weights of a fresh ResNet-18 by 3.8
    times their root mean square. That is a new start rather than a jump, and it hits normalization
    layers and biases as well. So compare a run with three others (SPEC T22): the same one without
    jumps (`strength=0`, `reset="keep"`), with the reset alone (`strength=0`), and with the noise
    alone (`reset="keep"`).

    Between jumps it is the base optimizer, to the last bit. It shares the groups and the state of
    the base optimizer, so schedulers, `GradScaler` and checkpoints work as they do with it.

    How to use it:

    - Call `epoch_end` when an epoch is over, after evaluating and saving the model (SPEC T10).
    - The statistics of batch norm are those of the weights before the jump. Measure them anew with
      `recalibrate_batch_norm` before the model is evaluated (T9).
    - The noise is a pure function of `seed`, the number of the jump and the position of the tensor
      in its group. These are plain numbers in `param_groups`, so a resumed run and every rank draw
      the same noise (T13, T14). Tied weights jump once (T16).
    - Parameters may be shards (FSDP2). All ranks have to call `epoch_end`, with the same metric. A
      jump gathers the parameters one at a time.
    - Hooks of the wrapper's steps run once a step. Torch's global hooks run twice, because the step
      of the base optimizer is a step, too.
    - A library may put a wrapper of its own around this one, as accelerate's `prepare` does. That
      wrapper has no `epoch_end`: keep this object to call it.
    - Save before `epoch_end` with torch.distributed.checkpoint, which cannot load the empty state
      after a jump.
    - A step under `torch.compile` is compiled anew after a jump that clears the state. When it
      reaches `torch._dynamo.config.recompile_limit` it goes on uncompiled. A CUDA graph has to be
      captured anew.

    Args:
        base: The optimizer. From now on step, save, load and add groups through the wrapper.
        interval: The number of epochs, or steps, from one jump to the next. With a plateau, the
            number of epochs without a better metric.
        strength: The standard deviation of the noise, at least 0. Its unit is the root mean square
            of the tensor, or that of the weights, as `options.size` says. A group of `base` can
            override it under the name "tunneling_strength", and likewise "tunneling_noise",
            "tunneling_size" and "tunneling_tensors".
        options: All other switches; None is `TunnelingOptions.recommended()`.
        total: The number of epochs, or steps, that there will be. No jump follows the last one
            (SPEC T2). With None it is not known, and the last jump is up to you: with epochs, do
            not call `epoch_end` after the last one.
        seed: The source of the noise, a non-negative integer.
        diagnose: Whether `diagnosis` holds a `TunnelingRecord` of the last call. The host then
            waits for the GPU at each jump.

    Raises:
        InvalidArgument: If an argument is out of range.
        InvalidArgument: If `base` is no optimizer, or is wrapped already.
        InvalidArgument: If the next jump would come before `revert_after` epochs are over.

    Example:
        >>> layer = torch.nn.Linear(2, 1)
        >>> base = torch.optim.Adam(layer.parameters())
        >>> optimizer = QuantumTunneling(base, interval=5, strength=0.1, total=20)
        >>> [epoch for epoch in range(1, 21) if optimizer.epoch_end()]
        [5, 10, 15]

    Differs from the paper: the noise is relative to each tensor (T5), and only matrices jump (T6).
    There is no jump after the last epoch (T2), which would return a model that was just destroyed.
    `TunnelingOptions.literal()` undoes all of it.

    Reference: the SGD-QT paper, section 2.2 and algorithm 1. A. Pradhan, "Quantum-Inspired
    Stochastic Gradient Descent for Enhanced Exploration and Accelerated Training of Deep Neural
    Networks".
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
        _check(base, interval, options, total)
        derive(seed)  # It refuses a seed that is no non-negative integer.
        values = asdict(options) | {
            "base": type(base).__name__,
            "strength": strength,
            "interval": interval,
            "total": total,
            "seed": seed,
        }
        # All groups are checked before the first one is changed.
        added = [additions(group, values) for group in base.param_groups]
        for group, keys in zip(base.param_groups, added, strict=True):
            group.update(keys)
        # Optimizer.__init__ is not called: it would make groups and a state of its own, where here
        # both are those of the base optimizer.
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
        return TunnelingOptions.of_group(self.param_groups[0], PREFIX)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Do one step of the base optimizer, and jump after it if steps count and it is time.

        Args:
            closure: Evaluates the model again, with gradients, and returns the loss.

        Returns:
            The loss that the base optimizer returned.

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
        """Count an epoch, and jump, or take the last jump back, if it is time.

        Call it after evaluating and saving the model.

        Args:
            metric: The loss of the weights as they are; with `mode="max"` a number that shall
                become large. It must be the same on every rank. Only a plateau and `revert_after`
                use it. Any number is better than NaN.

        Returns:
            Whether the weights were changed, by a jump or by taking one back.

        Raises:
            InvalidArgument: If a metric is needed and `metric` is no number.
        """
        options = self.options
        clock = self._clock
        score = math.inf
        if options.trigger == "plateau" or options.revert_after is not None:
            score = score_of(metric, options.mode)
        action = clock.end_epoch(score, options, self._setting("interval"), self._setting("total"))
        self._record()
        if action == "jump":
            if options.revert_after is not None:
                clock.start_trial(score)
                self._keep(self.param_groups)
            self._jump(options.trigger)
        elif action == "revert":
            self._revert()
        return action is not None

    def jump(self) -> None:
        """Jump now.

        It counts as a jump and leaves the schedule as it is. `revert_after` does not apply to it.
        """
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
            param_group: Its "params", and the values that it overrides.

        Raises:
            InvalidArgument: If a "tunneling_" value is out of range.
        """
        keys = additions(param_group, values_of(self.param_groups[0]))
        self.base.add_param_group(param_group)
        self.param_groups[-1].update(keys)
        self._keep(self.param_groups[-1:])

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the base optimizer.

        Its groups hold everything that the next jumps depend on.
        """
        self._write_clock()
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state. As in torch, the values of the groups come with it, those of jumps, too.

        Args:
            state_dict: A state from `state_dict`.

        Raises:
            CheckpointMismatch: If it was not saved by a `QuantumTunneling`.
            CheckpointMismatch: If it was saved by one around another kind of base optimizer.
            ValueError: If its groups have other sizes. This error is torch's.
        """
        for number, saved in enumerate(state_dict["param_groups"]):
            self._check_loadable(number, saved)
        self.base.load_state_dict(state_dict)
        self._clock = Clock(**{entry.name: self._setting(entry.name) for entry in fields(Clock)})

    def __getstate__(self) -> dict[str, Any]:
        names = ("base", "_clock", "_diagnose", "diagnosis")
        return {name: self.__dict__[name] for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The hooks of saving and loading are those of the base optimizer, which does both. The
        # hooks of steps are the wrapper's own.
        shared = {name: getattr(state["base"], name) for name in _SHARED_HOOKS}
        super().__setstate__(state | shared)

    def _setting(self, name: str) -> Any:
        return self.base.param_groups[0][PREFIX + name]

    def _check_loadable(self, number: int, saved: dict[str, Any]) -> None:
        """Refuse the group of a checkpoint that another optimizer saved."""
        ours = {key for key in self.param_groups[0] if key.startswith(PREFIX)}
        missing = sorted(ours - set(saved))
        if missing:
            raise CheckpointMismatch(
                f"group {number} has no {', '.join(missing)}: it is a checkpoint of another "
                f"optimizer. To start from one of {type(self.base).__name__} alone, load it into "
                "that before QuantumTunneling wraps it"
            )
        kind = saved[PREFIX + "base"]
        if kind != self._setting("base"):
            raise CheckpointMismatch(
                f"the checkpoint is of a QuantumTunneling around {kind}, here around "
                f"{self._setting('base')}; wrap the same optimizer"
            )

    def _write_clock(self) -> None:
        for group in self.param_groups:
            group.update({PREFIX + name: value for name, value in asdict(self._clock).items()})

    def _checked(self, closure: Callable[[], float] | None) -> Callable[[], float] | None:
        """Check the gradients: now, or after the closure if it is the closure that makes them."""
        if closure is None:
            check_finite(self.param_groups, PREFIX + "check_finite")
            return None

        def checked() -> float:
            loss = closure()
            check_finite(self.param_groups, PREFIX + "check_finite")
            return loss

        return checked

    # A compiler would compile it again for each number of a step.
    @not_compiled
    def _count_step(self) -> None:
        if has_zero_rates(self.param_groups):
            return
        due = self._clock.end_step(self.options, self._setting("interval"), self._setting("total"))
        self._record()
        if due:
            self._jump("interval")

    def _jump(self, trigger: str) -> None:
        self._clock.jumped()
        with torch.no_grad():
            displacement = displace(self.param_groups, self._clock.jumps, self._diagnose)
            reset(self.state, self._setting("reset"), self._setting("reset_factor"))
        self._record(trigger, displacement)

    def _revert(self) -> None:
        self._clock.reverted()
        with torch.no_grad():
            for group in self.param_groups:
                put_back(group["params"], group[PREFIX + "kept"])
            reset(self.state, self._setting("reset"), self._setting("reset_factor"))
        self._record(reverted=True)

    def _keep(self, groups: list[dict[str, Any]]) -> None:
        """Copy the parameters, for a jump that may be taken back.

        Copies are made from the start on, so that a checkpoint has a place for them.
        """
        keeps = self._setting("revert_after") is not None
        for group in groups:
            group[PREFIX + "kept"] = copies(group["params"]) if keeps else []

    def _record(
        self,
        trigger: str | None = None,
        displacement: Displacement | None = None,
        reverted: bool = False,
    ) -> None:
        if not self._diagnose:
            return
        self.diagnosis = TunnelingRecord(
            step=self._clock.steps,
            epoch=self._clock.epochs,
            jumps=self._clock.jumps,
            jumped=trigger is not None,
            trigger=trigger,
            norm=0.0 if displacement is None else displacement.norm,
            relative=0.0 if displacement is None else displacement.relative,
            reverted=reverted,
        )


def _check(base: object, interval: int, options: object, total: object) -> None:
    """Refuse arguments of the constructor that are out of range."""
    if not isinstance(base, Optimizer):
        reason = "give an optimizer, such as torch.optim.Adam(model.parameters())"
        raise InvalidArgument.of("base", base, reason)
    if PREFIX + "base" in base.param_groups[0]:
        reason = "it is in a QuantumTunneling already; wrap an optimizer once"
        raise InvalidArgument.of("base", type(base).__name__, reason)
    if not isinstance(options, TunnelingOptions):
        raise InvalidArgument.of("options", options, "give a TunnelingOptions")
    check_positive_integer("interval", interval)
    if total is not None:
        check_positive_integer("total", total)
    revert_after = options.revert_after
    if options.trigger == "interval" and revert_after is not None and revert_after >= interval:
        reason = (
            f"the next jump, after {interval} epochs, comes first; give less, or a larger interval"
        )
        raise InvalidArgument.of("revert_after", revert_after, reason)
