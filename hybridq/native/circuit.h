// What both circuit kernels share: the program as hybridq/engine/native.py packs it, and passes over amplitudes.
//
// A program is a real product state, then steps: layers of rotations RY, and diagonals followed by a permutation. Bit b of
// an amplitude's number is the qubit of weight 2^b. Everything here works on arrays of V, which is one amplitude of many
// circuits (circuits.cpp), many amplitudes of one circuit, or a number (statevector.cpp).
#pragma once
#include <new>
#include "parallel.h"
#include "simd.h"

namespace hq {

struct Step {
  const int32_t* keys;   // ascending: the bit of each rotation, or the mask m of each phase angle_m (-1)^parity(k & m)
  const int32_t* index;  // of a diagonal, the permutation after it: new[k] = old[index[k]]
  int32_t diagonal, n_terms, first_row;  // the terms' angles are the rows from here on; half angles for rotations
};
enum Readout : int32_t { kParities, kProbabilities, kRealParts };
struct Program {
  const double* constants;     // (n_rows): angle = constant + sum of factor * variable
  const int32_t* first_term;   // (n_rows + 1): where a row's variables and factors start
  const int32_t* variables;    // inputs, then weights
  const double* factors;
  const int32_t* like;         // (n_rows): the first row with the same inputs by the same factors
  const Step* steps;           // the first makes the product state
  const int32_t* states;       // (n_outputs): masks of parities, or which amplitudes to read
  const double* signs;         // (n_outputs): of parities
  int32_t n_qubits, n_inputs, n_weights, n_outputs, n_rows, n_steps, readout;
};

// Memory for registers, also where it holds numbers.
template <class V>
struct Aligned {
  using value_type = V;
  Aligned() = default;
  template <class U>
  Aligned(const Aligned<U>&) {}
  V* allocate(size_t n) { return static_cast<V*>(::operator new(n * sizeof(V), std::align_val_t(kBytes))); }
  void deallocate(V* p, size_t) { ::operator delete(p, std::align_val_t(kBytes)); }
  bool operator==(const Aligned&) const { return true; }
  bool operator!=(const Aligned&) const { return false; }
};
template <class V>
using Array = std::vector<V, Aligned<V>>;

inline bool odd(int64_t bits) { return __builtin_popcountll(uint64_t(bits)) & 1; }

// f(K, i, stride) for runs of K <= Most neighbouring bits, so that one pass over memory serves K rotations.
template <int Most, class F>
HQ_INLINE void runs(const int32_t* bits, int n, F f) {
  for (int i = 0, k; i < n; i += k) {
    for (k = 1; k < Most && i + k < n && bits[i + k] == bits[i] + k; ++k) {}
    const int64_t stride = int64_t(1) << bits[i];
    if (k == 1) f(std::integral_constant<int, 1>{}, i, stride);
    if constexpr (Most > 1) if (k == 2) f(std::integral_constant<int, 2>{}, i, stride);
    if constexpr (Most > 2) if (k == 3) f(std::integral_constant<int, 3>{}, i, stride);
    if constexpr (Most > 3) if (k == 4) f(std::integral_constant<int, 4>{}, i, stride);
  }
}
constexpr int kForward = kBytes == 64 ? 4 : 3, kBackward = kForward - 1;  // 2^K amplitudes, or twice, in 32 or 16 registers

// pair(q, x0, x1) on all pairs that differ in bit q of a run of K, in registers.
template <int K, class V, class Pair>
HQ_INLINE void in_pairs(V (&r)[1 << K], Pair pair) {
#pragma GCC unroll 4
  for (int q = 0; q < K; ++q)
#pragma GCC unroll 16
    for (int j = 0; j < 1 << K; ++j)
      if (!(j >> q & 1)) pair(q, r[j], r[j | 1 << q]);
}
template <int K, class V>
HQ_INLINE void load_run(const V* a, int64_t stride, V (&r)[1 << K]) {
#pragma GCC unroll 16
  for (int j = 0; j < 1 << K; ++j) std::memcpy(&r[j], a + j * stride, sizeof(V));  // a may be an array of numbers
}
template <int K, class V>
HQ_INLINE void store_run(V* a, int64_t stride, const V (&r)[1 << K]) {
#pragma GCC unroll 16
  for (int j = 0; j < 1 << K; ++j) std::memcpy(a + j * stride, &r[j], sizeof(V));
}
HQ_INLINE int64_t start_of(int64_t i, int64_t stride, int k) { return (i & -stride) << k | (i & (stride - 1)); }

// K rotations at once: 2^K loads and stores for 4 K 2^(K-1) operations.
template <int K, class V>
HQ_INLINE void rotate(V* a, int64_t size, int64_t stride, const V* cos, const V* sin) {
  for (int64_t i = 0; i < size >> K; ++i) {
    V r[1 << K], *at = a + start_of(i, stride, K);
    load_run<K>(at, stride, r);
    in_pairs<K>(r, [&](int q, V& x0, V& x1) {
      const V old = x0;
      x0 = cos[q] * x0 - sin[q] * x1;
      x1 = cos[q] * x1 + sin[q] * old;
    });
    store_run<K>(at, stride, r);
  }
}

// Adds sum_k lambda_k (G psi)_k to each of K slopes, then undoes the K rotations on psi and lambda, for runs [from, to).
template <int K, bool Undo, class V>
HQ_INLINE void unrotate(V* psi, V* lambda, int64_t from, int64_t to, int64_t stride, const V* cos, const V* sin, V* slopes) {
  V g[K] = {};
  for (int64_t i = from; i < to; ++i) {
    const int64_t at = start_of(i, stride, K);
    V p[1 << K], l[1 << K];
    load_run<K>(psi + at, stride, p);
    load_run<K>(lambda + at, stride, l);
#pragma GCC unroll 4
    for (int q = 0; q < K; ++q)
#pragma GCC unroll 16
      for (int j = 0; j < 1 << K; ++j)
        if (!(j >> q & 1)) g[q] += l[j | 1 << q] * p[j] - l[j] * p[j | 1 << q];
    if (!Undo) continue;
    const auto undo = [&](int q, V& x0, V& x1) {
      const V old = x0;
      x0 = cos[q] * x0 + sin[q] * x1;
      x1 = cos[q] * x1 - sin[q] * old;
    };
    in_pairs<K>(p, undo);
    in_pairs<K>(l, undo);
    store_run<K>(psi + at, stride, p);
    store_run<K>(lambda + at, stride, l);
  }
  for (int q = 0; q < K; ++q) slopes[q] += g[q];
}

// A layer of rotations on registers of circuits, and its way back. statevector.cpp has both for an array of numbers.
template <class V>
void rotate_layer(const Step& step, V* a, int64_t size, const V* cos, const V* sin) {
  runs<kForward>(step.keys, step.n_terms, [&](auto k, int i, int64_t stride) { rotate<k>(a, size, stride, cos + i, sin + i); });
}
template <bool Undo, class V>
void unrotate_layer(const Step& step, V* psi, V* lambda, int64_t size, const V* cos, const V* sin, V* slopes) {
  runs<kBackward>(step.keys, step.n_terms, [&](auto k, int i, int64_t stride) {
    unrotate<k, Undo>(psi, lambda, 0, size >> k, stride, cos + i, sin + i, slopes + i);
  });
}

// a_m = sum_k (-1)^parity(k & m) a_k, in place, for all m: every <Z> and every phase's slope at once, and its own adjoint.
template <class V>
HQ_INLINE void hadamard(V* a, int64_t size) {
  const auto pass = [&](auto k, int64_t stride) {
    for (int64_t i = 0; i < size >> k; ++i) {
      V r[1 << k], *at = a + start_of(i, stride, k);
      load_run<k>(at, stride, r);
      in_pairs<k>(r, [](int, V& x0, V& x1) {
        const V old = x0;
        x0 = old + x1;
        x1 = old - x1;
      });
      store_run<k>(at, stride, r);
    }
  };
  int64_t stride = 1;
  for (; stride << kForward <= size; stride <<= kForward) pass(std::integral_constant<int, kForward>{}, stride);
  for (; stride < size; stride *= 2) pass(std::integral_constant<int, 1>{}, stride);
}

// The product state of the first rotations, by doubling; a bit without one is 0.
template <class V>
HQ_INLINE void product(const Step& start, int64_t size, const V* cos, const V* sin, V* state) {
  state[0] = V{} + 1;
  int t = 0;
  for (int64_t half = 1, bit = 0; half < size; half *= 2, ++bit) {
    const bool turned = t < start.n_terms && start.keys[t] == bit;
    const V c = turned ? cos[t] : V{} + 1, s = turned ? sin[t] : V{};
    for (int64_t k = 0; k < half; ++k) state[half + k] = s * state[k], state[k] = c * state[k];
    t += turned;
  }
}

// e^(i phi_k) of a diagonal, by doubling: the masks whose highest bit is 2^b part the upper half from the lower one.
template <class V>
HQ_INLINE void phasor(const Step& step, int64_t size, const V* cos, const V* sin, V* re, V* im) {
  const bool everywhere = step.n_terms && step.keys[0] == 0;
  re[0] = everywhere ? cos[0] : V{} + 1, im[0] = everywhere ? sin[0] : V{};
  int t = everywhere;
  for (int64_t half = 1; half < size; half *= 2) {
    const int first = t;
    while (t < step.n_terms && step.keys[t] < 2 * half) ++t;
    for (int64_t k = 0; k < half; ++k) re[half + k] = re[k], im[half + k] = im[k];
    for (int u = first; u < t; ++u)
      for (int64_t k = 0; k < half; ++k) {
        const V c = cos[u], s = odd(k & step.keys[u]) ? -sin[u] : sin[u];
        const V a = re[k], b = im[k], x = re[half + k], y = im[half + k];
        re[k] = a * c - b * s, im[k] = b * c + a * s;
        re[half + k] = x * c + y * s, im[half + k] = y * c - x * s;
      }
  }
}

// A diagonal, then its permutation, on a real or complex state; E is a number if all circuits share the phases.
template <bool Real, class V, class E>
HQ_INLINE void diagonal(int64_t size, const int32_t* index, const E* re, const V* __restrict in, V* __restrict out) {
  const E* im = re + size;
  for (int64_t k = 0; k < size; ++k) {
    const int64_t i = index[k];
    out[k] = Real ? in[i] * re[i] : in[i] * re[i] - in[size + i] * im[i];
    out[size + k] = Real ? in[i] * im[i] : in[size + i] * re[i] + in[i] * im[i];
  }
}

// Adds dL/dphi_i = Im(conj(psi) lambda) to the slopes, then undoes it on both states, psi before lambda in memory; where the
// state was real before, only the real part is wanted.
template <bool Real, class V, class E>
HQ_INLINE void undo_diagonal(int64_t size, const int32_t* index, const E* re, const V* __restrict in, V* __restrict out,
                             V* __restrict slopes) {
  const E* im = re + size;
  for (int64_t k = 0; k < size; ++k) {
    const int64_t i = index[k];
    const V a = in[k], b = in[size + k], x = in[2 * size + k], y = in[3 * size + k];
    slopes[i] += a * y - b * x;
    out[i] = a * re[i] + b * im[i];
    out[2 * size + i] = x * re[i] + y * im[i];
    if (!Real) out[size + i] = b * re[i] - a * im[i], out[3 * size + i] = y * re[i] - x * im[i];
  }
}

// dL/d(outputs), as it comes: a sum's is one number with strides of 0.
template <class T>
struct Gradient {
  const T* data;
  int64_t row_stride, column_stride;
  T at(int64_t row, int64_t column) const { return data[row * row_stride + column * column_stride]; }
};

// What is found once for all circuits of a call. Weights are one set, or one for each `per_set` circuits in a row.
template <class T>
struct Call {
  const Program& program;
  const T *inputs, *weights;
  int64_t batch, per_set;  // per_set = 0: one set for all
  int64_t size = int64_t(1) << program.n_qubits;
  int n_variables = program.n_inputs + (per_set ? program.n_weights : 0);  // those that differ from circuit to circuit
  std::vector<double> offsets{};         // (rows): the part of an angle that all circuits share
  std::vector<T> offsets_cos{}, offsets_sin{};
  std::vector<char> varies{};            // (rows)
  std::vector<std::vector<T>> tables{};  // (steps): re and im of e^(i phi) where all circuits share it

