// A block of circuits through a program, forward and backward. V is a register of one amplitude of as many circuits as it has
// lanes, or a number: then a block is one circuit.
//
// Backward saves nothing: it runs the block forward again, then walks the program from its end, undoing each step on psi and
// lambda together (see hybridq/engine/kernel.py). Slopes of shared weights are summed over a chunk of blocks and flushed to
// double, chunk by chunk in order, so that the result does not depend on the number of threads.
#pragma once
#include <numeric>
#include "circuit.h"

namespace hq {
namespace {

template <class T>
HQ_INLINE void sin_cos(Vec<T> x, Vec<T>& sin, Vec<T>& cos) {
  sincos<T>(x, sin, cos);
}
template <class T>
HQ_INLINE void sin_cos(T x, T& sin, T& cos) {
  sin = std::sin(x), cos = std::cos(x);
}

template <class T, class V>
struct alignas(128) Block {  // no cache line of two threads
  static constexpr int W = sizeof(V) / sizeof(T);  // circuits
  const Call<T>& call;
  const Program& program = call.program;
  int64_t size = call.size, first = 0, first_set = 0;  // the first circuit of this block, the first set of this chunk
  int count = 0, parts = 1, first_diagonal = -1;
  Array<V> variables, slopes_of_variables, cos, sin, own_cos, own_sin, slopes, totals, states, spare, table, values, diagonals;

  explicit Block(const Call<T>& call) : call(call) {
    for (auto* a : {&variables, &slopes_of_variables}) a->resize(call.n_variables);
    for (auto* a : {&cos, &sin, &own_cos, &own_sin, &slopes, &totals}) a->resize(program.n_rows + 1);
    for (auto* a : {&states, &spare}) a->resize(4 * size);  // re and im of psi, then of lambda
    table.resize(2 * size);
    values.resize(size);
    diagonals.resize(program.n_steps * size);  // sums of the slopes of shared phases
    for (int row = 0; row < program.n_rows; ++row)
      cos[row] = V{} + call.offsets_cos[row], sin[row] = V{} + call.offsets_sin[row];
    for (int s = program.n_steps - 1; s > 0; --s)
      if (program.steps[s].diagonal && program.steps[s].n_terms) first_diagonal = s;
  }

  const T* weights(int lane) const { return call.weights + (first + lane) / call.per_set * program.n_weights; }

  // Cos and sin of the angles that differ. Rows with the same inputs and shared weights differ by a shared offset: one sincos.
  void angles() {
    for (int v = 0; v < call.n_variables; ++v) {
      T x[W] = {};
      if (v < program.n_inputs)
        for (int i = 0; i < count; ++i) x[i] = call.inputs[(first + i) * program.n_inputs + v];
      else
        for (int i = 0; i < count; ++i) x[i] = weights(i)[v - program.n_inputs];
      std::memcpy(&variables[v], x, sizeof x);
    }
    for (int row = 0; row < program.n_rows; ++row) {
      if (!call.varies[row]) continue;
      const int like = call.per_set ? row : program.like[row];
      if (like == row) {
        V angle{};
        for (int t = program.first_term[row]; t < program.first_term[row + 1]; ++t)
          if (program.variables[t] < call.n_variables) angle += T(program.factors[t]) * variables[program.variables[t]];
        sin_cos<T>(angle, own_sin[row], own_cos[row]);
      }
      const V c = own_cos[like], s = own_sin[like];
      const T c0 = call.offsets_cos[row], s0 = call.offsets_sin[row];
      cos[row] = c * c0 - s * s0, sin[row] = s * c0 + c * s0;
    }
  }

  // f(re) with the phases of a diagonal, which are numbers or registers.
  template <class F>
  void with_table(int s, F f) {
    const Step& step = program.steps[s];
    if (!call.tables[s].empty()) return f(call.tables[s].data());
    phasor(step, size, &cos[step.first_row], &sin[step.first_row], &table[0], &table[size]);
    f(table.data());
  }

  void apply(int s) {
    const Step& step = program.steps[s];
    if (!step.n_terms) {
      for (int64_t k = 0; k < parts * size; ++k) spare[k] = states[(k & -size) + step.index[k & (size - 1)]];
    } else {
      with_table(s, [&](auto* re) {
        if (parts == 1) diagonal<true>(size, step.index, re, states.data(), spare.data());
        else diagonal<false>(size, step.index, re, states.data(), spare.data());
      });
      parts = 2;
    }
    states.swap(spare);
  }

