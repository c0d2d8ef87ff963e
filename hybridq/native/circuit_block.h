// A block of circuits that run together: their states, their angles, and the slopes of these.
//
// There are two layouts.
//
// Many small circuits (kOneByOne = false). A block is as many circuits as a register has lanes,
// an amplitude is one register with a lane for each circuit, and every operation is a few vector
// instructions, whatever the gate. The states of a block are 2^n registers for each of real and
// imaginary part of state and cotangent: they stay in the nearest cache (4 KB at 4 qubits).
//
// Few or large circuits (kOneByOne = true). A block is one circuit, and a register holds
// neighbouring amplitudes. The lowest bits of their numbers, which count lanes, change places with
// higher ones to be rotated.
//
// In both, a state is all its real parts and then all its imaginary parts.
#pragma once
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "circuit_program.h"
#include "functions.h"

namespace hq::circuits {

// Multiplies x + iy by cos + i sin.
template <class Amplitude, class Factor>
HQ_INLINE void rotate_pair(Amplitude& x, Amplitude& y, Factor cos, Factor sin) {
  const Amplitude old = x;
  x = cos * x - sin * y;
  y = cos * y + sin * old;
}

// Blocks are aligned so that no cache line belongs to two threads.
template <class T, bool kOneByOne_>
struct alignas(128) Block {
  static constexpr bool kOneByOne = kOneByOne_;
  using Number = T;
  using Register = Vec<T>;
  using Wide = typename Types<T>::Wide;  // a double for each lane
  using Amplitude = std::conditional_t<kOneByOne, T, Register>;
  static constexpr int kWidth = kLanes<T>;
  static constexpr int kCircuits = kOneByOne ? 1 : kWidth;
  // The number of bits of an amplitude's number that count lanes.
  static constexpr int kLaneBits = kOneByOne ? __builtin_ctz(kWidth) : 0;

  // An angle, by which amplitudes are turned.
  struct Turn {
    Amplitude cos;
    Amplitude sin;
    Amplitude shear;  // the tangent of half the angle
  };
  // What angles depend on beside constants and shared weights: a sum of a point's variables.
  struct Combination {
    Wide angle;
    Wide slope;  // dL/d(angle)
    Register cos;
    Register sin;
  };
  struct Variable {
    Wide value;
    Wide slope;  // dL/d(value)
  };

  const Call<T>& call;
  const Program& program;
  const int64_t n_amplitudes;
  const int64_t n_registers;  // of the amplitudes' real parts, and of the imaginary parts
  int64_t first = 0;          // the first circuit of the block
  int64_t n_circuits = 0;

  std::vector<Register> memory;
  Register* state;      // 2 n_registers
  Register* cotangent;  // 2 n_registers: dL/d(state)
  Register* spare;      // 2 n_registers
  Register* values;     // n_registers: probabilities, parities, or slopes of phases

  std::vector<Turn> turns;         // for each angle
  std::vector<Turn> shared_turns;  // the part of it that all circuits share
  Ints<T> sign{};                  // the bit of the state's sign, 0 or 1 in the highest place
  Ints<T> shared_sign{};
  std::vector<Combination> combinations;
  std::vector<Variable> variables;
  std::vector<Wide> slopes;         // for each angle, over the blocks of a chunk
  std::vector<Amplitude> phases;    // of a diagonal: all cosines, then all sines
  std::vector<T> shared_phases;     // the same of each diagonal that all circuits share

  explicit Block(const Call<T>& call)
      : call(call),
        program(*call.program),
        n_amplitudes(int64_t(1) << program.n_qubits),
        n_registers(n_amplitudes >> kLaneBits),
        memory(7 * n_registers),
        state(memory.data()),
        cotangent(state + 2 * n_registers),
        spare(cotangent + 2 * n_registers),
        values(spare + 2 * n_registers),
        turns(program.constants.length, Turn{Amplitude{} + 1, Amplitude{}, Amplitude{}}),
        shared_turns(turns),
        combinations(program.n_combinations),
        variables(program.n_inputs + program.n_point_weights),
        slopes(program.constants.length),
        phases(2 * n_amplitudes) {}

  static Amplitude* amplitudes(Register* registers) {
    return reinterpret_cast<Amplitude*>(registers);
  }

