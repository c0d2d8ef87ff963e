// Diagonals, which multiply amplitudes by phases, and the permutations of amplitudes after them.
#pragma once
#include <utility>

#include "circuit_rotations.h"

namespace hq::circuits {

// Finds the phases of a diagonal, exp(i sum_m angle_m (-1)^parity(k & m)) for each k, by doubling:
// the masks whose highest bit is 2^b part the upper half from the lower one.
template <class B>
void find_phases(B& block, const Step& step) {
  using Amplitude = typename B::Amplitude;
  Amplitude* const re = block.phases.data();
  Amplitude* const im = re + block.n_amplitudes;
  const typename B::Turn* turn = &block.turns[step.first_angle];
  const int32_t* mask = step.keys.begin();
  const int32_t* const end = step.keys.end();
  re[0] = Amplitude{} + 1;
  im[0] = Amplitude{};
  if (mask < end && *mask == 0) {
    rotate_pair(re[0], im[0], turn->cos, turn->sin);
    ++mask;
    ++turn;
  }
  for (int64_t half = 1; half < block.n_amplitudes; half *= 2) {
    std::copy_n(re, half, re + half);
    std::copy_n(im, half, im + half);
    for (; mask < end && *mask < 2 * half; ++mask, ++turn) {
      for (int64_t k = 0; k < half; ++k) {
        const Amplitude sin = __builtin_parityll(k & *mask) ? -turn->sin : turn->sin;
        rotate_pair(re[k], im[k], turn->cos, sin);
        rotate_pair(re[half + k], im[half + k], turn->cos, -sin);
      }
    }
  }
}

// Finds the phases of the diagonals that all circuits share: one number for all lanes. The shared
// angles must be there.
template <class B>
void find_shared_phases(B& block) {
  using T = typename B::Number;
  block.shared_phases.reserve(2 * block.n_amplitudes * block.program.steps.length);
  for (const Step& step : block.program.steps) {
    if (step.table < 0) continue;
    find_phases(block, step);
    for (const typename B::Amplitude& phase : block.phases) {
      block.shared_phases.push_back(reinterpret_cast<const T&>(phase));
    }
  }
}

template <class B>
const typename B::Number* shared_phases_of(const B& block, const Step& step) {
  return block.shared_phases.data() + 2 * block.n_amplitudes * step.table;
}

// Multiplies the state by phases and permutes it. A state that is real so far has no imaginary
// parts in memory.
template <class B, class Phase>
void multiply_and_permute(B& block, const Step& step, const Phase* phases) {
  using Amplitude = typename B::Amplitude;
  const int64_t size = block.n_amplitudes;
  const bool is_real = step.n_parts == 1;
  const Amplitude* const from = B::amplitudes(block.state);
  Amplitude* const to = B::amplitudes(block.spare);
  for (int64_t k = 0; k < size; ++k) {
    const int64_t source = step.permutation[k];
    Amplitude re = from[source];
    Amplitude im = is_real ? Amplitude{} : from[size + source];
    rotate_pair(re, im, phases[source], phases[size + source]);
    to[k] = re;
    to[size + k] = im;
  }
  std::swap(block.state, block.spare);
}

// Undoes multiply_and_permute on the state or on the cotangent.
template <class B, class Phase>
void permute_back_and_divide(B& block, const Step& step, const Phase* phases,
                             typename B::Register*& state) {
  using Amplitude = typename B::Amplitude;
  const int64_t size = block.n_amplitudes;
  const Amplitude* const from = B::amplitudes(state);
  Amplitude* const to = B::amplitudes(block.spare);
  for (int64_t k = 0; k < size; ++k) {
    const int64_t target = step.permutation[k];
    Amplitude re = from[k];
    Amplitude im = from[size + k];
    rotate_pair(re, im, phases[target], -phases[size + target]);
    to[target] = re;
    to[size + target] = im;
  }
  std::swap(state, block.spare);
}

// Runs a diagonal and the permutation after it, forward.
template <class B>
void apply_diagonal(B& block, const Step& step) {
  if (step.table >= 0) {
    multiply_and_permute(block, step, shared_phases_of(block, step));
  } else {
    find_phases(block, step);
    multiply_and_permute(block, step, block.phases.data());
  }
}

// Undoes a diagonal and the permutation after it, on state and cotangent.
template <class B>
void undo_diagonal(B& block, const Step& step) {
  if (step.table >= 0) {
    permute_back_and_divide(block, step, shared_phases_of(block, step), block.state);
    permute_back_and_divide(block, step, shared_phases_of(block, step), block.cotangent);
  } else {
    find_phases(block, step);
    permute_back_and_divide(block, step, block.phases.data(), block.state);
    permute_back_and_divide(block, step, block.phases.data(), block.cotangent);
  }
}

// Adds the slopes of a diagonal's angles, from state and cotangent before it. The slope of the
// phase of amplitude k is Im(conj(state_k) cotangent_k); those of the masks are its transform.
template <class B>
void add_phase_slopes(B& block, const Step& step) {
  using Wide = typename B::Wide;
  const int64_t n = block.n_registers;
  const typename B::Register* const state = block.state;
  const typename B::Register* const cotangent = block.cotangent;
  for (int64_t k = 0; k < n; ++k) {
    block.values[k] = state[k] * cotangent[n + k] - state[n + k] * cotangent[k];
  }
  transform_values(block);
  for (int i = 0; i < step.keys.length; ++i) {
    const int32_t mask = step.keys.data[i];
    if constexpr (B::kOneByOne) {
      block.add_slope(step.first_angle + i, Wide{block.value(mask, 0)});
    } else {
      block.add_slope(step.first_angle + i, __builtin_convertvector(block.values[mask], Wide));
    }
  }
}

}  // namespace hq::circuits
