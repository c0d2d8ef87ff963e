// A block of circuits forward: from the variables of its points to its states and outputs.
//
// A rotation costs 3 * 2^n operations, over the number of lanes.
#pragma once
#include "circuit_diagonals.h"

namespace hq::circuits {

// Makes the product state of the first rotations, qubit by qubit: each doubles the amplitudes that
// there are.
template <class B>
void make_product_state(B& block) {
  using T = typename B::Number;
  block.state[0] = typename B::Register(Ints<T>(broadcast(T(1))) ^ block.sign);
  typename B::Amplitude* const amplitudes = B::amplitudes(block.state);
  int64_t qubit = 0;
  for (int64_t half = 1; half < block.n_amplitudes; half *= 2) {
    for (int64_t k = 0; k < half; ++k) {
      amplitudes[half + k] = block.turns[qubit].sin * amplitudes[k];
      amplitudes[k] = block.turns[qubit].cos * amplitudes[k];
    }
    ++qubit;
  }
}

// Runs the circuits from number `first` on, as many as a block holds: the states are those at the
// end.
template <class B>
void run_forward(B& block, int64_t first) {
  block.first = first;
  block.n_circuits = std::min<int64_t>(B::kCircuits, block.call.batch - first);
  block.find_turns();
  make_product_state(block);
  for (const Step& step : block.program.steps) {
    if (step.is_diagonal) {
      apply_diagonal(block, step);
    } else {
      rotate(block, step, block.state, 1);
    }
  }
}

// Writes the outputs: signed parities, probabilities or real parts of the states.
template <class B>
void read_outputs(B& block) {
  using T = typename B::Number;
  const Program& program = block.program;
  const typename B::Register* const re = block.state;
  const typename B::Register* const im = block.state + block.n_registers;
  for (int64_t k = 0; k < block.n_registers; ++k) {
    block.values[k] = program.readout == kRealParts ? re[k] : re[k] * re[k] + im[k] * im[k];
  }
  if (program.readout == kParities) transform_values(block);
  for (int64_t output = 0; output < program.n_outputs; ++output) {
    const T sign = T(program.signs[output]);
    for (int i = 0; i < block.n_circuits; ++i) {
      T* const outputs = block.call.outputs + (block.first + i) * program.n_outputs;
      outputs[output] = sign * block.value(program.states[output], i);
    }
  }
}

}  // namespace hq::circuits
