"""A program run on a batch of state vectors with torch, on a CPU or a GPU.

Layout: a state is (re and im, 2**n amplitudes, lanes), the lanes of the batch last, so that every
operation is a long contiguous loop. While no diagonal has acted the state is real and has no im.

Gradients: a reversible adjoint. The backward pass walks the program from its end, undoing each
instruction on the state psi and on the cotangent lambda together, so that memory does not grow with
the number of gates. With G = [[0, -1], [1, 0]] acting on one wire, dRY(t)/dt = G RY(t) / 2, and
with phases phi_k, d psi_k / d phi_k = i psi_k, so that the gradients are

    dL/dt = 1/2 sum_k lambda_k . (G psi)_k          dL/dphi_k = Im(conj(psi_k) lambda_k)

and both are read at the output of the instruction, where all rotations of one layer commute.
"""

import torch
from torch import Tensor

from hybridq.engine.torch_program import Angles, PhaseStep, RotateStep, TorchProgram

__all__ = ["backward", "forward"]

_FEW_LANES = 512


def forward(program: TorchProgram, angles: Angles) -> Tensor:
    """Run the program from |0...0>.

    Args:
        program: The program, prepared for a dtype and a device.
        angles: The angles of this chunk of lanes.

    Returns:
        The final state, shape (1, 2**n, lanes) if it is real, otherwise (2, 2**n, lanes).
    """
    state = _product(program, angles)[None]  # (1, 2**n, lanes)
    spare = torch.empty_like(state)
    for step in program.steps:
        if isinstance(step, RotateStep):
            for wire, row in step.wires:
                _rotate(state, spare, wire, *angles.cos_sin(row))
                state, spare = spare, state
        elif isinstance(step, PhaseStep):
            cos, sin = step.phasor(angles)
            state = _multiply(state, cos, sin)
            spare = torch.empty_like(state)
        else:
            torch.index_select(state, 1, step.index, out=spare)
            state, spare = spare, state
    return state


def backward(program: TorchProgram, angles: Angles, psi: Tensor, cotangent: Tensor) -> None:
    """Walk the program from its end and add all gradients to `angles`.

    Args:
        program: The program, prepared for a dtype and a device.
        angles: The angles of this chunk of lanes; its gradients are filled.
        psi: The final state, as `forward` returned it.
        cotangent: dL/d(state), of the same shape.
    """
    both = torch.stack((psi, cotangent))  # (psi and lambda, re and im, 2**n, lanes)
    spare = torch.empty_like(both)
    angles.zero_gradient()
    for step in reversed(program.steps):
        if isinstance(step, RotateStep):
            step.set_gradient(angles, _generators(both, step))
            for wire, row in step.wires:
                _rotate(both, spare, wire, *angles.cos_sin(row), undo=True)
                both, spare = spare, both
        elif isinstance(step, PhaseStep):
            step.set_gradient(angles, _phase_gradient(both))
            cos, sin = step.phasor(angles)
            both = _undo_phase(both, cos, sin, becomes_real=step is program.first_phase)
            spare = torch.empty_like(both)
        else:
            torch.index_select(both, 2, step.inverse, out=spare)
            both, spare = spare, both
    if program.start.wires:
        program.start.set_gradient(angles, _generators(both, program.start))


def _product(program: TorchProgram, angles: Angles) -> Tensor:
    """Return the real product state of the first rotations, shape (2**n, lanes)."""
    rows = dict(program.start.wires)
    state = angles.lanes.new_ones((1, angles.lanes.shape[1]))
    for wire in range(program.n_qubits):
        pair = program.zero_state  # (2, lanes or 1)
        if wire in rows:
            pair = torch.stack(angles.cos_sin(rows[wire]))
        state = (state[:, None] * pair).flatten(0, 1)
    return state


def _rotate(
    source: Tensor, target: Tensor, wire: int, cos: Tensor, sin: Tensor, *, undo: bool = False
) -> None:
    """Write RY source to the target; RY acts on one wire.

    Args:
        source: Shape (..., 2**n, lanes).
        target: The same shape.
        wire: The wire.
        cos: Cos of half the angle, shape (lanes,) or (1,).
        sin: Sin of half the angle, of the same shape.
        undo: Whether to rotate back.
    """
    sign = -1 if undo else 1
    lanes = source.shape[-1]
    right = source.shape[-2] >> (wire + 1)
    a0, a1 = source.view(-1, 2, right, lanes).unbind(1)
    b0, b1 = target.view(-1, 2, right, lanes).unbind(1)
    torch.mul(a0, cos, out=b0).addcmul_(a1, sin, value=-sign)
    torch.mul(a1, cos, out=b1).addcmul_(a0, sin, value=sign)


def _generators(both: Tensor, step: RotateStep) -> Tensor:
    """Return sum_k lambda_k . (G psi)_k for each wire and lane, shape (wires, lanes)."""
    psi, cotangent = both
    if step.flipped is None or both.shape[-1] > _FEW_LANES:
        return torch.stack([_generator(both, wire) for wire, _ in step.wires])
    # With few lanes calls cost more than arithmetic, so all wires are done at once.
    flipped = psi.index_select(1, step.flipped).mul_(step.signs)
    # (re and im, wires, 2**n, lanes)
    by_wire = flipped.view(len(psi), len(step.wires), *psi.shape[1:])
    result: Tensor = by_wire.mul_(cotangent[:, None]).sum((0, 2))
    return result


def _generator(both: Tensor, wire: int) -> Tensor:
    """Return sum_k lambda_k . (G psi)_k for each lane, shape (lanes,)."""
    lanes = both.shape[-1]
    right = both.shape[-2] >> (wire + 1)
    pairs = both.view(2, -1, 2, right, lanes)
    p0, p1 = pairs[0].unbind(1)  # psi where the bit of the wire is 0, and where it is 1
    l0, l1 = pairs[1].unbind(1)  # lambda in the same way
    return torch.mul(l1, p0).addcmul_(l0, p1, value=-1).sum((0, 1))


def _multiply(state: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return the state times cos + i sin.

    Args:
        state: Shape (1 or 2, 2**n, lanes).
        cos: Shape (2**n, lanes or 1).
        sin: The same shape.

    Returns:
        Shape (2, 2**n, lanes).
    """
    result = state.new_empty((2, *state.shape[1:]))
    torch.mul(state[0], cos, out=result[0])
    torch.mul(state[0], sin, out=result[1])
    if len(state) == 2:
        result[0].addcmul_(state[1], sin, value=-1)
        result[1].addcmul_(state[1], cos)
    return result


def _undo_phase(both: Tensor, cos: Tensor, sin: Tensor, *, becomes_real: bool) -> Tensor:
    """Return both states times cos - i sin; only the real part where the state was real before.

    There the imaginary part of psi is zero, and that of lambda belongs to nothing that could be
    varied.
    """
    re = both[:, 0]
    im = both[:, 1]
    result = both.new_empty((2, 1 if becomes_real else 2, *both.shape[2:]))
    torch.mul(re, cos, out=result[:, 0]).addcmul_(im, sin)
    if not becomes_real:
        torch.mul(im, cos, out=result[:, 1]).addcmul_(re, sin, value=-1)
    return result


def _phase_gradient(both: Tensor) -> Tensor:
    """Return Im(conj(psi) lambda), shape (2**n, lanes)."""
    p_re, p_im = both[0]
    l_re, l_im = both[1]
    return torch.mul(l_im, p_re).addcmul_(l_re, p_im, value=-1)
