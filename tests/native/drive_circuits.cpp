// Runs the circuit kernels over sizes, tails, readouts, phases that are shared and not, sets of
// weights and their Fourier series, for the sanitizers to watch.
//
// The exit status is 0, or 1 for a result that is not finite.
#include <cstdio>

#include "circuits.cpp"

namespace {

using namespace hq::circuits;

template <class Item>
List<Item> list(const std::vector<Item>& items) {
  return {items.data(), int64_t(items.size())};
}

// Rotations of all bits, a permutation that reverses, a diagonal of all bits and pairs, rotations
// of every other bit, again such a diagonal, and again rotations of all bits.
struct Example {
  static constexpr int32_t kInputs = 2;
  static constexpr int32_t kWeights = 3;

  std::vector<double> constants;
  std::vector<double> signs;
  std::vector<int32_t> combination_numbers;
  std::vector<int32_t> no_bits;
  std::vector<int32_t> all_bits;
  std::vector<int32_t> some_bits;
  std::vector<int32_t> masks;
  std::vector<int32_t> permutation;
  std::vector<int32_t> states;
  std::vector<Term> shared_terms;
  std::vector<Term> point_terms;
  std::vector<Step> steps;
  Program program{};

  Example(int n_qubits, int readout, bool own_weights) : permutation(1 << n_qubits) {
    std::iota(permutation.rbegin(), permutation.rend(), 0);
    for (int bit = 0; bit < n_qubits; ++bit) {
      all_bits.push_back(bit);
      if (bit % 2 == 0) some_bits.push_back(bit);
      masks.push_back(1 << bit);
      if (bit) masks.push_back(3 << (bit - 1));
    }
    point_terms = {{0.5, 1, 0}, {-1.5, 2, 0}, {1, 2, own_weights ? 4 : 1}};
    const Step start = add_angles(all_bits, 0, 3);
    steps.push_back(as_diagonal(add_angles(no_bits, 0, 1), 0, 1));
    steps.push_back(as_diagonal(add_angles(masks, 1, 1), 1, 1));
    steps.push_back(with_parts(add_angles(some_bits, 2, 2), 2));
    steps.push_back(as_diagonal(add_angles(masks, 0, 3), -1, 2));
    steps.push_back(with_parts(add_angles(all_bits, 1, 1), 2));
    for (int output = 0; output < std::min(n_qubits, 3); ++output) {
      states.push_back(1 << output);
      signs.push_back(1 - 2 * (output % 2));
    }
    if (own_weights) shared_terms.clear();
    program.constants = list(constants);
    program.combination_numbers = combination_numbers.data();
    program.shared_terms = list(shared_terms);
    program.point_terms = list(point_terms);
    program.steps = list(steps);
    program.start = start;
    program.states = states.data();
    program.signs = signs.data();
    program.n_qubits = n_qubits;
    program.n_inputs = kInputs;
    program.n_weights = kWeights;
    program.n_point_weights = own_weights ? kWeights : 0;
    program.n_combinations = 3;
    program.n_outputs = int32_t(states.size());
    program.readout = readout;
  }

  // Adds an angle for each key, of a weight and of the first combinations in turn, and returns
  // their step, as rotations of a real state.
  Step add_angles(const std::vector<int32_t>& keys, int32_t weight, int n_combinations) {
    const int32_t first_angle = int32_t(constants.size());
    for (int i = 0; i < int(keys.size()); ++i) {
      shared_terms.push_back({1 - 0.2 * i, int32_t(constants.size()), weight});
      combination_numbers.push_back(i % n_combinations);
      constants.push_back(0.1 * i);
    }
    return {list(keys), permutation.data(), 0, first_angle, -1, 1};
  }

  static Step as_diagonal(Step step, int32_t table, int32_t n_parts) {
    step.is_diagonal = 1;
    step.table = table;
    step.n_parts = n_parts;
    return step;
  }

