// softmax(scale q k^T + Phi(frequency scale q k^T) + mask) v and its gradients, without ever holding all scores.
//
// Algorithm: tiles of kRows queries x kKeys keys. Forward: scores, series, mask, then softmax with a running maximum and sum
// per row, times v. Backward: the weights again from the saved log-sum-exp; with g = dL/d(output), D = g . output per row,
//   dP = g v^T,  dlogits = P (dP - D),  ds = dlogits (1 + frequency Phi'(frequency s)),
//   dq = scale ds k,  dk = scale ds^T q,  dv = P^T g.
// The series is one of Chebyshev polynomials T_j in u = cos 2s: Phi = A + x (C + y B) + y E with x = cos s, y = sin s
// (fourier.py); dL/dA_j is the sum of dlogits T_j, and likewise with factors xy, x and y for B, C and E.
//
// Layout: any strides are read and written. For each batch entry and key head k^T (and v^T) are copied in blocks of kKeys
// columns, so that scores are computed with lanes along the keys; all else has lanes along the head size, whose tail is
// padded with 0. Queries of a group of heads share these copies, and their dk and dv are summed in place.
//
// Cost: for each score (2 forward, 5 backward) x size fused multiply-adds, 2 sincos, 2 exp, and 4 x terms x (1 forward, 3
// backward) more for the series. Space for each thread: 4 x keys x size numbers and two tiles. One thread works on one batch
// entry and key head, in a fixed order: results do not depend on the number of threads.
#include <limits>
#include <new>

#include "parallel.h"
#include "series.h"

namespace hq {

struct Attention {
  int64_t batch, heads, key_heads, length, keys, size, value_size, threads;
  int64_t terms;     // of each polynomial: 0 for no series, 5 for a degree of at most 8
  int64_t diagonal;  // row i sees the keys up to i + diagonal
  uint64_t seed;     // of dropout
  double scale, frequency, dropout;
  Array q, k, v, mask, output, to_output, to_q, to_k, to_v;
  void* series;       // (heads, 2, 4, terms): A, B, C, E of Phi, then of frequency Phi'
  void* log_sums;     // (batch, heads, length)
  double* to_series;  // (batch, heads, 4, terms)
};

namespace {

constexpr int64_t kRows = 64, kKeys = 128;
constexpr double kPi = 3.14159265358979323846, kLog2e = 1.44269504088896340736;

// Tiles ------------------------------------------------------------------------------------------------------------------

template <class T>
struct Space {
  T *k_turned, *v_turned, *k, *v, *to_k, *to_v, *q, *to_output, *scores, *weights, *angles, *result, *bias, *sums, *row[3];

  // Where everything is, from `base`; returns the end.
  T* place(const Attention& p, T* base) {
    const int64_t keys = padded<T>(p.keys) + kKeys, size = padded<T>(p.size), values = padded<T>(p.value_size);
    auto take = [&](int64_t n) { return std::exchange(base, base + padded<T>(n)); };
    k_turned = take(keys * size), v_turned = take(keys * values), k = take(keys * size), v = take(keys * values);
    to_k = take(keys * size), to_v = take(keys * values), q = take(kRows * size), to_output = take(kRows * values);
    scores = take(kRows * kKeys), weights = take(kRows * kKeys), angles = take(kRows * kKeys), result = take(kRows * std::max(size, values));
    bias = take(kKeys), sums = take(4 * p.terms * kLanes<T>);
    for (T*& x : row) x = take(kRows);
    return base;
  }
};

// One head's rows first..first+n_rows against keys start..start+n_keys.
template <class T>
struct Tile {
  const Attention& p;
  int64_t batch, head, first, n_rows, width, start = 0, n_keys = 0;

  int64_t row_of_all() const { return (batch * p.heads + head) * p.length + first; }
  int64_t columns() const { return padded<T>(n_keys); }
  int64_t seen(int64_t row) const {  // keys before this one are seen; a row that sees none counts as one that sees all
    const int64_t last = first + row + p.diagonal + 1;
    return last <= 0 ? p.keys : std::min(last, p.keys);
  }
  // Goes to the next keys that some row sees.
  bool next() {
    start += n_keys;
    n_keys = std::min(width, p.keys - start);
    return n_keys > 0 && (start < seen(n_rows - 1) || start < seen(0));
  }
  int64_t columns_of(int64_t row) const { return std::max<int64_t>(0, std::min(columns(), padded<T>(seen(row) - start))); }

  bool alike() const { return !(p.mask.data && p.mask.row) && first + p.diagonal >= start + n_keys - 1; }  // are all rows