  void forward(int64_t from, int n) {
    first = from, count = n, parts = 1;
    angles();
    product(program.steps[0], size, cos.data(), sin.data(), states.data());
    for (int s = 1; s < program.n_steps; ++s) {
      const Step& step = program.steps[s];
      if (step.diagonal) {
        apply(s);
      } else {
        for (int part = 0; part < parts; ++part)
          rotate_layer(step, &states[part * size], size, &cos[step.first_row], &sin[step.first_row]);
      }
    }
  }

  void probabilities() {
    for (int64_t k = 0; k < size; ++k) values[k] = states[k] * states[k] + (parts == 2 ? states[size + k] * states[size + k] : V{});
  }

  void read(T* outputs) {
    if (program.readout != kRealParts) probabilities();
    if (program.readout == kParities) hadamard(values.data(), size);
    for (int o = 0; o < program.n_outputs; ++o) {
      const V y = program.readout == kRealParts ? states[program.states[o]] : values[program.states[o]] * T(program.signs[o]);
      T row[W];
      std::memcpy(row, &y, sizeof y);
      for (int i = 0; i < count; ++i) outputs[(first + i) * program.n_outputs + o] = row[i];
    }
  }

  // lambda = dL/d(psi) at the end.
  void seed(const Gradient<T>& gradient) {
    std::fill(values.begin(), values.end(), V{});
    for (int o = 0; o < program.n_outputs; ++o) {
      T g[W] = {};
      for (int i = 0; i < count; ++i) g[i] = gradient.at(first + i, o);
      V y;
      std::memcpy(&y, g, sizeof y);
      values[program.states[o]] += y * T(program.signs[o]);
    }
    if (program.readout == kParities) hadamard(values.data(), size);
    for (int64_t k = 0; k < size; ++k) {
      const bool real = program.readout == kRealParts;
      states[2 * size + k] = real ? values[k] : 2 * values[k] * states[k];
      if (parts == 2) states[3 * size + k] = real ? V{} : 2 * values[k] * states[size + k];
    }
  }

  template <bool Undo>
  void unrotate(const Step& step) {
    const int row = step.first_row;
    std::fill_n(&slopes[row], step.n_terms, V{});
    for (int part = 0; part < parts; ++part)
      unrotate_layer<Undo>(step, &states[part * size], &states[(2 + part) * size], size, &cos[row], &sin[row], &slopes[row]);
  }

  void undo(int s) {
    const Step& step = program.steps[s];
    if (!step.n_terms) {
      for (int state : {0, 2})
        for (int64_t k = state * size; k < (state + parts) * size; ++k) spare[(k & -size) + step.index[k & (size - 1)]] = states[k];
      return states.swap(spare);
    }
    const bool shared = !call.tables[s].empty();
    if (!shared) std::fill(values.begin(), values.end(), V{});
    V* phases = shared ? &diagonals[s * size] : values.data();
    with_table(s, [&](auto* re) {
      if (s == first_diagonal) undo_diagonal<true>(size, step.index, re, states.data(), spare.data(), phases);
      else undo_diagonal<false>(size, step.index, re, states.data(), spare.data(), phases);
    });
    states.swap(spare);
    if (s == first_diagonal) parts = 1;
    if (shared) return;
    hadamard(values.data(), size);
    for (int t = 0; t < step.n_terms; ++t) slopes[step.first_row + t] = values[step.keys[t]];
  }

  void backward(T* to_inputs, double* to_sets) {
    for (int s = program.n_steps - 1; s > 0; --s)
      program.steps[s].diagonal ? undo(s) : unrotate<true>(program.steps[s]);
    unrotate<false>(program.steps[0]);
    std::fill(slopes_of_variables.begin(), slopes_of_variables.end(), V{});
    for (int row = 0; row < program.n_rows; ++row) {
      totals[row] += slopes[row];
      if (!call.varies[row]) continue;
      for (int t = program.first_term[row]; t < program.first_term[row + 1]; ++t)
        if (program.variables[t] < call.n_variables)
          slopes_of_variables[program.variables[t]] += T(program.factors[t]) * slopes[row];
    }
    for (int v = 0; v < call.n_variables; ++v) {
      T row[W];
      std::memcpy(row, &slopes_of_variables[v], sizeof row);
      if (v >= program.n_inputs)
        for (int i = 0; i < count; ++i)
          to_sets[((first + i) / call.per_set - first_set) * program.n_weights + v - program.n_inputs] += row[i];
      else if (to_inputs)
        for (int i = 0; i < count; ++i) to_inputs[(first + i) * program.n_inputs + v] = row[i];
    }
  }