  Call(const Program& program, const T* inputs, const T* weights, int64_t batch, int64_t per_set)
      : program(program), inputs(inputs), weights(weights), batch(batch), per_set(per_set) {
    for (int row = 0; row < program.n_rows; ++row) {
      double offset = program.constants[row];
      bool differs = false;
      for (int t = program.first_term[row]; t < program.first_term[row + 1]; ++t) {
        const int v = program.variables[t];
        if (v < n_variables) differs = true;
        else offset += program.factors[t] * double(weights[v - program.n_inputs]);
      }
      offsets.push_back(offset), varies.push_back(differs);
      offsets_cos.push_back(T(std::cos(offset))), offsets_sin.push_back(T(std::sin(offset)));
    }
    for (int s = 0; s < program.n_steps; ++s) {
      const Step& step = program.steps[s];
      tables.emplace_back();
      if (step.diagonal && step.n_terms && !differs(step)) tables[s] = table(step, &offsets[step.first_row]);
    }
  }
  bool differs(const Step& step) const {
    return std::any_of(&varies[step.first_row], &varies[step.first_row] + step.n_terms, [](char v) { return v; });
  }
  // In double, since errors add up over the terms.
  std::vector<T> table(const Step& step, const double* angles) const {
    std::vector<double> cos, sin, e(2 * size);
    for (int t = 0; t < step.n_terms; ++t) cos.push_back(std::cos(angles[t])), sin.push_back(std::sin(angles[t]));
    phasor(step, size, cos.data(), sin.data(), e.data(), e.data() + size);
    return std::vector<T>(e.begin(), e.end());
  }
  // The gradient of a shared weight, from the sums of its rows' slopes over all circuits.
  void to_shared_weights(const double* rows, T* gradient) const {
    std::vector<double> found(program.n_weights);
    for (int row = 0; row < program.n_rows; ++row)
      for (int t = program.first_term[row]; t < program.first_term[row + 1]; ++t)
        if (program.variables[t] >= n_variables) found[program.variables[t] - program.n_inputs] += program.factors[t] * rows[row];
    std::copy(found.begin(), found.end(), gradient);
  }
};

}  // namespace hq
