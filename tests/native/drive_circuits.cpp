// Runs the circuit kernels over sizes, tails, readouts, phases shared and not, sets of weights and their Fourier series, for
// the sanitizers to watch.
#include "circuits.cpp"

#include <cstdio>

namespace {

using namespace hq::circuits;

// Rotations on all bits, a diagonal of all bits and pairs with a reversing permutation, rotations on every other bit, again.
template <class X> List<X> list(const std::vector<X>& x) { return {x.data(), int64_t(x.size())}; }

struct Example {
  std::vector<double> constants, signs;
  std::vector<int32_t> combination, all_bits, some_bits, masks, index, states;
  std::vector<Term> point_terms, shared_terms;
  std::vector<Step> steps;
  Program program{};

  Example(int n, int readout, bool own) : index(1 << n), point_terms{{0.5, 1, 0}, {-1.5, 2, 0}, {1, 2, own ? 4 : 1}} {
    for (int bit = 0; bit < n; ++bit) {
      all_bits.push_back(bit);
      if (bit % 2 == 0) some_bits.push_back(bit);
      masks.push_back(1 << bit);
      if (bit) masks.push_back(3 << (bit - 1));
    }
    std::iota(index.rbegin(), index.rend(), 0);
    const auto step = [&](const std::vector<int32_t>& keys, int diagonal, int weight, int n_combinations, int table, int parts) {
      steps.push_back({list(keys), index.data(), diagonal, int32_t(constants.size()), table, parts});
      for (int i = 0; i < int(keys.size()); ++i) {
        shared_terms.push_back({1 - 0.2 * i, int32_t(constants.size()), weight});
        combination.push_back(i % n_combinations), constants.push_back(0.1 * i);
      }
    };
    step(all_bits, 0, 0, 3, -1, 1), step({}, 1, 0, 1, 0, 1), step(masks, 1, 1, 1, 1, 1), step(some_bits, 0, 2, 2, -1, 2);
    step(masks, 1, 0, 3, -1, 2), step(all_bits, 0, 1, 1, -1, 2);
    for (int o = 0; o < std::min(n, 3); ++o) states.push_back(1 << o), signs.push_back(1 - 2 * (o % 2));
    if (own) shared_terms.clear();
    const Step start = steps[0];
    steps.erase(steps.begin());
    program = {list(constants), combination.data(), list(shared_terms), list(point_terms), list(steps), start, states.data(),
               signs.data(), n, 2, 3, own ? 3 : 0, 3, int32_t(states.size()), readout};
  }
};

template <class T>
double drive(int (*run)(const Call<T>&), int n_qubits, int kind, int64_t batch, bool one_by_one) {
  const bool own = kind == kProbabilities;
  const Example example(n_qubits, kind, own);
  const int64_t n_outputs = example.program.n_outputs, sets = !own ? 1 : batch % 5 ? batch : batch / 5, n = 4;
  std::vector<T> inputs(batch * 2, T(0.3)), weights(3 * sets, T(-0.7)), outputs(batch * n_outputs), to_inputs(batch * 2);
  std::vector<T> to_weights(own ? 3 * batch : 3);
  T one = 1;
  Call<T> call{example.program, inputs.data(), weights.data(), outputs.data(), nullptr, nullptr, nullptr, batch, sets, 2, 0, 0, one_by_one,
               nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 0};
  run(call);
  call.outputs = nullptr, call.to_inputs = to_inputs.data(), call.to_weights = to_weights.data();
  call.gradient = &one;
  run(call);
  call.gradient = outputs.data(), call.row_stride = n_outputs, call.stride = 1, call.n_threads = 1;
  run(call);
  double total = 0;
  const auto add = [&](const std::vector<T>& found) { total += double(std::accumulate(found.begin(), found.end(), T(0))); };
  add(outputs), add(to_inputs), add(to_weights);
  if (batch == 0) return total;
  std::vector<T> readout(sets * n_outputs, T(0.5)), gate(sets, T(2)), transform(batch / sets * n, T(0.1)), coefficients(sets * n);
  std::vector<T> room(batch * n_outputs), to_readout(sets * n_outputs), to_gate(sets);
  call.gradient = nullptr, call.outputs = outputs.data(), call.n = n;
  call.readout = readout.data(), call.gate = gate.data(), call.transform = transform.data();
  call.coefficients = coefficients.data(), call.to_readout = to_readout.data(), call.to_gate = to_gate.data();
  total += run(call);
  call.gradient = room.data();
  total += run(call);
  add(coefficients), add(to_readout), add(to_gate), add(to_weights);
  weights.back() = T(INFINITY);
  return run(call) == 2 ? total : NAN;
}

}  // namespace

int main() {
  double total = 0;
  for (int n = 1; n <= 10; ++n)
    for (int readout = 0; readout < 3; ++readout)
      for (int64_t batch : {0, 1, 15, 34, 300}) {
        total += drive(hq_circuits_float, n, readout, batch, false);
        total += drive(hq_circuits_double, n, readout, batch, false);
        if (n < 8 || batch > 34) continue;
        total += drive(hq_circuits_float, n, readout, batch, true);
        total += drive(hq_circuits_double, n, readout, batch, true);
      }
  std::printf("%s\n", std::isfinite(total) ? "done" : "not finite");
  return !std::isfinite(total);
}
