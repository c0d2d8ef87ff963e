"""Quantum-Inspired Adaptive Superposition Optimization: candidates with probabilities, and no gradient anywhere."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, ParamsT

from hybridq.errors import CheckpointMismatch, InvalidArgument
from hybridq.optim._parameters import once
from hybridq.optim._qiaso.candidates import Best, Candidate, Layout, check_parameter, check_shapes
from hybridq.optim._qiaso.evaluators import (
    ModelLoss,
    as_numbers,
    batch_statistics,
    check_evaluator,
    check_scalar,
    in_parts,
    over_ranks,
    parameter_names,
    vmapped_losses,
)
from hybridq.optim._qiaso.options import QIASOOptions, check_size
from hybridq.optim._qiaso.population import Population
from hybridq.optim._qiaso.record import QIASORecord, record_of
from hybridq.optim._qiaso.superposition import (
    cumulative_escape_probability,
    escape_probability,
    expectation,
)

__all__ = [
    "QIASO",
    "Best",
    "Candidate",
    "QIASOOptions",
    "QIASORecord",
    "batch_statistics",
    "cumulative_escape_probability",
    "escape_probability",
]

_OF_A_GROUP = ("sigma_start", "sigma", "epsilon")


class QIASO(Optimizer):
    """Search with K candidate weight vectors and a probability for each of them.

        p_k    <- p_k exp(-eta L_k) / sum_j p_j exp(-eta L_j)      L z-scored
        centre <- sum_k p_k w_k                                    the collapse
        w_k     = centre + sigma N(0, I)                           new candidates, p uniform
        w_k    <- w_k + epsilon N(0, I)                            with probability p_0 * decay^epoch: tunnelling

    Between steps the parameters are the centre, and they are what to deploy. Candidates are plain
    numbers: their noise is drawn anew whenever it is needed, so that a step holds the parameters, a
    copy of the centre and a few blocks of 1 MB: twice the memory of the model, three times with
    `keep_best`. The price is time: each candidate is drawn twice a step, at about 5 ns a number on
    a CPU core, and between rare collapses all its jumps since the last one with it.

    What it can do: train where there is no gradient, with any loss, on many machines that exchange
    K numbers a step. What it cannot: compete with a gradient where there is one. A step is K
    forward passes, and the more weights there are, the less of them a loss tells. With the defaults
    each step moves the centre by about sigma sqrt(N / K) in all, of which the part that descends is
    a fraction of about 1 / sqrt(N). On scikit-learn's digits with 6,570 weights and batches of 256
    it reached an accuracy of 0.951 and 0.971 (two splits) after 1,500 steps; Adam, after 10 epochs,
    0.944 and 0.951, with several hundred times fewer images passed through the network.
    `QIASOOptions.literal()`, the paper's method as printed, stayed at chance (0.09 to 0.14).

    All candidates of a step have to be evaluated on the same minibatch (SPEC Q6); large ones pay.
    Dropout has to be off. Of batch norm, the candidates use the statistics of the batch, without
    touching the running ones, inside `with batch_statistics(model):`, which `evaluate` does by
    itself; measure the running ones for the deployed weights with `recalibrate_batch_norm` (SPEC
    Q32).

    There is no `lr`, so torch's schedulers do not apply; the paper's learning rate is
    `options.eta`. The values of "sigma_start", "sigma" and "epsilon" in a group are read at each
    step. Frozen parameters do not move, and a tied one counts once.

    Any other optimizer of the same parameters can refine the centre between two steps (SPEC Q31):
    see `step`.

    Args:
        params: Parameters, named parameters, or groups of them. A group can override the options
            `sigma_start`, `sigma` and `epsilon`.
        seed: The source of all noise: with the step, the candidate and the parameter's number it
            fixes every one. Noise is drawn on the device of a parameter, and differs between kinds
            of devices.
        options: All other choices; None is `QIASOOptions.recommended()`.
        diagnose: Whether `diagnosis` holds a `QIASORecord` of the last step.
        barrier: A distance in the space of the weights, for the record's `escape_probability`.
        distributed: Whether each rank of `torch.distributed` evaluates its share of the candidates
            in `step` and `evaluate` (SPEC Q39). All ranks need the same weights, seed and
            minibatch, and get the same result as one alone. Leave it off if each rank has its own
            part of the batch, and average the loss over ranks in the closure.

    Raises:
        InvalidArgument: If an argument is out of range, or a parameter is complex or not finite.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, -0.5]))
        >>> optimizer = QIASO([weight], seed=0)
        >>> for _ in range(100):
        ...     loss = optimizer.step(lambda: weight.square().sum())
        >>> bool(weight.detach().abs().max() < 0.05)
        True

    Differs from the paper: in all that `QIASOOptions.literal()` undoes. There, as here, the
    candidates after a collapse have no loss yet, and none of them is the best that the tunnelling
    would spare.

    Reference: AIMS Mathematics 2026, equations (1), (16), (39), (40) and (41).
    """

    gradient_free: ClassVar[bool] = True
    """Whether `step` takes losses from its closure and needs no gradients."""
    trial_options: ClassVar[Mapping[str, Any]] = {
        "seed": 0,
        "options": QIASOOptions(n_candidates=10),
    }
    """The arguments with which the contract's tests make one: few candidates are quick."""

    def __init__(
        self,
        params: ParamsT,
        seed: int,
        options: QIASOOptions | None = None,
        diagnose: bool = False,
        barrier: float | None = None,
        distributed: bool = False,
    ) -> None:
        options = QIASOOptions.recommended() if options is None else options
        if not isinstance(options, QIASOOptions):
            raise InvalidArgument.of("options", options, "give a QIASOOptions")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InvalidArgument.of("seed", seed, "give a non-negative integer")
        if barrier is not None:
            check_size("barrier", barrier)
        self._population = Population(seed, options)
        self.diagnose = diagnose
        self.barrier = barrier
        self.distributed = distributed
        self.diagnosis: QIASORecord | None = None
        super().__init__(params, {name: getattr(options, name) for name in _OF_A_GROUP})

    @property
    def options(self) -> QIASOOptions:
        """The choices; after `load_state_dict` those of the checkpoint."""
        return self._population.options

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters. If candidates have been evaluated since the last collapse, new ones are made.

        Args:
            param_group: Its "params", and what it overrides.

        Raises:
            InvalidArgument: As for the constructor.
        """
        group = {**param_group, "params": once(param_group["params"])}
        for name in _OF_A_GROUP:
            check_size(name, group.get(name, self.defaults[name]))
        if not isinstance(group["params"], set):
            before = sum(len(other["params"]) for other in self.param_groups)
            for number, item in enumerate(group["params"], before):
                check_parameter(item, number)
        super().add_param_group(group)
        if self._population.log_p is not None or self._population.jumps:
            self._population.restart()

    def ask(self) -> list[Candidate]:
        """Return the candidates that are to be evaluated: K per unit, and with `accept="if_better"` one for each jump.

        Asking changes nothing. `weights` gives the tensors of a candidate, and `visiting` puts the
        parameters there.
        """
        return self._population.candidates(self._layout().n_units)

    def weights(self, candidate: Candidate) -> list[Tensor]:
        """Return the weights of a candidate, new tensors, one for each parameter that moves."""
        layout = self._layout()
        found = [param.detach().clone() for param in layout.params]
        for block in layout.blocks:
            if block.holds(candidate.unit):
                block.write(
                    found, self._population.place(block, block.read(layout.params), candidate)
                )
        return found

    @contextmanager
    def visiting(self) -> Iterator[Callable[[Candidate], None]]:
        """Give a function that puts the parameters at a candidate; afterwards they are at the centre, to the last bit.

        Yields:
            The function.

        Example:
            >>> weight = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
            >>> optimizer, losses = QIASO([weight], seed=0), []
            >>> with optimizer.visiting() as visit:
            ...     for candidate in optimizer.ask():
            ...         visit(candidate)
            ...         losses.append(weight.square().sum().item())
            >>> loss = optimizer.tell(losses)
        """
        layout = self._layout()
        kept = [(block, block.read(layout.params)) for block in layout.blocks]
        away: set[int] = set()

        def visit(candidate: Candidate) -> None:
            for block, centre in kept:
                if block.holds(candidate.unit):
                    away.add(block.number)
                    block.write(layout.params, self._population.place(block, centre, candidate))
                elif block.number in away:
                    away.remove(block.number)
                    block.write(layout.params, centre)

        try:
            yield visit
        finally:
            for block, centre in kept:
                block.write(layout.params, centre)

    def tell(self, losses: Sequence[float] | Tensor) -> float:
        """Learn the losses of all that `ask` returned: update p, collapse if it is time, and let candidates tunnel.

        Args:
            losses: In the order of `ask`. NaN or infinite means probability 0 (SPEC Q29).

        Returns:
            The expected loss sum_k p_k L_k under the new p.

        Raises:
            InvalidArgument: If there are not as many as candidates, or none that counts is finite.
                Nothing changes then.
        """
        layout, population = self._layout(), self._population
        told = as_numbers(losses, len(self.ask()))
        judgement = population.judge(told, layout.n_units, layout.shapes)
        self._remember_best(told)
        population.jumps, population.log_p, population.shapes = (
            judgement.jumps,
            judgement.log_p,
            layout.shapes,
        )
        population.step += 1
        collapsed = population.is_due(judgement.log_p)
        if collapsed:
            self.collapse()
        expected = expectation(judgement.log_p, judgement.losses)
        sizes = population.tunnel(judgement.losses, expected)
        if self.diagnose:
            moment = (population.step, population.epoch)
            self.diagnosis = record_of(
                moment, told, judgement, sizes, collapsed, layout, self.barrier
            )
        return float(expected.mean())

    def step(  # type: ignore[override]
        self, closure: Callable[[], float | Tensor] | None = None, refine: Optimizer | None = None
    ) -> float:
        """Evaluate every candidate, one after the other, and learn from their losses.

        Args:
            closure: Returns the loss of the model as it stands, on the same minibatch for all
                candidates; it is called K times without gradients. It computes no gradients itself.
            refine: A gradient optimizer of the same parameters, which then does one step from the
                centre (SPEC Q31), with one further call of `closure`. Its state is not part of this
                one's `state_dict`.

        Returns:
            The expected loss, as `tell`.

        Raises:
            InvalidArgument: If there is no `closure`, it returns no number, or no loss is finite.
                The parameters are then at the centre.
        """
        if closure is None:
            raise InvalidArgument.of(
                "closure", closure, "give a function that returns the loss, or use ask and tell"
            )
        loss = self.tell(self._shared(lambda candidates: self._loop(closure, candidates)))
        if refine is not None:
            with torch.enable_grad():
                refine.zero_grad()
                torch.autograd.backward(torch.as_tensor(closure()))
            refine.step()
        return loss

    def evaluate(
        self,
        model: nn.Module,
        loss: ModelLoss,
        batch: Any,
        evaluator: str = "auto",
        n_parallel: int = 8,
    ) -> Tensor:
        """Return the losses of all candidates, for `tell`: by a loop over the candidates, or many at a time with vmap.

        Measured on one CPU core, K = 30, batches of 256: a dense network of 109,386 weights 78 ms
        by the loop, 94 ms by vmap (81 ms with all 30 at a time); a convolutional one of 9,146
        weights with batch norm 1.7 s by the loop, 2.9 s by vmap (5.2 s). Hence the loop on a CPU.
        vmap on CUDA has not been measured.

        Batch norm uses the statistics of the batch. With vmap all candidates share the noise of a
        dropout, which the loop draws anew for each.

        Args:
            model: The model.
            loss: `loss(call, batch)` returns the loss; `call` is called as the model is, with
                `batch` or parts of it.
            batch: Anything.
            evaluator: "loop", "vmap", or "auto": vmap if the parameters are on a CUDA device, else
                the loop.
            n_parallel: How many candidates are evaluated at a time with vmap; so many copies of the
                parameters are held.

        Returns:
            Shape (candidates,), float64, on the CPU.

        Raises:
            InvalidArgument: If `evaluator` is none of these, or with vmap a parameter is not one of
                the model's.

        Example:
            >>> model, inputs = nn.Linear(2, 1), torch.ones(4, 2)
            >>> optimizer = QIASO(model.parameters(), seed=0)
            >>> losses = optimizer.evaluate(model, lambda call, batch: call(batch).square().mean(), inputs)
            >>> loss = optimizer.tell(losses)
        """
        check_evaluator(evaluator, n_parallel)
        with batch_statistics(model):
            if evaluator == "loop" or (evaluator == "auto" and self._device().type != "cuda"):
                return self._shared(
                    lambda candidates: self._loop(lambda: loss(model, batch), candidates)
                )
            names = parameter_names(model, self._layout().params)

            def losses_of(candidates: Sequence[Candidate]) -> Tensor:
                weights = [
                    dict(zip(names, self.weights(candidate), strict=True))
                    for candidate in candidates
                ]
                return vmapped_losses(model, loss, batch, weights)

            return self._shared(lambda candidates: in_parts(candidates, n_parallel, losses_of))

    def collapse(self) -> None:
        """Put the centre where p says and make new candidates; without a loss since the last collapse, do nothing."""
        if self._population.log_p is not None:
            self._write_collapsed(self._layout().params)
            self._population.restart()

    def epoch_end(self) -> None:
        """Count an epoch, on which tunnelling and all that decays depend, and collapse if `collapse_when` is "epoch"."""
        self._population.epoch += 1
        if self.options.collapse_when == "epoch":
            self.collapse()

    @property
    def best(self) -> Best:
        """What to deploy, and the best candidate seen; all of it new tensors."""
        params = self._layout().params
        deploy = [param.detach().clone() for param in params]
        self._write_collapsed(deploy)
        seen = [
            self.state[param]["best"].clone()
            for param in params
            if "best" in self.state.get(param, {})
        ]
        complete = len(seen) == len(params)
        return Best(
            deploy,
            seen if complete else None,
            self._population.best_loss,
            self._population.best_step,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the state: plain values and tensors only. The centre is not in it: it is in the model's own."""
        return super().state_dict() | {
            "population": self._population.plain() | {"shapes": self._layout().shapes}
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, seed and options included. Load the model's, too: its parameters are the centre.

        Args:
            state_dict: What `state_dict` returned.

        Raises:
            CheckpointMismatch: If it is of another kind of optimizer, or of parameters of other
                shapes.
            ValueError: If its groups are not of the same sizes, from torch.
        """
        if "population" not in state_dict:
            raise CheckpointMismatch(
                "the checkpoint has no 'population': it is not one of a QIASO; load one that is"
            )
        check_shapes(state_dict["population"]["shapes"], self._layout().shapes)
        super().load_state_dict(state_dict)
        self._population = Population.of_plain(state_dict["population"])

    def __getstate__(self) -> dict[str, Any]:
        own = ("_population", "diagnose", "barrier", "distributed", "diagnosis")
        return super().__getstate__() | {name: getattr(self, name) for name in own}

    def _layout(self) -> Layout:
        return Layout.of(self.param_groups, self.options.unit)

    def _write_collapsed(self, tensors: Sequence[Tensor]) -> None:
        """Put into `tensors` where a collapse would put the parameters."""
        layout, log_p = self._layout(), self._population.log_p
        if log_p is None:
            return
        weights = self._population.collapse_weights(log_p)
        for block in layout.blocks:
            block.write(
                tensors, self._population.collapsed(block, block.read(layout.params), weights)
            )

    def _device(self) -> torch.device:
        """Where losses are collected: on the CUDA device, without waiting for each of them, else on the CPU."""
        device = self._layout().params[0].device
        return device if device.type == "cuda" else torch.device("cpu")

    def _loop(
        self, closure: Callable[[], float | Tensor], candidates: Sequence[Candidate]
    ) -> Tensor:
        losses = torch.zeros(len(candidates), dtype=torch.float64, device=self._device())
        with torch.no_grad(), self.visiting() as visit:
            for number, candidate in enumerate(candidates):
                visit(candidate)
                loss = closure()
                check_scalar(loss)
                losses[number] = loss
        return losses

    def _shared(self, losses_of: Callable[[Sequence[Candidate]], Tensor]) -> Tensor:
        with torch.no_grad():
            losses = (
                over_ranks(self.ask(), losses_of) if self.distributed else losses_of(self.ask())
            )
        return losses.to("cpu", torch.float64)

    def _remember_best(self, told: Tensor) -> None:
        """Note the lowest loss so far, and with `keep_best` the weights that have it."""
        known = torch.where(told.isfinite(), told, math.inf)
        number = int(known.argmin())
        if not known[number] < self._population.best_loss:
            return
        if self.options.keep_best:
            for param, weights in zip(
                self._layout().params, self.weights(self.ask()[number]), strict=True
            ):
                self.state[param]["best"] = weights
        self._population.best_loss, self._population.best_step = (
            float(known[number]),
            self._population.step + 1,
        )
