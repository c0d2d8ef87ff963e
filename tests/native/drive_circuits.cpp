// Runs the circuit kernels over sizes, tails, readouts, phases shared and not, for the sanitizers to watch.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <vector>

namespace {

struct Term {  // as in circuits.cpp, like the others
  double factor;
  int32_t to, variable;
};
struct Step {
  const int32_t *keys, *index;
  int32_t diagonal, n_terms, first_row, table, parts;
};
struct Program {
  const double* constants;
  const int32_t* combination;
  const Term *point_terms, *shared_terms;
  const Step* steps;
  const int32_t* states;
  const double* signs;
  int32_t n_point_terms, n_shared_terms, n_qubits, n_points, n_shared, n_combinations, n_rows, n_steps, n_outputs, readout;
};
template <class T>
struct Call {
  const Program* program;
  const T *points, *shared;
  T* outputs;
  const T* gradient;
  T *to_points, *to_shared;
  int64_t batch, n_threads, row_stride, stride;
};

// Rotations on all bits, a diagonal of all bits and pairs with a reversing permutation, rotations on every other bit, again.
struct Example {
  std::vector<double> constants, signs;
  std::vector<int32_t> combination, all_bits, some_bits, masks, index, states;
  std::vector<Term> point_terms, shared_terms;
  std::vector<Step> steps;
  Program program{};

  Example(int n, int readout) : index(1 << n), point_terms{{0.5, 1, 0}, {-1.5, 2, 0}, {1, 2, 1}} {
    for (int bit = 0; bit < n; ++bit) {
      all_bits.push_back(bit);
      if (bit % 2 == 0) some_bits.push_back(bit);
      masks.push_back(1 << bit);
      if (bit) masks.push_back(3 << (bit - 1));
    }
    std::iota(index.rbegin(), index.rend(), 0);
    const auto step = [&](const std::vector<int32_t>& keys, int diagonal, int weight, int n_combinations, int table, int parts) {
      steps.push_back({keys.data(), index.data(), diagonal, int32_t(keys.size()), int32_t(constants.size()), table, parts});
      for (int i = 0; i < int(keys.size()); ++i) {
        shared_terms.push_back({1 - 0.2 * i, int32_t(constants.size()), weight});
        combination.push_back(i % n_combinations), constants.push_back(0.1 * i);
      }
    };
    step(all_bits, 0, 0, 3, -1, 1), step({}, 1, 0, 1, 0, 1), step(masks, 1, 1, 1, 1, 1), step(some_bits, 0, 2, 2, -1, 2);
    step(masks, 1, 0, 3, -1, 2), step(all_bits, 0, 1, 1, -1, 2);
    for (int o = 0; o < std::min(n, 3); ++o) states.push_back(1 << o), signs.push_back(1 - 2 * (o % 2));
    program = {constants.data(), combination.data(), point_terms.data(), shared_terms.data(), steps.data(), states.data(),
               signs.data(), int32_t(point_terms.size()), int32_t(shared_terms.size()), n, 2, 3, 3, int32_t(constants.size()),
               int32_t(steps.size()), int32_t(states.size()), readout};
  }
};

template <class T>
double drive(void (*run)(const Call<T>*), int n, int readout, int64_t batch, int64_t threads) {
  const Example example(n, readout);
  const int64_t n_outputs = example.program.n_outputs;
  std::vector<T> points(batch * 2, T(0.3)), shared(3, T(-0.7)), outputs(batch * n_outputs), to_points(batch * 2), to_shared(3);
  const T one = 1;
  Call<T> call{};
  call.program = &example.program, call.points = points.data(), call.shared = shared.data(), call.outputs = outputs.data();
  call.batch = batch, call.n_threads = threads;
  run(&call);
  call.outputs = nullptr, call.to_points = to_points.data(), call.to_shared = to_shared.data();
  call.gradient = &one;
  run(&call);
  call.gradient = outputs.data(), call.row_stride = n_outputs, call.stride = 1;
  run(&call);
  double total = 0;
  for (const auto* found : {&outputs, &to_points, &to_shared}) total += double(std::accumulate(found->begin(), found->end(), T(0)));
  return total;
}

}  // namespace

extern "C" {
void hq_circuits_float(const Call<float>*);
void hq_circuits_double(const Call<double>*);
void hq_statevector_float(const Call<float>*);
void hq_statevector_double(const Call<double>*);
}

int main() {
  double total = 0;
  for (int n = 1; n <= 10; ++n)
    for (int readout = 0; readout < 3; ++readout)
      for (int64_t batch : {0, 1, 15, 34, 300}) {
        total += drive(hq_circuits_float, n, readout, batch, 2);
        total += drive(hq_circuits_double, n, readout, batch, 1);
        if (n < 8 || batch > 34) continue;
        total += drive(hq_statevector_float, n, readout, batch, 1);
        total += drive(hq_statevector_double, n, readout, batch, 2);
      }
  std::printf("%s\n", std::isfinite(total) ? "done" : "not finite");
  return !std::isfinite(total);
}
