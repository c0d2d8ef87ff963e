// Runs the circuit kernels over sizes, tails, readouts, shared and own weights, for the sanitizers to watch.
#include <cstdio>
#include <numeric>
#include <vector>

#include "circuit.h"

#define DECLARE(name, T)                                                                                               \
  extern "C" void hq_##name(const hq::Program*, const T*, const T*, int64_t, int64_t, int, T*);                        \
  extern "C" void hq_##name##_gradient(const hq::Program*, const T*, const T*, int64_t, int64_t, int, const T*, int64_t, \
                                       int64_t, T*, T*);
DECLARE(circuits_f32, float)
DECLARE(circuits_f64, double)
DECLARE(statevector_f32, float)
DECLARE(statevector_f64, double)

// Rotations on all bits, a diagonal of all bits and pairs with a reversing permutation, rotations on every other bit, again.
struct Example {
  std::vector<double> constants, factors, signs;
  std::vector<int32_t> first_term{0}, variables, like, all_bits, some_bits, masks, index, states;
  std::vector<hq::Step> steps;
  hq::Program program{};

  void rows(int n, int weight) {
    for (int i = 0; i < n; ++i) {
      constants.push_back(0.1 * i), like.push_back(int32_t(like.size()));
      if (i % 3) variables.push_back(i % 2), factors.push_back(0.5);
      variables.push_back(2 + weight), factors.push_back(1 - 0.2 * i);
      first_term.push_back(int32_t(variables.size()));
    }
  }
  Example(int n, int readout) : index(1 << n) {
    for (int bit = 0; bit < n; ++bit) {
      all_bits.push_back(bit);
      if (bit % 2 == 0) some_bits.push_back(bit);
      masks.push_back(1 << bit);
      if (bit) masks.push_back(3 << (bit - 1));
    }
    std::iota(index.rbegin(), index.rend(), 0);
    const auto step = [&](const std::vector<int32_t>& keys, int diagonal, int weight) {
      steps.push_back({keys.data(), index.data(), diagonal, int32_t(keys.size()), int32_t(constants.size())});
      rows(int(keys.size()), weight);
    };
    step(all_bits, 0, 0), step(masks, 1, 1), step(some_bits, 0, 2), step({}, 1, 0), step(masks, 1, 0), step(all_bits, 0, 1);
    for (int o = 0; o < std::min(n, 3); ++o) states.push_back(1 << o), signs.push_back(1 - 2 * (o % 2));
    program = {constants.data(), first_term.data(), variables.data(), factors.data(), like.data(), steps.data(), states.data(),
               signs.data(), n, 2, 3, int32_t(states.size()), int32_t(constants.size()), int32_t(steps.size()), readout};
  }
};

template <class T, class Forward, class Backward>
double drive(Forward forward, Backward backward, int n, int readout, int64_t batch, int64_t per_set, int threads) {
  const Example example(n, readout);
  const int64_t n_sets = per_set ? batch / per_set : 1, n_outputs = example.program.n_outputs;
  std::vector<T> inputs(batch * 2, T(0.3)), weights(n_sets * 3, T(-0.7)), outputs(batch * n_outputs), to_inputs(batch * 2), to_weights(n_sets * 3);
  const T one = 1;
  forward(&example.program, inputs.data(), weights.data(), batch, per_set, threads, outputs.data());
  backward(&example.program, inputs.data(), weights.data(), batch, per_set, threads, &one, 0, 0, to_inputs.data(), to_weights.data());
  backward(&example.program, inputs.data(), weights.data(), batch, per_set, threads, outputs.data(), n_outputs, 1, nullptr, to_weights.data());
  return double(std::accumulate(outputs.begin(), outputs.end(), T(0)) + std::accumulate(to_weights.begin(), to_weights.end(), T(0)));
}

int main() {
  double total = 0;
  for (int n = 1; n <= 10; ++n)
    for (int readout = 0; readout < 3; ++readout)
      for (int64_t batch : {0, 1, 15, 34, 300})
        for (int64_t per_set : {0, 1, batch > 1 && batch % 2 == 0 ? int(batch) / 2 : 1}) {
          total += drive<float>(hq_circuits_f32, hq_circuits_f32_gradient, n, readout, batch, per_set, 2);
          total += drive<double>(hq_circuits_f64, hq_circuits_f64_gradient, n, readout, batch, per_set, 1);
          if (n < 4 || batch > 34) continue;
          total += drive<float>(hq_statevector_f32, hq_statevector_f32_gradient, n, readout, batch, per_set, 1);
          total += drive<double>(hq_statevector_f64, hq_statevector_f64_gradient, n, readout, batch, per_set, 2);
        }
  std::printf("%s\n", std::isfinite(total) ? "done" : "not finite");
  return !std::isfinite(total);
}
