"""Quantum-Inspired Adaptive Superposition Optimization (QIASO), a search without gradients."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.optimizer import Optimizer, ParamsT

from hybridq.errors import CheckpointMismatch, InvalidArgument
from hybridq.optim._checks import check_non_negative
from hybridq.optim._parameters import without_duplicates
from hybridq.optim._qiaso.candidates import Best, Candidate
from hybridq.optim._qiaso.evaluators import (
    LossesOf,
    ModelLoss,
    batch_statistics,
    check_evaluator,
    looped_losses,
    losses_in_parts,
    losses_over_ranks,
    parameter_names,
    told_losses,
    vmapped_losses,
)
from hybridq.optim._qiaso.layout import Layout, check_parameter, check_shapes
from hybridq.optim._qiaso.options import QIASOOptions
from hybridq.optim._qiaso.population import Population
from hybridq.optim._qiaso.record import QIASORecord, record_of
from hybridq.optim._qiaso.superposition import (
    cumulative_escape_probability,
    escape_probability,
    expectation,
)
from hybridq.optim._qiaso.visits import visiting
from hybridq.seeding import derive

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

        p_k    <- p_k exp(-eta L_k) / sum_j p_j exp(-eta L_j)   with z-scored losses L
        centre <- sum_k p_k w_k                                 the collapse
        w_k     = centre + sigma N(0, I)                        new candidates, with uniform p
        w_k    <- w_k + epsilon N(0, I)                         tunnelling, with probability
                                                                p_0 * decay^epoch

    Between two steps the parameters are the centre, and the centre is what to deploy.

    What it can do: train where there is no gradient, with any loss, on many machines that exchange
    only K numbers a step.

    What it cannot do: compete with a gradient where there is one. A step costs K forward passes,
    and the more weights there are, the less a loss says about each of them. With the defaults each
    step moves the centre by about sigma sqrt(N / K), where N is the number of weights. Only a
    fraction of about 1 / sqrt(N) of that move descends. Measured on scikit-learn's digits, with
    6,570 weights and batches of 256, it reached an accuracy of 0.951 and 0.971 (two splits) after
    1,500 steps. Adam reached 0.944 and 0.951 after 10 epochs, and passed several hundred times
    fewer images through the network. `QIASOOptions.literal()`, the method as printed, stayed at
    chance (0.09 to 0.14).

    What it costs: candidates are plain numbers, whose noise is drawn anew whenever it is needed
    (SPEC Q33). A step therefore holds the parameters, a copy of the centre and a few blocks of
    1 MB. That is twice the memory of the model, or three times with `keep_best`. The price is time.
    Each candidate is drawn twice a step, at about 5 ns a number on a CPU core. If collapses are
    rare, all its jumps since the last collapse are drawn with it.

    How to use it:

    - Evaluate all candidates of a step on the same minibatch (SPEC Q6). Large minibatches pay.
    - Switch dropout off.
    - `evaluate` lets batch norm use the statistics of the batch. With another way of evaluation,
      put it inside `with batch_statistics(model):`. Measure the running statistics for the
      deployed weights with `recalibrate_batch_norm` (SPEC Q32).
    - There is no `lr`, so torch's schedulers do not apply. The paper's learning rate is
      `options.eta`. The values of "sigma_start", "sigma" and "epsilon" in a group are read at each
      step.
    - Frozen parameters do not move. A tied parameter counts once.
    - Any other optimizer of the same parameters can refine the centre between two steps (SPEC
      Q31): see `step`.

    Args:
        params: Parameters, named parameters, or groups of them. A group can override the options
            `sigma_start`, `sigma` and `epsilon`.
        seed: The source of all noise, a non-negative integer. Each draw is a pure function of the
            seed, the step, the candidate and the number of the block. It is drawn on the device of
            the parameter, and differs between kinds of devices.
        options: All other switches; None is `QIASOOptions.recommended()`.
        diagnose: Whether `diagnosis` holds a `QIASORecord` of the last step.
        barrier: A distance in the space of the weights, at least 0, for the `escape_probability`
            of the record.
        distributed: Whether each rank of `torch.distributed` evaluates its share of the candidates
            in `step` and `evaluate` (SPEC Q39). All ranks need the same weights, seed and
            minibatch, and get the result that one rank alone would get. Leave it off if each rank
            has its own part of the minibatch, and average the loss over the ranks in the closure.

    Raises:
        InvalidArgument: If `options` is no `QIASOOptions`.
        InvalidArgument: If `seed` is no non-negative integer.
        InvalidArgument: If `barrier`, or an option that a group overrides, is negative or not
            finite.
        InvalidArgument: If a parameter is complex, or has NaN or infinite entries.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([1.0, -0.5]))
        >>> optimizer = QIASO([weight], seed=0)
        >>> for _ in range(100):
        ...     loss = optimizer.step(lambda: weight.square().sum())
        >>> bool(weight.detach().abs().max() < 0.05)
        True

    Differs from the paper: the losses are z-scored (Q8), the centre collapses to the mean of the
    candidates (Q10) after every step (Q11), and tunnelling starts at a probability of 0.3 (Q20).
    `QIASOOptions.literal()` undoes all of it. One thing is the same with both: the candidates after
    a collapse have no loss yet, so none of them is the best one that tunnelling would spare.

    Reference: AIMS Mathematics 2026, equations (1), (16), (39), (40) and (41). I. Sajjad and M. M.
    AL Sobhi, "The quantum-inspired adaptive superposition optimization for neural network
    training".
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
        derive(seed)  # It refuses a seed that is no non-negative integer.
        if barrier is not None:
            check_non_negative("barrier", barrier)
        self._population = Population(seed, options)
        self.diagnose = diagnose
        self.barrier = barrier
        self.distributed = distributed
        self.diagnosis: QIASORecord | None = None
        super().__init__(params, {name: getattr(options, name) for name in _OF_A_GROUP})

    @property
    def options(self) -> QIASOOptions:
        """The switches; after `load_state_dict` those of the checkpoint."""
        return self._population.options

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters.

        If candidates have been evaluated since the last collapse, they are given up and new ones
        are made.

        Args:
            param_group: Its "params", and the options that it overrides.

        Raises:
            InvalidArgument: As for the constructor.
        """
        group = {**param_group, "params": without_duplicates(param_group["params"])}
        for name in _OF_A_GROUP:
            check_non_negative(name, group.get(name, self.defaults[name]))
        if not isinstance(group["params"], set):
            n_before = sum(len(other["params"]) for other in self.param_groups)
            for number, item in enumerate(group["params"], n_before):
                check_parameter(item, number)
        super().add_param_group(group)
        if self._population.log_p is not None or self._population.jumps:
            self._population.restart()

    def ask(self) -> list[Candidate]:
        """Return the candidates that are to be evaluated. Asking changes nothing.

        `weights` gives the tensors of a candidate, and `visiting` puts the parameters there.

        Returns:
            K candidates for each unit; with `accept="if_better"` one more for each jump.
        """
        return self._population.candidates(self._layout().n_units)

    def weights(self, candidate: Candidate) -> list[Tensor]:
        """Return the weights of a candidate, new tensors, one for each parameter that moves."""
        layout = self._layout()
        weights = [param.detach().clone() for param in layout.params]
        for block in layout.blocks:
            if block.holds(candidate.unit):
                centre = block.read(layout.params)
                block.write(weights, self._population.entries_at(block, centre, candidate))
        return weights

    @contextmanager
    def visiting(self) -> Iterator[Callable[[Candidate], None]]:
        """Give a function that puts the parameters at a candidate.

        Afterwards the parameters are at the centre again, to the last bit.

        Yields:
            The function.

        Example:
            >>> weight = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
            >>> optimizer = QIASO([weight], seed=0)
            >>> losses = []
            >>> with optimizer.visiting() as visit:
            ...     for candidate in optimizer.ask():
            ...         visit(candidate)
            ...         losses.append(weight.square().sum().item())
            >>> loss = optimizer.tell(losses)
        """
        with visiting(self._layout(), self._population) as visit:
            yield visit

    def tell(self, losses: Sequence[float] | Tensor) -> float:
        """Learn from the losses of all candidates that `ask` returned.

        The probabilities are updated, the candidates collapse if it is time, and then they tunnel.

        Args:
            losses: One loss for each candidate, in the order of `ask`. A loss that is NaN or
                infinite gives its candidate probability 0 (SPEC Q29).

        Returns:
            The expected loss sum_k p_k L_k under the new p.

        Raises:
            InvalidArgument: If there are not as many losses as candidates. Nothing changes then.
            InvalidArgument: If no candidate with a probability has a finite loss. Nothing changes
                then.
            InvalidArgument: If other parameters moved in the last step, after which there was no
                collapse. Nothing changes then.
        """
        layout = self._layout()
        population = self._population
        told = told_losses(losses, len(self.ask()))
        judgement = population.judge(told, layout)
        self._remember_best(told)
        population.advance(judgement, layout)
        collapsed = population.is_due(judgement.log_p)
        if collapsed:
            self.collapse()
        expected = expectation(judgement.log_p, judgement.losses)
        sizes = population.tunnel(judgement.losses, expected)
        if self.diagnose:
            self.diagnosis = record_of(
                population.step,
                population.epoch,
                told,
                judgement,
                sizes,
                collapsed,
                layout,
                self.barrier,
            )
        return float(expected.mean())

    def step(  # type: ignore[override]
        self, closure: Callable[[], float | Tensor] | None = None, refine: Optimizer | None = None
    ) -> float:
        """Evaluate every candidate, one after the other, and learn from their losses.

        Args:
            closure: Returns the loss of the model as it stands, on the same minibatch for all
                candidates. It is called once for each candidate, without gradients, and must not
                compute gradients itself.
            refine: A gradient optimizer of the same parameters. It then does one step from the
                centre (SPEC Q31), with one more call of `closure`. Its state is not part of the
                `state_dict` here.

        Returns:
            The expected loss, as from `tell`.

        Raises:
            InvalidArgument: If there is no `closure`.
            InvalidArgument: If `closure` returns no real number. The parameters are then at the
                centre.
            InvalidArgument: As from `tell`.
        """
        if closure is None:
            reason = "give a function that returns the loss, or use ask and tell"
            raise InvalidArgument.of("closure", closure, reason)
        loss = self.tell(self._shared(partial(self._looped, closure)))
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
        """Return the losses of all candidates, for `tell`.

        They are computed by a loop over the candidates, or for several at a time with vmap.
        Measured on one CPU core, with K = 30 and batches of 256: a dense network of 109,386
        weights took 78 ms with the loop and 94 ms with vmap (81 ms with all 30 at a time). A
        convolutional network of 9,146 weights with batch norm took 1.7 s with the loop and 2.9 s
        with vmap (5.2 s). Hence the loop on a CPU. vmap on CUDA has not been measured.

        Batch norm uses the statistics of the batch. With vmap all candidates share the noise of
        dropout; the loop draws it anew for each.

        Args:
            model: The model.
            loss: `loss(call, batch)` returns the loss. It calls `call`, with `batch` or parts of
                it, as it would call the model.
            batch: The minibatch, an object of any kind.
            evaluator: "loop", "vmap" or "auto". "auto" is vmap if the parameters are on a CUDA
                device, else the loop.
            n_parallel: The number of candidates that vmap evaluates at a time. As many copies of
                the parameters are held.

        Returns:
            The losses, shape (candidates,), float64, on the CPU.

        Raises:
            InvalidArgument: If `evaluator` is none of these.
            InvalidArgument: If `n_parallel` is no positive integer.
            InvalidArgument: If a parameter is none of the model's, with vmap.
            InvalidArgument: If `loss` returns no real number.

        Example:
            >>> def loss(call, batch):
            ...     return call(batch).square().mean()
            >>> model = nn.Linear(2, 1)
            >>> optimizer = QIASO(model.parameters(), seed=0)
            >>> losses = optimizer.evaluate(model, loss, torch.ones(4, 2))
            >>> expected = optimizer.tell(losses)
        """
        check_evaluator(evaluator, n_parallel)
        loops = evaluator == "loop" or (evaluator == "auto" and self._device().type != "cuda")
        with batch_statistics(model):
            if loops:
                return self._shared(partial(self._looped, lambda: loss(model, batch)))
            names = parameter_names(model, self._layout().params)

            def vmapped(candidates: Sequence[Candidate]) -> Tensor:
                weights = [
                    dict(zip(names, self.weights(candidate), strict=True))
                    for candidate in candidates
                ]
                return vmapped_losses(model, loss, batch, weights)

            return self._shared(lambda candidates: losses_in_parts(candidates, n_parallel, vmapped))

    def collapse(self) -> None:
        """Put the centre where p says, and make new candidates.

        Without a loss since the last collapse, nothing is done.
        """
        if self._population.log_p is not None:
            layout = self._layout()
            self._population.write_collapsed(layout.params, layout)
            self._population.restart()

    def epoch_end(self) -> None:
        """Count an epoch, and collapse if `collapse_when` is "epoch".

        Tunnelling and all that decays depend on the number of epochs.
        """
        self._population.epoch += 1
        if self.options.collapse_when == "epoch":
            self.collapse()

    @property
    def best(self) -> Best:
        """The weights to deploy, and the best candidate seen, in new tensors."""
        layout = self._layout()
        deploy = [param.detach().clone() for param in layout.params]
        self._population.write_collapsed(deploy, layout)
        seen = [
            self.state[param]["best"].clone()
            for param in layout.params
            if "best" in self.state.get(param, {})
        ]
        complete = len(seen) == len(layout.params)
        population = self._population
        return Best(deploy, seen if complete else None, population.best_loss, population.best_step)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain values and tensors.

        The centre is not part of it, because the model's own state has the parameters.
        """
        values = self._population.saved_values()
        values["shapes"] = self._layout().shapes
        return super().state_dict() | {"population": values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, its seed and its options included.

        Load the model's state, too: its parameters are the centre.

        Args:
            state_dict: A state from `state_dict`.

        Raises:
            CheckpointMismatch: If it is the state of another kind of optimizer.
            CheckpointMismatch: If its parameters have other shapes.
            ValueError: If its groups have other sizes. This error is torch's.
        """
        if "population" not in state_dict:
            raise CheckpointMismatch(
                "the checkpoint has no 'population': it is not one of a QIASO; load one that is"
            )
        check_shapes(state_dict["population"]["shapes"], self._layout().shapes)
        super().load_state_dict(state_dict)
        self._population = Population.of_saved(state_dict["population"])

    def __getstate__(self) -> dict[str, Any]:
        names = ("_population", "diagnose", "barrier", "distributed", "diagnosis")
        return super().__getstate__() | {name: getattr(self, name) for name in names}

    def _layout(self) -> Layout:
        return Layout.of(self.param_groups, self.options.unit)

    def _device(self) -> torch.device:
        """Return the device that collects the losses.

        On a CUDA device they are collected there, without waiting for each of them.
        """
        device = self._layout().params[0].device
        return device if device.type == "cuda" else torch.device("cpu")

    def _looped(
        self, closure: Callable[[], float | Tensor], candidates: Sequence[Candidate]
    ) -> Tensor:
        return looped_losses(closure, candidates, self.visiting(), self._device())

    def _shared(self, losses_of: LossesOf) -> Tensor:
        """Return the losses of all candidates, computed here or shared among the ranks."""
        with torch.no_grad():
            candidates = self.ask()
            if self.distributed:
                losses = losses_over_ranks(candidates, losses_of)
            else:
                losses = losses_of(candidates)
        return losses.to("cpu", torch.float64)

    def _remember_best(self, told: Tensor) -> None:
        """Note the lowest loss so far, and with `keep_best` the weights that have it."""
        finite = torch.where(told.isfinite(), told, math.inf)
        number = int(finite.argmin())
        loss = float(finite[number])
        population = self._population
        if not loss < population.best_loss:
            return
        if self.options.keep_best:
            weights = self.weights(self.ask()[number])
            for param, best in zip(self._layout().params, weights, strict=True):
                self.state[param]["best"] = best
        population.best_loss = loss
        population.best_step = population.step + 1