  // The sums of all rows' slopes over the blocks since the last flush.
  void flush(double* rows) {
    for (int row = 0; row < program.n_rows; ++row) rows[row] = sum_in_double(totals[row]);
    Array<std::conditional_t<W == 1, T, double>> d(size);  // one circuit's is summed as it is
    for (int s = 1; s < program.n_steps; ++s) {
      if (call.tables[s].empty()) continue;
      const Step& step = program.steps[s];
      for (int64_t k = 0; k < size; ++k) d[k] = sum_in_double(diagonals[s * size + k]);
      hadamard(d.data(), size);
      for (int t = 0; t < step.n_terms; ++t) rows[step.first_row + t] = d[step.keys[t]];
    }
    std::fill(totals.begin(), totals.end(), V{});
    std::fill(diagonals.begin(), diagonals.end(), V{});
  }
  static double sum_in_double(V v) {
    T row[W];
    std::memcpy(row, &v, sizeof row);
    return std::accumulate(row, row + W, 0.);
  }
};

// The circuits of a chunk: whole sets, and about 64 registers at 4 qubits, fewer where circuits are larger.
template <class T, class V>
int64_t chunk_of(const Call<T>& call) {
  const int64_t circuits = std::min<int64_t>(64, std::max<int64_t>(1, 1024 / call.size)) * Block<T, V>::W;
  return call.per_set ? std::max<int64_t>(1, circuits / call.per_set) * call.per_set : circuits;
}

// f(block, chunk, from, to) for all chunks; each thread has one block.
template <class T, class V, class F>
void each_chunk(const Call<T>& call, int n_threads, F f) {
  const int64_t size = chunk_of<T, V>(call), n_chunks = (call.batch + size - 1) / size;
  std::vector<Block<T, V>> blocks;
  while (int64_t(blocks.size()) < std::min<int64_t>(n_threads, n_chunks)) blocks.emplace_back(call);
  parallel(n_chunks, n_threads, [&](int64_t chunk, int thread) {
    f(blocks[thread], chunk, chunk * size, std::min(call.batch, (chunk + 1) * size));
  });
}

template <class T, class V>
void forward(const Call<T>& call, int n_threads, T* outputs) {
  each_chunk<T, V>(call, n_threads, [&](Block<T, V>& block, int64_t, int64_t from, int64_t to) {
    for (int64_t first = from; first < to; first += block.W) {
      block.forward(first, int(std::min<int64_t>(block.W, to - first)));
      block.read(outputs);
    }
  });
}

template <class T, class V>
void backward(const Call<T>& call, int n_threads, const Gradient<T>& gradient, T* to_inputs, T* to_weights) {
  const int64_t n_chunks = (call.batch + chunk_of<T, V>(call) - 1) / chunk_of<T, V>(call), n_rows = call.program.n_rows;
  std::vector<double> sums(n_chunks * n_rows), rows(n_rows);
  each_chunk<T, V>(call, n_threads, [&](Block<T, V>& block, int64_t chunk, int64_t from, int64_t to) {
    block.first_set = call.per_set ? from / call.per_set : 0;
    std::vector<double> to_sets(call.per_set ? (to - from) / call.per_set * call.program.n_weights : 0);
    for (int64_t first = from; first < to; first += block.W) {
      block.forward(first, int(std::min<int64_t>(block.W, to - first)));
      block.seed(gradient);
      block.backward(to_inputs, to_sets.data());
    }
    block.flush(&sums[chunk * n_rows]);
    std::copy(to_sets.begin(), to_sets.end(), to_weights + block.first_set * call.program.n_weights);
  });
  if (call.per_set) return;
  for (int64_t i = 0; i < n_chunks * n_rows; ++i) rows[i % n_rows] += sums[i];
  call.to_shared_weights(rows.data(), to_weights);
}

}  // namespace
}  // namespace hq

// The two functions of a kernel for one type.
#define HQ_KERNEL(name, T, V)                                                                                             \
  HQ_EXPORT void hq_##name(const hq::Program* program, const T* inputs, const T* weights, int64_t batch, int64_t per_set, \
                           int n_threads, T* outputs) {                                                                   \
    hq::forward<T, V>(hq::Call<T>(*program, inputs, weights, batch, per_set), n_threads, outputs);                        \
  }                                                                                                                       \
  HQ_EXPORT void hq_##name##_gradient(const hq::Program* program, const T* inputs, const T* weights, int64_t batch,       \
                                      int64_t per_set, int n_threads, const T* gradient, int64_t row_stride,              \
                                      int64_t column_stride, T* to_inputs, T* to_weights) {                               \
    hq::backward<T, V>(hq::Call<T>(*program, inputs, weights, batch, per_set), n_threads,                                 \
                       hq::Gradient<T>{gradient, row_stride, column_stride}, to_inputs, to_weights);                      \
  }