  static Step with_parts(Step step, int32_t n_parts) {
    step.n_parts = n_parts;
    return step;
  }
};

template <class T>
double sum(const std::vector<T>& numbers) {
  return double(std::accumulate(numbers.begin(), numbers.end(), T(0)));
}

// Runs a call forward, backward from a constant and backward from dense numbers. Returns a sum of
// all results.
template <class T>
double drive_outputs(Call<T> call, int (*kernel)(const Call<T>&), std::vector<T>& outputs) {
  Call<T> forward = call;
  forward.to_inputs = nullptr;
  forward.to_weights = nullptr;
  kernel(forward);
  T one = 1;
  call.outputs = nullptr;
  call.gradient = &one;
  kernel(call);
  call.gradient = outputs.data();
  call.gradient_row_stride = call.program->n_outputs;
  call.gradient_column_stride = 1;
  call.n_threads = 1;
  kernel(call);
  return sum(outputs);
}

// Runs the Fourier series of a call forward and backward, and with a weight that is not finite.
template <class T>
double drive_series(Call<T> call, int (*kernel)(const Call<T>&), std::vector<T>& weights) {
  const int64_t n_outputs = call.program->n_outputs;
  const int64_t n_coefficients = 4;
  std::vector<T> readout(call.n_sets * n_outputs, T(0.5));
  std::vector<T> gate(call.n_sets, T(2));
  std::vector<T> transform(call.batch / call.n_sets * n_coefficients, T(0.1));
  std::vector<T> coefficients(call.n_sets * n_coefficients);
  std::vector<T> to_readout(call.n_sets * n_outputs);
  std::vector<T> to_gate(call.n_sets);
  std::vector<T> to_outputs(call.batch * n_outputs);
  call.readout = readout.data();
  call.gate = gate.data();
  call.transform = transform.data();
  call.coefficients = coefficients.data();
  call.to_readout = to_readout.data();
  call.to_gate = to_gate.data();
  call.n_coefficients = n_coefficients;
  int failures = kernel(call);
  call.gradient = to_outputs.data();
  call.gradient_row_stride = n_outputs;
  call.gradient_column_stride = 1;
  failures += kernel(call);
  weights.back() = T(INFINITY);
  if (failures || kernel(call) != kNotFinite) return NAN;
  return sum(coefficients) + sum(to_readout) + sum(to_gate);
}

template <class T>
double drive(int (*kernel)(const Call<T>&), int n_qubits, int readout, int64_t batch,
             bool one_by_one) {
  const bool own_weights = readout == kProbabilities;
  const Example example(n_qubits, readout, own_weights);
  int64_t n_sets = 1;
  if (own_weights) n_sets = batch % 5 ? batch : batch / 5;
  std::vector<T> inputs(batch * Example::kInputs, T(0.3));
  std::vector<T> weights(n_sets * Example::kWeights, T(-0.7));
  std::vector<T> outputs(batch * example.program.n_outputs);
  std::vector<T> to_inputs(inputs.size());
  std::vector<T> to_weights((own_weights ? batch : 1) * Example::kWeights);
  Call<T> call{};
  call.program = &example.program;
  call.inputs = inputs.data();
  call.weights = weights.data();
  call.outputs = outputs.data();
  call.to_inputs = to_inputs.data();
  call.to_weights = to_weights.data();
  call.batch = batch;
  call.n_sets = n_sets;
  call.n_threads = 2;
  call.one_by_one = one_by_one;
  double total = drive_outputs(call, kernel, outputs);
  total += sum(to_inputs) + sum(to_weights);
  if (batch) total += drive_series(call, kernel, weights) + sum(to_weights);
  return total;
}

}  // namespace

int main() {
  double total = 0;
  for (int n_qubits = 1; n_qubits <= 10; ++n_qubits) {
    for (int readout = 0; readout < 3; ++readout) {
      for (int64_t batch : {0, 1, 15, 34, 300}) {
        total += drive(hq_circuits_float, n_qubits, readout, batch, false);
        total += drive(hq_circuits_double, n_qubits, readout, batch, false);
        if (n_qubits < 8 || batch > 34) continue;  // registers full of amplitudes, and few circuits
        total += drive(hq_circuits_float, n_qubits, readout, batch, true);
        total += drive(hq_circuits_double, n_qubits, readout, batch, true);
      }
    }
  }
  std::printf("%s\n", std::isfinite(total) ? "done" : "not finite");
  return !std::isfinite(total);
}