  // The value with a number, of one of the block's circuits.
  T& value(int number, int circuit) {
    return reinterpret_cast<T*>(values)[number * kCircuits + circuit];
  }

  static double sum(const Wide& lanes) {
    double total = 0;
    for (int i = 0; i < kWidth; ++i) total += lanes[i];
    return total;
  }

  // Angles
  // -----------------------------------------------------------------------------------------------

  // Finds the part of the angles that all circuits share: constants, and terms of shared weights.
  void find_shared_turns() {
    std::vector<double> angles(program.constants.begin(), program.constants.end());
    for (const Term& term : program.shared_terms) {
      angles[term.target] += term.factor * double(call.weights[term.variable]);
    }
    for (size_t i = 0; i < angles.size(); ++i) {
      set_turn(i, broadcast(T(std::cos(angles[i]))), broadcast(T(std::sin(angles[i]))));
    }
    shared_turns = turns;
    shared_sign = sign;
  }

  // Finds all angles of the block's circuits.
  void find_turns() {
    load_variables();
    find_combinations();
    sign = shared_sign;
    for (int64_t angle = 0; angle < program.constants.length; ++angle) {
      const int number = program.combination_numbers[angle];
      if (number) set_turn(angle, combinations[number].cos, combinations[number].sin);
    }
  }

  // Brings the variables of the block's points side by side: a lane for each point. Lanes without
  // a point repeat the last one.
  void load_variables() {
    const int64_t points_of_set = call.batch / call.n_sets;
    const int64_t n_inputs = program.n_inputs;
    const int64_t n_weights = program.n_point_weights;
    for (int64_t lane = 0; lane < kWidth; ++lane) {
      const int64_t point = first + std::min(lane, n_circuits - 1);
      const T* const inputs = call.inputs + point * n_inputs;
      const T* const weights = call.weights + point / points_of_set * n_weights;
      for (int i = 0; i < n_inputs; ++i) variables[i].value[lane] = inputs[i];
      for (int i = 0; i < n_weights; ++i) variables[n_inputs + i].value[lane] = weights[i];
    }
  }

  // Sums the combinations, and finds their cosines and sines. The angles are doubles, since the
  // errors of all rotations add up. Whole half turns are taken off, with an error like the
  // rounding of the angle. Of an angle whose rounding error alone is whole turns, the second
  // rounding leaves no rest.
  void find_combinations() {
    constexpr double kHalfTurns = 0.318309886183790672;  // 1 / pi
    for (Combination& combination : combinations) {
      combination.angle = Wide{};
      combination.slope = Wide{};
    }
    for (const Term& term : program.point_terms) {
      combinations[term.target].angle += term.factor * variables[term.variable].value;
    }
    for (int i = 1; i < program.n_combinations; ++i) {
      Combination& combination = combinations[i];
      const Wide half_turns = combination.angle * kHalfTurns;
      const Wide whole = round<double>(half_turns);
      const Wide odd = whole - 2 * round<double>(0.5 * whole);
      const Register rest = __builtin_convertvector(half_turns - whole, Register);
      const Register shifted = __builtin_convertvector(odd, Register) + kRound<T>;
      sincospi<T>(shifted, rest - round<T>(rest), combination.sin, combination.cos);
    }
  }

  // Sets an angle to its shared part plus another one, of which the cosine and the sine are given.
  // The sum is brought to a cosine of at least 0: a half turn changes the sign of the state.
  void set_turn(int64_t angle, Register cos, Register sin) {
    rotate_pair(cos, sin, shared_turns[angle].cos, shared_turns[angle].sin);
    const Ints<T> negative = Ints<T>(cos) & Ints<T>(broadcast(T(-0.)));
    cos = Register(Ints<T>(cos) ^ negative);
    sin = Register(Ints<T>(sin) ^ negative);
    sign ^= negative;
    Register shear = sin / (1 + cos);
    turns[angle] = {amplitudes(&cos)[0], amplitudes(&sin)[0], amplitudes(&shear)[0]};
  }

  void add_slope(int64_t angle, const Wide& slope) {
    slopes[angle] += slope;
    combinations[program.combination_numbers[angle]].slope += slope;
  }
};

}  // namespace hq::circuits
