// Attention backward: the weights P anew, and the gradients from them.
//
// With t = q k^T, g = dL/d(output) and D = g . output of each row,
//   dP = g v^T,  dlogits = P (dP - D),  dt = dlogits scale (1 + frequency Phi'),
//   dq = dt k,   dk = dt^T q,           dv = P^T g.
// The weights are exp2(logit - largest) * keep_factor / (sum of exponentials). Forward saved the
// largest logit and that quotient of each row; g is multiplied by the quotient, not P.
#pragma once
#include "attention_block.h"

namespace hq::attention {

template <class T, int kTerms>
struct Backward : Block<T, kTerms> {
  using B = Block<T, kTerms>;
  using B::B;
  using B::call, B::row_size, B::k_transposed, B::v_transposed, B::bias, B::cosines, B::sines,
      B::scores, B::weights, B::scaled, B::row_numbers, B::head, B::n_rows, B::n_seen,
      B::n_columns;
  using B::rows, B::row_number, B::saved_of_rows, B::score_rows, B::weight_rows, B::transpose_keys,
      B::for_each_block, B::find_scores, B::find_bias, B::find_waves;

  // Differentiates all heads that share a key head. They add to its dk and dv in place.
  //
  // Args:
  //   batch: The batch entry.
  //   key_head: The key head.
  //   tables: For each head the coefficients of the series' polynomials, and of the slope's.
  //   to_tables: For each batch entry and head dL/d(coefficients of the polynomials), to add to.
  void differentiate(int64_t batch, int64_t key_head, const T* tables, double* to_tables) {
    this->batch = batch;
    const int64_t n_terms = call.n_terms;
    const Matrix<T> k = rows(call.k, key_head, 0);
    const Matrix<T> v = rows(call.v, key_head, 0);
    const Matrix<T> to_k = rows(call.to_k, key_head, 0);
    const Matrix<T> to_v = rows(call.to_v, key_head, 0);
    transpose_keys(k, call.head_size, T(call.scale * kLog2e), k_transposed);
    transpose_keys(v, call.value_size, T(1), v_transposed);
    fill_with_zeros<T>(call.n_keys, call.head_size, to_k);
    fill_with_zeros<T>(call.n_keys, call.value_size, to_v);
    for_each_block(key_head, [&] {
      const int64_t head_number = batch * call.n_heads + head;
      find_scores();
      scale_gradient();
      find_slopes_of_weights();
      find_slopes_of_scores(tables + head * 8 * n_terms,
                            to_tables + head_number * 4 * n_terms);
      add_products(k, to_k, to_v);
    });
  }

  // dL/d(output) of the block's rows, divided by the rows' sums.
  Matrix<T> scaled_rows() const { return {scaled, call.value_size}; }

  // Divides dL/d(output) by the rows' sums; D of each row goes to `row_numbers`.
  void scale_gradient() {
    const Matrix<T> output = rows(call.output);
    const Matrix<T> to_output = rows(call.to_output);
    const T* const saved = saved_of_rows();
    for (int64_t i = 0; i < n_rows; ++i) {
      Vec<T> total{};
      for (int64_t j = 0; j < call.value_size; j += kLanes<T>) {
        const Vec<T> gradient = saved[2 * i + 1] * load(to_output.row(i) + j);
        total += gradient * load(output.row(i) + j);
        store(scaled_rows().row(i) + j, gradient);
      }
      row_numbers[i] = sum_of_lanes<T>(total);
    }
  }

  // Finds dP, into the place of the weights.
  void find_slopes_of_weights() {
    const Matrix<T> values{v_transposed, row_size};
    multiply<T>(n_rows, n_columns, call.value_size, scaled_rows(), values,
                weight_rows(), false);
  }

  // Replaces the block's scores by dt, and dP by P after dropout, both in place. Adds
  // dL/d(coefficients of the polynomials).
  void find_slopes_of_scores(const T* table, double* to_table) {
    constexpr bool kAnyNumber = kTerms < 0;
    constexpr int64_t kRoom = kAnyNumber ? 4 * kMostTerms : 4 * kTerms + 1;
    const int64_t columns = n_columns;  // copies, which no store can change
    const int64_t n_terms = call.n_terms;
    const int64_t n_coefficients = 4 * (kAnyNumber ? n_terms : kTerms);
    const int64_t first_number = row_number();
    const T* const saved = saved_of_rows();
    Vec<T> sums[kRoom] = {};
    for (int64_t i = 0; i < n_rows; ++i) {
      T* const row = scores + i * row_size;
      T* const weight_row = weights + i * row_size;
      const Dropout<T> dropout(call, first_number + i);
      const T largest = saved[2 * i];
      const T d = row_numbers[i] / T(call.keep_factor);
      const T scale = T(call.scale);
      find_bias(i);
      const int64_t wave = find_waves(i);
      for (int64_t j = 0; j < columns; j += kLanes<T>) {
        const Series<T, kTerms> series(load(cosines + wave + j), load(sines + wave + j), n_terms);
        const Ints<T> keep = dropout.keeps(j);
        // The logits as forward had them, and their slope in t.
        Vec<T> logits = load(row + j) + load(bias + j);
        Vec<T> slope = broadcast<T>(scale);
        if constexpr (kTerms != 0) {
          logits += series.sum(table);
          slope += series.sum(table + n_coefficients);
        }
        const Vec<T> exponentials = exp2<T>(logits - largest);
        const Vec<T> to_weights = keep ? load(weight_row + j) : Vec<T>{};
        const Vec<T> to_logits = exponentials * (to_weights - d);
        if constexpr (kTerms != 0) series.add_gradients(to_logits, sums);
        store(weight_row + j, keep ? exponentials : Vec<T>{});
        store(row + j, to_logits * slope);
      }
    }
    for (int64_t i = 0; i < n_coefficients; ++i) to_table[i] += double(sum_of_lanes<T>(sums[i]));
  }

  // Adds to dv and dk, and writes the block's dq.
  void add_products(Matrix<T> k, Matrix<T> to_k, Matrix<T> to_v) {
    const Matrix<T> to_scores = score_rows();
    const Matrix<T> kept_weights = weight_rows();
    multiply<T>(n_seen, call.value_size, n_rows, kept_weights.transposed(),
                scaled_rows(), to_v, true);
    multiply<T>(n_seen, call.head_size, n_rows, to_scores.transposed(),
                rows(call.q), to_k, true);
    multiply<T>(n_rows, call.head_size, n_seen, to_scores, k, rows(call.to_q),
                false);
  }
};

}  // namespace hq::attention
