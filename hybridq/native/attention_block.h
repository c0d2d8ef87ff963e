// A block of rows of a head against all keys, and what forward and backward have in common.
//
// Logits count in powers of 2: scores and coefficients are multiplied by log2(e), so that weights
// are exp2 of logits.
//
// Layout. Rows of q, k and v are whole registers. For each batch entry and key head the keys (and
// values) are transposed once, so that scores have lanes along the keys; all else has lanes along
// the head size. The rows of a block's scores are `row_size` numbers apart.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "attention_call.h"
#include "attention_dropout.h"
#include "attention_series.h"
#include "functions.h"
#include "matrix.h"

namespace hq::attention {

constexpr int64_t kMostScores = 32768;  // of a block, unless 8 rows have more
constexpr int64_t kMostRows = 64;       // of a block
constexpr int64_t kWaves = 1024;        // that one loop finds, for several rows if they are short
constexpr double kPi = 3.14159265358979323846;
constexpr double kLog2e = 1.44269504088896340736;

// The memory of a thread: n_keys x (head size + value size) numbers, and twice
// max(kMostScores, 8 n_keys).
template <class T, int kTerms>
struct Block {
  const Call& call;
  // From row to row of scores; no multiple of 4096 bytes, which would thrash a cache.
  const int64_t row_size = padded<T>(call.n_keys) + (call.n_keys > 64 ? kLanes<T> : 0);
  const int64_t most_rows = std::clamp<int64_t>(kMostScores / call.n_keys, 8, kMostRows);
  // The number of rows whose waves are found together.
  const int64_t wave_rows = std::max<int64_t>(1, kWaves / row_size);

  std::unique_ptr<Vec<T>[]> memory{new Vec<T>[n_numbers() / kLanes<T>]};
  T* unused = reinterpret_cast<T*>(memory.get());
  T* const k_transposed = take(row_size * call.head_size);
  T* const v_transposed = take(row_size * call.value_size);
  T* const bias = take(row_size);  // what is added to the logits of a row
  T* const cosines = take(wave_rows * row_size);
  T* const sines = take(wave_rows * row_size);
  T* const scores = take(most_rows * row_size);
  T* const weights = take(most_rows * row_size);
  T* const scaled = take(most_rows * call.value_size);  // dL/d(output) over the rows' sums
  T* const row_numbers = take(kMostRows);               // one for each row

  // The block's place.
  int64_t batch = 0;
  int64_t head = 0;
  int64_t first = 0;  // the first row
  int64_t n_rows = 0;
  int64_t n_seen = 0;     // the keys that some row sees
  int64_t n_columns = 0;  // these, padded

  explicit Block(const Call& call) : call(call) {}

  int64_t n_numbers() const {
    const int64_t of_keys = row_size * (call.head_size + call.value_size + 1);
    const int64_t of_scores = 2 * row_size * (most_rows + wave_rows);
    return of_keys + of_scores + most_rows * call.value_size + kMostRows;
  }

  T* take(int64_t n) {
    T* const taken = unused;
    unused += n;
    return taken;
  }

  // Calls body() for every block of rows of every head that shares a key head.
  template <class Body>
  void for_each_block(int64_t key_head, Body body) {
    const int64_t heads = call.n_heads / call.n_key_heads;
    for (head = key_head * heads; head < (key_head + 1) * heads; ++head) {
      for (first = 0; first < call.length; first += n_rows) {
        n_rows = std::min(most_rows, call.length - first);
        // Where the first row sees nothing, all is computed, which makes its NaN.
        const bool sees_nothing = first + call.diagonal < 0;
        n_seen = sees_nothing ? call.n_keys
                              : std::min(call.n_keys, first + n_rows + call.diagonal);
        n_columns = padded<T>(n_seen);
        body();
      }
    }
  }

  // The number of the block's first row among the rows of all heads.
  int64_t row_number() const { return (batch * call.n_heads + head) * call.length + first; }

  // The two numbers that are saved for each row, from the block's first row on.
  T* saved_of_rows() const { return static_cast<T*>(call.saved) + 2 * row_number(); }

