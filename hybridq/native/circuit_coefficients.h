// The Fourier coefficients of gate * Phi for sets of angles, and their gradients.
//
// Phi is the weighted sum of a circuit's outputs as a function of its input. The samples of a set
// are points in a row, to which a matrix from samples to coefficients is applied
// (FourierForm in Python).
#pragma once
#include <cmath>
#include <cstdint>
#include <numeric>

#include "circuit_program.h"

namespace hq::circuits {

template <class T>
bool has_finite_weights(const Call<T>& call) {
  for (int64_t i = 0; i < call.n_sets * call.program->n_weights; ++i) {
    if (!std::isfinite(call.weights[i])) return false;
  }
  return true;
}

// Phi of a sample. Sums are doubles.
template <class T>
T weighted_sum(const T* readout, const T* outputs, int64_t n_outputs) {
  return T(std::inner_product(readout, readout + n_outputs, outputs, 0.));
}

// Forward, from outputs: adds gate * Phi * (row of the transform) for each sample.
template <class T>
void add_coefficients(const Call<T>& call) {
  const int64_t n_outputs = call.program->n_outputs;
  const int64_t n_samples = call.batch / call.n_sets;
  for (int64_t sample = 0; sample < call.batch; ++sample) {
    const int64_t set = sample / n_samples;
    const T* const row = call.transform + sample % n_samples * call.n_coefficients;
    const T* const readout = call.readout + set * n_outputs;
    T* const coefficients = call.coefficients + set * call.n_coefficients;
    const T phi = weighted_sum(readout, call.outputs + sample * n_outputs, n_outputs);
    const T gated = call.gate[set] * phi;
    for (int64_t k = 0; k < call.n_coefficients; ++k) coefficients[k] += gated * row[k];
  }
}

// Backward, from outputs and dL/d(coefficients): writes dL/d(outputs) into the dense room for it,
// and adds to dL/d(readout) and dL/d(gate).
template <class T>
void differentiate_coefficients(const Call<T>& call) {
  const int64_t n_outputs = call.program->n_outputs;
  const int64_t n_samples = call.batch / call.n_sets;
  for (int64_t sample = 0; sample < call.batch; ++sample) {
    const int64_t set = sample / n_samples;
    const T* const row = call.transform + sample % n_samples * call.n_coefficients;
    const T* const readout = call.readout + set * n_outputs;
    const T* const to_coefficients = call.coefficients + set * call.n_coefficients;
    const T* const outputs = call.outputs + sample * n_outputs;
    T* const to_outputs = call.gradient + sample * n_outputs;
    T* const to_readout = call.to_readout + set * n_outputs;
    const T phi = weighted_sum(readout, outputs, n_outputs);
    const T to_gated =
        T(std::inner_product(row, row + call.n_coefficients, to_coefficients, 0.));
    const T to_phi = to_gated * call.gate[set];
    for (int64_t o = 0; o < n_outputs; ++o) to_outputs[o] = to_phi * readout[o];
    for (int64_t o = 0; o < n_outputs; ++o) to_readout[o] += to_phi * outputs[o];
    call.to_gate[set] += to_gated * phi;
  }
}

}  // namespace hq::circuits
