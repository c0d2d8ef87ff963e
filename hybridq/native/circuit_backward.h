// A block of circuits backward: from dL/d(outputs) to the slopes of angles, inputs and weights.
//
// Nothing was saved. After the block has run forward again, the program is walked from its end,
// each step undone on state and cotangent (see hybridq/engine/torch_kernel.py). A rotation costs
// about 11 * 2^n operations over the number of lanes, the run forward included.
#pragma once
#include "circuit_forward.h"

namespace hq::circuits {

// Finds the cotangent at the end, dL/d(state), from dL/d(outputs): the adjoint of read_outputs.
template <class B>
void seed_cotangent(B& block) {
  using T = typename B::Number;
  using Register = typename B::Register;
  const Program& program = block.program;
  const Call<T>& call = block.call;
  const int64_t n = block.n_registers;
  std::fill_n(block.values, n, Register{});
  for (int64_t output = 0; output < program.n_outputs; ++output) {
    const T* const column = call.gradient + output * call.gradient_column_stride;
    const T sign = T(program.signs[output]);
    for (int i = 0; i < block.n_circuits; ++i) {
      const T gradient = column[(block.first + i) * call.gradient_row_stride];
      block.value(program.states[output], i) += sign * gradient;
    }
  }
  if (program.readout == kParities) transform_values(block);
  if (program.readout == kRealParts) {
    std::copy_n(block.values, n, block.cotangent);
    std::fill_n(block.cotangent + n, n, Register{});
    return;
  }
  // The derivative of |x + iy|^2 is 2 x in x, and 2 y in y.
  const Register* const re = block.state;
  const Register* const im = block.state + n;
  for (int64_t k = 0; k < n; ++k) {
    block.cotangent[k] = block.values[k] * (2 * re[k]);
    block.cotangent[n + k] = block.values[k] * (2 * im[k]);
  }
}

// Walks the steps backward, and adds the slopes of their angles to those of the chunk and of the
// combinations.
template <class B>
void walk_back(B& block) {
  const Program& program = block.program;
  for (int64_t i = program.steps.length - 1; i >= 0; --i) {
    const Step& step = program.steps.data[i];
    if (step.is_diagonal) {
      undo_diagonal(block, step);
      if (step.keys.length) add_phase_slopes(block, step);
    } else {
      add_rotation_slopes(block, step);
      rotate(block, step, block.state, -1);
      rotate(block, step, block.cotangent, -1);
    }
  }
  add_rotation_slopes(block, program.start);
}

// Writes dL/d(inputs), and dL/d(weights) for weights of a point's own. In the layout with one
// circuit in all lanes, a slope is the sum of its lanes.
template <class B>
void write_slopes(B& block) {
  using T = typename B::Number;
  const Program& program = block.program;
  for (typename B::Variable& variable : block.variables) variable.slope = typename B::Wide{};
  for (const Term& term : program.point_terms) {
    block.variables[term.variable].slope += term.factor * block.combinations[term.target].slope;
  }
  const auto slope = [&](int64_t variable, int64_t lane) {
    const typename B::Wide& lanes = block.variables[variable].slope;
    return T(B::kOneByOne ? B::sum(lanes) : lanes[lane]);
  };
  const int64_t n_inputs = program.n_inputs;
  const int64_t n_weights = program.n_point_weights;
  for (int64_t i = 0; i < block.n_circuits; ++i) {
    T* const to_inputs = block.call.to_inputs + (block.first + i) * n_inputs;
    T* const to_weights = block.call.to_weights + (block.first + i) * n_weights;
    for (int64_t v = 0; v < n_inputs; ++v) to_inputs[v] = slope(v, i);
    for (int64_t v = 0; v < n_weights; ++v) to_weights[v] = slope(n_inputs + v, i);
  }
}

// Runs a block backward, after run_forward.
template <class B>
void run_backward(B& block) {
  seed_cotangent(block);
  walk_back(block);
  write_slopes(block);
}

}  // namespace hq::circuits
