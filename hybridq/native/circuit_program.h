// What a call of the circuit kernels is given: a circuit's program, and the arrays of the call.
//
// These structs cross the border to Python: hybridq/native/circuits.py has each of them with the
// same fields in the same order. Whoever changes one changes the other, and raises
// HQ_LAYOUT_VERSION (layout.cpp).
#pragma once
#include <cstdint>

namespace hq::circuits {

template <class Item>
struct List {
  const Item* data;
  int64_t length;

  const Item* begin() const { return data; }
  const Item* end() const { return data + length; }
};

// Adds factor * (the variable) to an angle or a combination, whose number is the target.
struct Term {
  double factor;
  int32_t target;
  int32_t variable;
};

// A layer of rotations RY of different qubits, or a diagonal followed by a permutation.
struct Step {
  List<int32_t> keys;          // ascending; of rotations the bit of each, of a diagonal the mask m
                               // of each phase angle_m (-1)^parity(k & m)
  const int32_t* permutation;  // after a diagonal: new[k] = old[permutation[k]]
  int32_t is_diagonal;
  int32_t first_angle;  // the keys' angles are this one and those that follow
  int32_t table;        // of a diagonal: the number of its table of phases, if all circuits share
                        // that; otherwise -1
  int32_t n_parts;      // 1 while the state is real, then 2: real and imaginary part
};

enum Readout : int32_t { kParities, kProbabilities, kRealParts };

// A circuit, as hybridq/engine/packing.py packs it. Bit b of an amplitude's number is the qubit of
// weight 2^b. Every angle is a constant, plus terms of weights that all circuits share, plus a
// combination of the variables of a point: its inputs, and then the weights of its own, if it has
// such. Angles of rotations are halved.
struct Program {
  List<double> constants;             // for each angle
  const int32_t* combination_numbers;  // for each angle; combination 0 is empty
  List<Term> shared_terms;            // from weights to angles
  List<Term> point_terms;             // from variables to combinations
  List<Step> steps;                   // after the first
  Step start;             // rotates every qubit of |0...0>, which makes a product state
  const int32_t* states;  // for each output: the mask of a parity, or which amplitude to read
  const double* signs;    // for each output
  int32_t n_qubits;
  int32_t n_inputs;
  int32_t n_weights;
  int32_t n_point_weights;  // n_weights if points have weights of their own, otherwise 0
  int32_t n_combinations;
  int32_t n_outputs;
  int32_t readout;  // a Readout
};

// One call, forward or backward. A set of weights serves batch / n_sets points in a row.
template <class T>
struct Call {
  const Program* program;
  const T* inputs;     // (batch, n_inputs)
  const T* weights;    // (n_sets, n_weights)
  T* outputs;          // (batch, n_outputs)
  T* gradient;         // dL/d(outputs), of any strides; nullptr in a forward call
  T* to_inputs;        // dL/d(inputs), as inputs
  T* to_weights;       // dL/d(weights): (1, n_weights), or (batch, n_weights) for weights of points
  int64_t batch;
  int64_t n_sets;
  int64_t n_threads;
  int64_t gradient_row_stride;  // in numbers
  int64_t gradient_column_stride;
  int64_t one_by_one;  // 1 or 0: which of the two layouts (circuit_block.h)
  // Of a Fourier series (circuit_coefficients.h); all of them nullptr if there is none.
  const T* readout;    // (n_sets, n_outputs)
  const T* gate;       // (n_sets)
  const T* transform;  // (samples, n_coefficients)
  T* coefficients;     // (n_sets, n_coefficients); forward zeros, to which the coefficients are
                       // added; backward dL/d(coefficients)
  T* to_readout;       // dL/d(readout), as readout; zeros, to which it is added
  T* to_gate;          // dL/d(gate), as gate; zeros, to which it is added
  int64_t n_coefficients;
};

}  // namespace hq::circuits