  // The rows of an array's head, from one on.
  Matrix<T> rows(const Array& array, int64_t of_head, int64_t from) const {
    T* const data = static_cast<T*>(array.data);
    const int64_t start = batch * array.batch_stride + of_head * array.head_stride;
    return Matrix<T>{data + start, array.row_stride}.from_row(from);
  }

  // The block's own rows.
  Matrix<T> rows(const Array& array) const { return rows(array, head, first); }

  Matrix<T> score_rows() const { return {scores, row_size}; }
  Matrix<T> weight_rows() const { return {weights, row_size}; }

  // Writes the transpose of the keys' rows times a factor, square by square of lanes x lanes
  // numbers, padded with zeros.
  void transpose_keys(Matrix<T> keys, int64_t size, T factor, T* to) const {
    for (int64_t i = 0; i < call.n_keys; i += kLanes<T>) {
      for (int64_t j = 0; j < size; j += kLanes<T>) {
        Vec<T> square[kLanes<T>];
        for (int64_t r = 0; r < kLanes<T>; ++r) {
          square[r] = i + r < call.n_keys ? load(keys.row(i + r) + j) : Vec<T>{};
        }
        transpose<T>(square);
        for (int64_t r = 0; r < kLanes<T>; ++r) {
          store(to + (j + r) * row_size + i, factor * square[r]);
        }
      }
    }
  }

  // Finds the block's scores, times scale and log2(e), which the transposed keys bring along.
  void find_scores() {
    const Matrix<T> keys{k_transposed, row_size};
    multiply<T>(n_rows, n_columns, call.head_size, rows(call.q), keys, score_rows(), false);
  }

  // Finds what is added to the logits of row i of the block: the mask, and -inf where the row sees
  // nothing. A bias that is the same for all rows is found with the first one.
  void find_bias(int64_t i) const {
    constexpr T kLowest = std::numeric_limits<T>::lowest();
    constexpr T kHidden = -T(INFINITY);
    const T* const mask = call.mask.data ? rows(call.mask, head, first + i).data : nullptr;
    const bool hides_keys = first + call.diagonal < call.n_keys - 1;
    const bool differs = (mask && call.mask.row_stride) || hides_keys;
    if (i > 0 && !differs) return;
    const int64_t columns = n_columns;
    const int64_t end = std::min(call.n_keys, first + i + call.diagonal + 1);
    const int64_t n_visible = std::clamp<int64_t>(end, 0, columns);
    if (mask) {
      for (int64_t j = 0; j < n_visible; ++j) {
        // Rows that have the lowest number everywhere stay finite.
        const T finite = std::max(mask[j] * T(kLog2e), kLowest);
        bias[j] = mask[j] == kHidden ? kHidden : finite;
      }
    } else {
      std::fill_n(bias, n_visible, T(0));
    }
    std::fill(bias + n_visible, bias + columns, kHidden);
  }

  // Finds the cosines and sines of the angles of row i, and returns where they are. Those of
  // `wave_rows` rows are found with the first of them, of columns that nothing reads, too. Of an
  // angle so large that its rounding error is a whole turn, the second rounding leaves no rest.
  int64_t find_waves(int64_t i) const {
    const int64_t place = i % wave_rows;
    if (kTerms != 0 && place == 0) {
      const T* const row = scores + i * row_size;
      const T to_half_turns = T(call.frequency / (kPi * kLog2e));
      const int64_t n = wave_rows == 1 ? n_columns : std::min(wave_rows, n_rows - i) * row_size;
      for (int64_t j = 0; j < n; j += kLanes<T>) {
        const Vec<T> half_turns = to_half_turns * load(row + j);
        const Vec<T> shifted = half_turns + kRound<T>;
        const Vec<T> rest = half_turns - (shifted - kRound<T>);
        Vec<T> sin;
        Vec<T> cos;
        sincospi<T>(shifted, rest - round<T>(rest), sin, cos);
        store(cosines + j, cos);
        store(sines + j, sin);
      }
    }
    return place * row_size;
  }
};

}  // namespace hq::attention
