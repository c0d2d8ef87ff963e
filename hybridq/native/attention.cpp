// softmax(scale t + Phi(frequency scale t) + mask) v with t = q k^T, and its gradients, never
// holding all scores t.
//
// Blocks of rows are computed against all keys. Forward: scores, series, mask, softmax, times v.
// Backward: the weights anew, and the gradients from them.
//
//   attention_call.h      what a call is given
//   attention_block.h     a block of rows in memory; its scores, bias and waves
//   attention_series.h    the Fourier series Phi
//   attention_dropout.h   which weights are kept
//   attention_forward.h   a block forward
//   attention_backward.h  a block backward
//   matrix.h              products of matrices
//
// Cost: for each score (2 forward, 5 backward) x size fused multiply-adds, 2 sincos, 2 exp, and
// 4 x terms x (1 forward, 3 backward) more for the series, in short loops, so that the work on
// several registers overlaps.
//
// Here the pairs of a batch entry and a key head are shared out among threads. Each is worked on
// in an order that threads do not change.
#include <new>
#include <numeric>
#include <type_traits>
#include <vector>

#include "attention_backward.h"
#include "attention_forward.h"
#include "export.h"
#include "threads.h"

namespace hq::attention {

// What a kernel returns (hybridq/native/attention.py).
enum Status : int { kDone, kNoMemory };

// For each head the coefficients of the polynomials, of Phi and then of its slope, from the
// Fourier coefficients. Those of Phi count in powers of 2, those of the slope have the factor of
// the scores.
template <class T>
std::vector<T> make_tables(const Call& call) {
  const int64_t half = 4 * call.n_terms;
  std::vector<T> tables(call.n_heads * 2 * half);
  for (int64_t head = 0; head < call.n_heads; ++head) {
    const T* const coefficients =
        static_cast<const T*>(call.coefficients) + head * call.coefficient_stride;
    T* const table = tables.data() + head * 2 * half;
    for (int64_t i = 0; i < call.n_coefficients; ++i) {
      const double* const row = call.table + i * 2 * half;
      for (int64_t t = 0; t < 2 * half; ++t) {
        const double factor = t < half ? kLog2e : call.scale;
        table[t] += coefficients[i] * T(row[t] * factor);
      }
    }
  }
  return tables;
}

// Sums the gradients of the polynomials' coefficients over the batch, in order, and makes of them
// those of the Fourier coefficients.
template <class T>
void write_coefficient_gradients(const Call& call, std::vector<double>& to_tables) {
  const int64_t n_terms = 4 * call.n_terms;
  const int64_t n_all = call.n_heads * n_terms;  // of a batch entry
  for (int64_t i = n_all; i < int64_t(to_tables.size()); ++i) to_tables[i % n_all] += to_tables[i];
  T* to_coefficients = static_cast<T*>(call.to_coefficients);
  for (int64_t head = 0; head < call.n_heads; ++head) {
    const double* const to_table = to_tables.data() + head * n_terms;
    for (int64_t i = 0; i < call.n_coefficients; ++i) {
      const double* const row = call.table + i * 2 * n_terms;
      *to_coefficients++ = T(std::inner_product(to_table, to_table + n_terms, row, 0.));
    }
  }
}

// A block for each thread.
template <class B>
std::vector<B> make_blocks(const Call& call) {
  const int64_t n_blocks = std::max<int64_t>(1, call.n_threads);
  std::vector<B> blocks;
  blocks.reserve(n_blocks);
  for (int64_t i = 0; i < n_blocks; ++i) blocks.emplace_back(call);
  return blocks;
}

template <class T, int kTerms>
void run_forward(const Call& call) {
  using B = Forward<T, kTerms>;
  const std::vector<T> tables = make_tables<T>(call);
  std::vector<B> blocks = make_blocks<B>(call);
  const int64_t n_items = call.batch * call.n_key_heads;
  parallel(n_items, int64_t(blocks.size()), [&](int64_t item, int thread) {
    const int64_t batch = item / call.n_key_heads;
    const int64_t key_head = item % call.n_key_heads;
    blocks[thread].attend(batch, key_head, tables.data());
  });
}

template <class T, int kTerms>
void run_backward(const Call& call) {
  using B = Backward<T, kTerms>;
  const std::vector<T> tables = make_tables<T>(call);
  std::vector<double> to_tables(call.batch * call.n_heads * 4 * call.n_terms);
  std::vector<B> blocks = make_blocks<B>(call);
  const int64_t n_items = call.batch * call.n_key_heads;
  parallel(n_items, int64_t(blocks.size()), [&](int64_t item, int thread) {
    const int64_t batch = item / call.n_key_heads;
    const int64_t key_head = item % call.n_key_heads;
    blocks[thread].differentiate(batch, key_head, tables.data(), to_tables.data());
  });
  write_coefficient_gradients<T>(call, to_tables);
}

template <class T, int kTerms>
void run_direction(const Call& call) {
  if (call.to_output.data) {
    run_backward<T, kTerms>(call);
  } else {
    run_forward<T, kTerms>(call);
  }
}

// Loops over 0 or 5 terms are unrolled, those over other numbers are not.
template <class T>
Status run(const Call& call) try {
  switch (call.n_terms) {
    case 0: run_direction<T, 0>(call); break;
    case 5: run_direction<T, 5>(call); break;
    default: run_direction<T, -1>(call);
  }
  return kDone;
} catch (const std::bad_alloc&) {
  return kNoMemory;
}

HQ_EXPORT int hq_attention_float(const Call& call) { return run<float>(call); }
HQ_EXPORT int hq_attention_double(const Call& call) { return run<double>(call); }

}  // namespace hq::attention
