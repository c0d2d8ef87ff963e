// Layers of rotations RY, which turn pairs of amplitudes whose numbers differ in one bit.
#pragma once
#include "circuit_block.h"

namespace hq::circuits {

constexpr int kMostBits = 4;  // that one pass over memory serves

// One pass over memory: calls operation(angle, x, y, slope) for kBits neighbouring bits and all
// pairs of registers x, y whose places differ in one of them.
//
// One state (kStates = 1) is changed by the operation. Of two states, state and cotangent,
// x[0], y[0] are from the former and x[1], y[1] from the latter; they are only read, and the
// operation adds to the slope. Each register is loaded once.
//
// Args:
//   registers: The first state; the second lies as far behind as the cotangent behind the state.
//   length: The number of registers of a state.
//   first_angle: The number of the angle of the lowest bit; the others follow.
//   stride: The distance of registers that differ in the lowest bit.
template <int kStates, int kBits, class B, class Operation>
void sweep_bits(B& block, typename B::Register* registers, int64_t length, int64_t first_angle,
                int64_t stride, Operation operation) {
  using Register = typename B::Register;
  using Wide = typename B::Wide;
  constexpr int kPoints = 1 << kBits;
  const int64_t apart = block.cotangent - block.state;
  Wide sums[kBits] = {};
  for (int64_t i = 0; i < length / kPoints; ++i) {
    // The bits of i below the stride stay, those above make room for the kBits ones of the sweep.
    Register* const at = registers + ((i & -stride) << kBits | (i & (stride - 1)));
    Register points[kPoints][kStates];
    Register slopes[kBits] = {};
    repeat<kStates * kPoints>([&](auto j) HQ_LAMBDA {
      points[j / kStates][j % kStates] = at[j / kStates * stride + j % kStates * apart];
    });
    // All pairs, bit by bit: the points that have the bit not, with those that have it.
    repeat<kBits * kPoints>([&](auto pair) HQ_LAMBDA {
      constexpr int bit = pair / kPoints;
      constexpr int point = pair % kPoints;
      constexpr int partner = point | 1 << bit;
      if constexpr (point != partner) {
        operation(first_angle + bit, points[point], points[partner], slopes[bit]);
      }
    });
    if constexpr (kStates == 1) {
      repeat<kPoints>([&](auto j) HQ_LAMBDA { at[j * stride] = points[j][0]; });
    } else {
      repeat<kBits>([&](auto bit) HQ_LAMBDA {
        sums[bit] += __builtin_convertvector(slopes[bit], Wide);
      });
    }
  }
  if constexpr (kStates == 2) {
    for (int bit = 0; bit < kBits; ++bit) block.add_slope(first_angle + bit, sums[bit]);
  }
}

// Makes the bits that count lanes those that count registers, or back: transposes every square of
// neighbouring registers.
template <int kStates, class B>
void exchange_lane_bits(B& block, typename B::Register* registers, int64_t length) {
  const int64_t apart = block.cotangent - block.state;
  for (int state = 0; state < kStates; ++state) {
    for (int64_t i = 0; i < length; i += B::kWidth) {
      transpose<typename B::Number>(registers + state * apart + i);
    }
  }
}

// Calls operation(angle, x, y, slope) for all bits of a step and all pairs of registers x, y that
// differ in one of them, as sweep_bits does. Bits within registers are exchanged for higher ones
// before, and back after.
template <int kStates, class B, class Operation>
void sweep(B& block, typename B::Register* registers, int64_t length, const Step& step,
           Operation operation) {
  int n_bits;
  for (int key = 0; key < step.keys.length; key += n_bits) {
    const int32_t* const bits = step.keys.data + key;
    const bool in_lanes = *bits < B::kLaneBits;
    // Neighbouring bits go together, if all or none of them count lanes.
    n_bits = 1;
    while (n_bits < kMostBits && key + n_bits < step.keys.length &&
           bits[n_bits] == *bits + n_bits && (bits[n_bits] < B::kLaneBits) == in_lanes) {
      ++n_bits;
    }
    const int64_t angle = step.first_angle + key;
    const int64_t stride = int64_t(1) << (in_lanes ? *bits : *bits - B::kLaneBits);
    if (in_lanes) exchange_lane_bits<kStates>(block, registers, length);
    switch (n_bits) {
      case 1: sweep_bits<kStates, 1>(block, registers, length, angle, stride, operation); break;
      case 2: sweep_bits<kStates, 2>(block, registers, length, angle, stride, operation); break;
      case 3: sweep_bits<kStates, 3>(block, registers, length, angle, stride, operation); break;
      case 4: sweep_bits<kStates, 4>(block, registers, length, angle, stride, operation); break;
    }
    if (in_lanes) exchange_lane_bits<kStates>(block, registers, length);
  }
}

// Rotates a state: direction 1, or -1 to undo it. A rotation is three shears, which leave the
// state's norm where it is, however they are rounded.
template <class B>
void rotate(B& block, const Step& step, typename B::Register* state,
            typename B::Number direction) {
  using Register = typename B::Register;
  const auto rotate_registers = [&](int64_t angle, auto& x, auto& y, Register&) {
    const auto shear = direction * block.turns[angle].shear;
    const auto sin = direction * block.turns[angle].sin;
    *x -= shear * *y;
    *y += sin * *x;
    *x -= shear * *y;
  };
  sweep<1>(block, state, step.n_parts * block.n_registers, step, rotate_registers);
}

// Adds the slope of each rotation: sum_k cotangent_k (G state)_k, where G is the generator.
template <class B>
void add_rotation_slopes(B& block, const Step& step) {
  using Register = typename B::Register;
  const auto add_products = [](int64_t, auto& x, auto& y, Register& slope) {
    slope += y[1] * x[0] - x[1] * y[0];
  };
  sweep<2>(block, block.state, step.n_parts * block.n_registers, step, add_products);
}

// Replaces the block's values: a_m = sum_k (-1)^parity(k & m) a_k for all m. That is every <Z> and
// every phase's slope at once, and its own adjoint.
template <class B>
void transform_values(B& block) {
  using Register = typename B::Register;
  const auto add_and_subtract = [](int64_t, auto& x, auto& y, Register&) {
    *x += *y;
    *y = *x - 2 * *y;
  };
  sweep<1>(block, block.values, block.n_registers, block.program.start, add_and_subtract);
}

}  // namespace hq::circuits
