// Attention forward: the output, and two numbers for each row, from which backward has the weights.
#pragma once
#include "attention_block.h"

namespace hq::attention {

template <class T, int kTerms>
struct Forward : Block<T, kTerms> {
  using B = Block<T, kTerms>;
  using B::B;
  using B::call, B::row_size, B::k_transposed, B::bias, B::cosines, B::sines, B::scores,
      B::row_numbers, B::head, B::n_rows, B::n_seen, B::n_columns;
  using B::rows, B::row_number, B::saved_of_rows, B::score_rows, B::transpose_keys,
      B::for_each_block, B::find_scores, B::find_bias, B::find_waves;

  // Attends for all heads that share a key head.
  //
  // Args:
  //   batch: The batch entry.
  //   key_head: The key head.
  //   tables: For each head the coefficients of the series' polynomials, and of the slope's.
  void attend(int64_t batch, int64_t key_head, const T* tables) {
    this->batch = batch;
    const Matrix<T> k = rows(call.k, key_head, 0);
    const Matrix<T> v = rows(call.v, key_head, 0);
    transpose_keys(k, call.head_size, T(call.scale * kLog2e), k_transposed);
    for_each_block(key_head, [&] {
      // The block's scores become logits, then weights relative to each row's largest, in place.
      find_scores();
      find_logits(tables + head * 8 * call.n_terms);
      find_weights();
      const Matrix<T> output = rows(call.output);
      multiply<T>(n_rows, call.value_size, n_seen, score_rows(), v, output,
                  false);
      scale_output(output);
    });
  }

  // Adds the series and the bias to the scores; each row's largest logit goes to `row_numbers`.
  void find_logits(const T* table) {
    const int64_t columns = n_columns;  // copies, which no store can change
    const int64_t n_terms = call.n_terms;
    for (int64_t i = 0; i < n_rows; ++i) {
      T* const row = scores + i * row_size;
      find_bias(i);
      const int64_t wave = find_waves(i);
      Vec<T> largest = broadcast<T>(-T(INFINITY));
      for (int64_t j = 0; j < columns; j += kLanes<T>) {
        Vec<T> logits = load(row + j) + load(bias + j);
        if constexpr (kTerms != 0) {
          const Vec<T> cos = load(cosines + wave + j);
          const Vec<T> sin = load(sines + wave + j);
          logits += Series<T, kTerms>(cos, sin, n_terms).sum(table);
        }
        store(row + j, logits);
        largest = logits > largest ? logits : largest;
      }
      row_numbers[i] = largest_lane<T>(largest);
    }
  }

  // Makes weights of logits: exponentials, 0 where dropped. Saves the largest logit of each row,
  // and keep_factor over the sum of its exponentials, by which its output will be multiplied.
  void find_weights() {
    const int64_t columns = n_columns;
    const int64_t first_number = row_number();
    T* const saved = saved_of_rows();
    for (int64_t i = 0; i < n_rows; ++i) {
      T* const row = scores + i * row_size;
      const Dropout<T> dropout(call, first_number + i);
      const T largest = row_numbers[i] == -T(INFINITY) ? 0 : row_numbers[i];
      Vec<T> total{};
      for (int64_t j = 0; j < columns; j += kLanes<T>) {
        const Vec<T> exponentials = exp2<T>(load(row + j) - largest);
        total += exponentials;
        store(row + j, dropout.keeps(j) ? exponentials : Vec<T>{});
      }
      saved[2 * i] = largest;
      saved[2 * i + 1] = T(call.keep_factor) / sum_of_lanes<T>(total);
    }
  }

  void scale_output(Matrix<T> output) const {
    const T* const saved = saved_of_rows();
    for (int64_t i = 0; i < n_rows; ++i) {
      T* const row = output.row(i);
      for (int64_t j = 0; j < call.value_size; j += kLanes<T>) {
        store(row + j, saved[2 * i + 1] * load(row + j));
      }
    }
  }
};

}  // namespace hq::attention