  // What is added to the scores of a row: the mask, and -inf where it sees nothing.
  void bias(int64_t row, T* to) const {
    const bool blind = first + row + p.diagonal < 0;
    const T* mask = p.mask.data ? at<T>(p.mask, batch, head, first + row) + start * p.mask.column : nullptr;
    for (int64_t j = 0; j < columns(); ++j) {
      const bool hidden = blind || start + j >= seen(row);
      to[j] = hidden ? -std::numeric_limits<T>::infinity() : mask ? mask[j * p.mask.column] : 0;
    }
  }
};

// What the series sees, in half turns: the scores and a factor, or, if some are huge, the reduced ones and 1.
template <class T>
std::pair<const T*, T> half_turns_of(const Tile<T>& tile, const Space<T>& s) {
  const T frequency = T(tile.p.frequency), limit = Types<T>::kLargestAngle / std::max(std::abs(frequency), T(1e-30));
  Ints<T> fits = ~Ints<T>{};
  for (int64_t i = 0; i < tile.n_rows; ++i)
    for (int64_t j = 0; j < tile.columns(); j += kLanes<T>) {
      const Vec<T> scores = load(s.scores + i * tile.width + j);
      fits &= (scores < limit) & (scores > -limit);
    }
  if (!any(~fits)) return {s.scores, T(frequency / kPi)};
  for (int64_t row = 0; row < tile.n_rows; ++row)
    for (int64_t i = row * tile.width; i < row * tile.width + tile.columns(); ++i)
      s.angles[i] = std::atan2(std::sin(frequency * s.scores[i]), std::cos(frequency * s.scores[i])) / T(kPi);
  return {s.angles, T(1)};
}

// Scores to weights relative to the largest so far: row[0] the maxima, row[1] the sums, row[2] what the past is multiplied by.
template <class T, int N>
void weigh(const Tile<T>& tile, const Space<T>& s, const T* table) {
  const Attention& p = tile.p;
  const Keep keep(p.dropout);
  const bool alike = tile.alike(), drops = p.dropout > 0;
  int64_t columns = tile.columns_of(0);
  tile.bias(0, s.bias);
  const T lowest = -std::numeric_limits<T>::infinity();
  const auto [angles, factor] = N != 0 ? half_turns_of(tile, s) : std::pair<const T*, T>(s.scores, T(1));
  T fresh[kRows] = {};
  for (int64_t i = 0; i < tile.n_rows; ++i) {
    T* row = s.scores + i * tile.width;
    if (!alike) columns = tile.columns_of(i), tile.bias(i, s.bias);
    Vec<T> top = all<T>(lowest), total{};
    for (int64_t j = 0; j < columns; j += kLanes<T>) {
      Vec<T> logits = load(row + j);
      if constexpr (N != 0) logits += Waves<T, N>(factor * load(angles + i * tile.width + j), p.terms).sum(table);
      logits += load(s.bias + j);
      store(row + j, logits);
      top = logits > top ? logits : top;
    }
    const T most = std::max(s.row[0][i], largest<T>(top)), shift = most == lowest ? 0 : most;
    const Dropout<T> dropout(p.seed, tile.row_of_all() + i, keep.limit);
    for (int64_t j = 0; j < columns; j += kLanes<T>) {
      const Vec<T> weights = exp2<T>((load(row + j) - shift) * T(kLog2e));
      total += weights;
      store(row + j, drops ? (dropout.keeps(tile.start + j) ? weights : Vec<T>{}) : weights);
    }
    for (int64_t j = columns; j < tile.columns(); ++j) row[j] = 0;
    fresh[i] = sum<T>(total), s.row[2][i] = s.row[0][i] - shift, s.row[0][i] = most;
  }
  for (int64_t i = 0; i < kRows; i += kLanes<T>) {
    const Vec<T> past = exp2<T>(load(s.row[2] + i) * T(kLog2e));
    store(s.row[2] + i, past), store(s.row[1] + i, load(s.row[1] + i) * past + load(fresh + i));
  }
}

template <class T, int N>
void forward(const Attention& p, int64_t batch, int64_t group, const Space<T>& s) {
  const int64_t width = std::min(kKeys, padded<T>(p.keys)), per = p.heads / p.key_heads, wide = padded<T>(p.value_size);
  turn<T>(p.k, at<T>(p.k, batch, group), p.keys, p.size, width, T(p.scale), s.k_turned);
  const Factor<const T> v = rows_of<T>(p.v, at<T>(p.v, batch, group), p.keys, p.value_size, s.v);
  for (int64_t head = group * per; head < (group + 1) * per; ++head)
    for (int64_t first = 0; first < p.length; first += kRows) {
      Tile<T> tile{p, batch, head, first, std::min(kRows, p.length - first), width};
      const Factor<const T> q = rows_of<T>(p.q, at<T>(p.q, batch, head, first), tile.n_rows, p.size, s.q);
      std::fill_n(s.row[0], kRows, -std::numeric_limits<T>::infinity());
      std::fill_n(s.row[1], kRows, T(0)), std::fill_n(s.row[2], kRows, T(0));
      std::fill_n(s.result, tile.n_rows * wide, T(0));
      while (tile.next()) {
        const Factor<T> scores{s.scores, width};
        product<T>(tile.n_rows, tile.columns(), p.size, q, {s.k_turned + tile.start * p.size, width}, scores, false);
        weigh<T, N>(tile, s, static_cast<const T*>(p.series) + head * 8 * p.terms);
        if (tile.start > 0)
          for (int64_t i = 0; i < tile.n_rows * wide; ++i) s.result[i] *= s.row[2][i / wide];
        product<T>(tile.n_rows, wide, tile.n_keys, {s.scores, width}, {v.data + tile.start * v.step, v.step}, {s.result, wide},
                   tile.start > 0);
      }
      const double factor = Keep(p.dropout).factor;
      for (int64_t i = 0; i < tile.n_rows; ++i) {
        write<T>(p.output, at<T>(p.output, batch, head, first + i), 1, p.value_size, T(factor / s.row[1][i]), s.result + i * wide);
        static_cast<T*>(p.log_sums)[tile.row_of_all() + i] = s.row[0][i] + std::log(s.row[1][i]);
      }
    }
}

// Scores and dP to ds (in s.scores) and P after dropout (in s.weights); row[0] is D. Adds to the gradient of the table.
template <class T, int N>
void differentiate(const Tile<T>& tile, const Space<T>& s, const T* table, double* to_table) {
  const Attention& p = tile.p;
  const Keep keep(p.dropout);
  const bool alike = tile.alike(), drops = p.dropout > 0;
  int64_t columns = tile.columns_of(0);
  tile.bias(0, s.bias);
  const T keep_factor = T(keep.factor);
  const auto [angles, factor] = N != 0 ? half_turns_of(tile, s) : std::pair<const T*, T>(s.scores, T(1));
  const int64_t n_terms = 4 * p.terms;
  Vec<T> own[N > 0 ? 4 * N : 1], *sums = N > 0 ? own : reinterpret_cast<Vec<T>*>(s.sums);
  for (int64_t i = 0; i < n_terms; ++i) sums[i] = Vec<T>{};
  for (int64_t i = 0; i < tile.n_rows; ++i) {
    T *row = s.scores + i * tile.width, *gradient = s.weights + i * tile.width;
    if (!alike) columns = tile.columns_of(i), tile.bias(i, s.bias);
    const T log_sum = static_cast<const T*>(p.log_sums)[tile.row_of_all() + i], along = s.row[0][i];
    const Dropout<T> dropout(p.seed, tile.row_of_all() + i, keep.limit);
    for (int64_t j = 0; j < columns; j += kLanes<T>) {
      Vec<T> logits = load(row + j) + load(s.bias + j), to_weights = load(gradient + j);
      const Waves<T, N> waves(factor * load(angles + i * tile.width + j), p.terms);
      if constexpr (N != 0) logits += waves.sum(table);
      const Vec<T> weights = exp2<T>((logits - log_sum) * T(kLog2e));
      Vec<T> kept = weights;
      if (drops) {
        const Ints<T> keeps = dropout.keeps(tile.start + j);
        kept = keeps ? weights : Vec<T>{}, to_weights = keeps ? to_weights * keep_factor : Vec<T>{};
      }
      store(gradient + j, kept);
      Vec<T> to_scores = weights * (to_weights - along);
      if constexpr (N != 0) {
        waves.gather(to_scores, sums);
        to_scores += to_scores * waves.sum(table + n_terms);
      }
      store(row + j, to_scores);
    }
    for (int64_t j = columns; j < tile.columns(); ++j) row[j] = gradient[j] = 0;
  }
  for (int64_t i = 0; i < n_terms; ++i) to_table[i] += double(sum<T>(sums[i]));
}

template <class T, int N>
void backward(const Attention& p, int64_t batch, int64_t group, const Space<T>& s) {
  const int64_t width = std::min(kKeys, padded<T>(p.keys)), per = p.heads / p.key_heads;
  const int64_t size = padded<T>(p.size), values = padded<T>(p.value_size);
  turn<T>(p.k, at<T>(p.k, batch, group), p.keys, p.size, width, T(p.scale), s.k_turned);
  turn<T>(p.v, at<T>(p.v, batch, group), p.keys, p.value_size, width, T(1), s.v_turned);
  const Factor<const T> k = rows_of<T>(p.k, at<T>(p.k, batch, group), p.keys, p.size, s.k);
  std::fill_n(s.to_k, p.keys * size, T(0)), std::fill_n(s.to_v, p.keys * values, T(0));
  for (int64_t head = group * per; head < (group + 1) * per; ++head)
    for (int64_t first = 0; first < p.length; first += kRows) {
      Tile<T> tile{p, batch, head, first, std::min(kRows, p.length - first), width};
      const int64_t n = tile.n_rows;
      const T *output = at<T>(p.output, batch, head, first), *gradient = at<T>(p.to_output, batch, head, first);
      const Factor<const T> q = rows_of<T>(p.q, at<T>(p.q, batch, head, first), n, p.size, s.q);
      const Factor<const T> to_output = rows_of<T>(p.to_output, gradient, n, p.value_size, s.to_output);
      const Factor<const T> past = rows_of<T>(p.output, output, n, p.value_size, s.result);
      for (int64_t i = 0; i < n; ++i) {
        Vec<T> along{};
        for (int64_t j = 0; j < values; j += kLanes<T>)
          along += load(to_output.data + i * to_output.step + j) * load(past.data + i * past.step + j);
        s.row[0][i] = sum<T>(along);
      }
      std::fill_n(s.result, n * size, T(0));
      while (tile.next()) {
        const int64_t start = tile.start;
        const Factor<T> scores{s.scores, width}, weights{s.weights, width};
        product<T>(n, tile.columns(), p.size, q, {s.k_turned + start * p.size, width}, scores, false);
        product<T>(n, tile.columns(), p.value_size, to_output, {s.v_turned + start * p.value_size, width}, weights, false);
        differentiate<T, N>(tile, s, static_cast<const T*>(p.series) + head * 8 * p.terms,
                            p.to_series + (batch * p.heads + head) * 4 * p.terms);
        product<T, true>(tile.n_keys, values, n, {s.weights, width}, to_output, {s.to_v + start * values, values}, true);
        product<T, true>(tile.n_keys, size, n, {s.scores, width}, q, {s.to_k + start * size, size}, true);
        product<T>(n, size, tile.n_keys, {s.scores, width}, {k.data + start * k.step, k.step}, {s.result, size}, true);
      }
      write<T>(p.to_q, at<T>(p.to_q, batch, head, first), n, p.size, T(p.scale), s.result);
    }
  write<T>(p.to_k, at<T>(p.to_k, batch, group), p.keys, p.size, T(p.scale), s.to_k);
  write<T>(p.to_v, at<T>(p.to_v, batch, group), p.keys, p.value_size, T(Keep(p.dropout).factor), s.to_v);
}

template <class T, int N, bool kBackward>
int run(const Attention& p) {
  const int64_t one = Space<T>().place(p, nullptr) - static_cast<T*>(nullptr), threads = std::max<int64_t>(1, p.threads);
  T* space = static_cast<T*>(operator new(size_t(one * threads) * sizeof(T), std::align_val_t(64), std::nothrow));
  if (!space) return 1;
  parallel(p.batch * p.key_heads, int(threads), [&](int64_t item, int thread) {
    Space<T> own;
    own.place(p, space + thread * one);
    (kBackward ? backward<T, N> : forward<T, N>)(p, item / p.key_heads, item % p.key_heads, own);
  });
  operator delete(space, std::align_val_t(64));
  return 0;
}

template <class T, bool kBackward>
int run(const Attention& p) {
  return p.terms == 0 ? run<T, 0, kBackward>(p) : p.terms == 5 ? run<T, 5, kBackward>(p) : run<T, -1, kBackward>(p);
}

}  // namespace
}  // namespace hq

// 0, or 1 if there is no memory.
HQ_EXPORT int hq_attention_forward_float(const hq::Attention* p) { return hq::run<float, false>(*p); }
HQ_EXPORT int hq_attention_forward_double(const hq::Attention* p) { return hq::run<double, false>(*p); }
HQ_EXPORT int hq_attention_backward_float(const hq::Attention* p) { return hq::run<float, true>(*p); }
HQ_EXPORT int hq_attention_backward_double(const hq::Attention* p) { return hq::run<double, true>(*p); }
