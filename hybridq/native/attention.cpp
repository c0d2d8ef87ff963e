// softmax(s + Phi(frequency s) + mask) v with s = scale q k^T, and its gradients, without ever holding all scores.
//
// Algorithm: blocks of rows against all keys. Forward: scores, series, mask, softmax, times v. Backward: the weights again
// from the saved log-sum-exp; with g = dL/d(output) and D = g . output of each row,
//   dP = g v^T, dlogits = P (dP - D), ds = dlogits (1 + frequency Phi'), dq = scale ds k, dk = scale ds^T q, dv = P^T g.
// The series is one of Chebyshev polynomials T_j in u = cos 2s: Phi = A + xy B + x C + y E with x = cos s, y = sin s
// (fourier.py); dL/dA_j is the sum of dlogits T_j, and likewise with factors xy, x and y for B, C and E.
//
// Layout: tensors of any strides; rows that are no whole vectors are copied and padded with 0. For each batch entry and key
// head k (and v) are turned, so that scores have lanes along the keys; all else has lanes along the head size. Heads of a
// group share these copies, and their dk and dv are summed in place.
//
// Cost: for each score (2 forward, 5 backward) x size fused multiply-adds, 2 sincos, 2 exp, and 4 x terms x (1 forward, 3
// backward) more for the series. Space for each thread: 6 x keys x size numbers and 3 blocks of about kScores. One thread
// works on one batch entry and key head, in a fixed order: results do not depend on the number of threads.
#include <memory>
#include <new>
#include <numeric>
#include "parallel.h"
#include "product.h"

namespace hq {

struct Array {  // strides in elements
  void* data;
  int64_t batch, head, row, column;
};
struct Attention {
  int64_t batch, heads, key_heads, length, keys, size, value_size, threads;
  int64_t n_coefficients, terms;  // of the series, and of each polynomial: 0 for no series, 5 for a degree of at most 8
  int64_t diagonal;               // row i sees the keys up to i + diagonal
  uint64_t seed, limit;           // of dropout: a weight is kept if its hash of 32 bits is below the limit; 0 keeps all
  double scale, frequency, kept;  // `kept`: what a kept weight is multiplied by
  Array q, k, v, mask, coefficients, output, to_output, to_q, to_k, to_v;
  void *log_sums, *to_coefficients;  // (batch, heads, length), (heads, n_coefficients)
  const double* table;  // (n_coefficients, 2, 4, terms): from coefficients to A, B, C, E of Phi, then of frequency Phi'
};

namespace {

constexpr int64_t kScores = 32768, kMostRows = 64, kMostTerms = 64;
constexpr double kPi = 3.14159265358979323846, kLog2e = 1.44269504088896340736;

// The series at one vector of angles. N: number of terms, or -1 if it is known at run time only; for N = 5, degree 8, the
// last terms of B, C and E are 0.
template <class T, int N> struct Series {
  int64_t terms;
  Vec<T> factors[4], basis[N < 0 ? kMostTerms : N + 2];  // 1, xy, x, y and T_j

  HQ_INLINE Series(Vec<T> half_turns, int64_t n) : terms(N < 0 ? n : N) {
    Vec<T> x, y, shifted = half_turns + kRound<T>;
    sincospi<T>(shifted, half_turns - (shifted - kRound<T>), y, x);
    factors[0] = basis[0] = all<T>(1), factors[1] = x * y, factors[2] = x, factors[3] = y;
    const Vec<T> twice = x * x * T(4) - T(2);  // 2u
    basis[1] = twice * T(0.5);
    each([&](auto j) HQ_LAMBDA { if (j > 1) basis[j] = twice * basis[j - 1] - basis[j - 2]; });
  }
  template <class F> HQ_INLINE void each(F f) const {
    if constexpr (N >= 0) repeat<N>(f);
    else for (int64_t j = 0; j < terms; ++j) f(j);
  }
  HQ_INLINE Vec<T> sum(const T* table) const {
    Vec<T> sums[4] = {};
    repeat<4>([&](auto part) HQ_LAMBDA {
      each([&](auto j) HQ_LAMBDA {
        const T c = table[part * terms + j];
        if (N < 0 || part == 0 || j < N - 1) sums[part] = j == 0 ? all<T>(c) : sums[part] + basis[j] * c;
      });
    });
    return sums[0] + factors[2] * (sums[2] + factors[3] * sums[1]) + factors[3] * sums[3];
  }
  HQ_INLINE void gather(Vec<T> gradient, Vec<T>* sums) const {
    repeat<4>([&](auto part) HQ_LAMBDA {
      const Vec<T> own = gradient * factors[part];
      each([&](auto j) HQ_LAMBDA { if (N < 0 || part == 0 || j < N - 1) sums[part * terms + j] += own * basis[j]; });
    });
  }
};

// Dropout: hashes of the keys, of a row (its number among those of all heads) that has two random words of its own.
template <class T> struct Dropout {
  uint64_t words;
  Dropout(uint64_t seed, int64_t row) : words(seed + uint64_t(row + 1) * 0x9e3779b97f4a7c15) {  // splitmix64
    words = (words ^ (words >> 30)) * 0xbf58476d1ce4e5b9;
    words = (words ^ (words >> 27)) * 0x94d049bb133111eb;
    words ^= words >> 31;
  }
  HQ_INLINE Ints<T> keeps(int64_t key, uint64_t limit) const {
    typename Types<T>::Word x;
    for (int i = 0; i < kLanes<T>; ++i) x[i] = uint32_t(i);
    x += uint32_t(words) + uint32_t(key);
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15) ^ uint32_t(words >> 32)) * 0x846ca68bu;
    return __builtin_convertvector((x ^ (x >> 16)) < uint32_t(limit), Ints<T>);
  }
};

template <class T, int N, bool kBackward> struct Worker {
  const Attention& p;
  const int64_t size = padded<T>(p.size), values = padded<T>(p.value_size);
  const int64_t wide = padded<T>(p.keys) + kLanes<T>;  // no multiple of 4096 bytes, which the cache would not hold
  const int64_t most_rows = std::clamp<int64_t>(kScores / p.keys, 8, kMostRows), per = p.heads / p.key_heads;
  std::unique_ptr<Vec<T>[]> space;
  T *k, *v, *k_turned, *v_turned, *to_k, *to_v, *q, *gradient, *result, *scores, *weights, *reduced, *bias, *along;
  int64_t batch = 0, head = 0, first = 0, n_rows = 0, columns = 0;  // a block: rows of a head, and what some row sees

  explicit Worker(const Attention& p) : p(p) {
    const int64_t keys = wide * std::max(size, values), rows = most_rows * std::max(size, values), square = most_rows * wide;
    space.reset(new Vec<T>[(6 * keys + 3 * rows + 3 * square + wide + kMostRows) / kLanes<T>]);
    T* free = reinterpret_cast<T*>(space.get());
    for (T** x : {&k, &v, &k_turned, &v_turned, &to_k, &to_v}) *x = std::exchange(free, free + keys);
    for (T** x : {&q, &gradient, &result}) *x = std::exchange(free, free + rows);
    for (T** x : {&scores, &weights, &reduced}) *x = std::exchange(free, free + square);
    bias = free, along = free + wide;
  }

  T* at(const Array& x, int64_t head, int64_t row) const {
    return static_cast<T*>(x.data) + batch * x.batch + head * x.head + row * x.row;
  }
  // Rows of whole vectors: where they are, or copied and padded with 0.
  Matrix<T> read(const Array& x, int64_t head, int64_t row, int64_t n, int64_t size, T* copy) const {
    const Matrix<T> from{at(x, head, row), x.row, x.column}, to{copy, padded<T>(size)};
    if (x.column == 1 && size == to.row) return from;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < to.row; ++j) to.from(i).data[j] = j < size ? from.from(i).data[j * x.column] : 0;
    return to;
  }
  void write(const Array& x, int64_t head, int64_t row, int64_t n, int64_t size, T factor, const T* from) const {
    T* const to = at(x, head, row);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < size; ++j) to[i * x.row + j * x.column] = factor * from[i * padded<T>(size) + j];
  }
  // The transpose of the keys' rows times a factor, padded with 0.
  Matrix<T> turn(Matrix<T> x, int64_t size, T factor, T* to) const {
    constexpr int64_t lanes = kLanes<T>;
    for (int64_t i = 0; i < p.keys; i += lanes)
      for (int64_t j = 0; j < size; j += lanes) {
        Vec<T> square[lanes];
        for (int64_t r = 0; r < lanes; ++r) square[r] = i + r < p.keys ? load(x.from(i + r).data + j) : Vec<T>{};
        transpose<T>(square);
        for (int64_t r = 0; r < lanes; ++r) store(to + (j + r) * wide + i, factor * square[r]);
      }
    return {to, wide};
  }

  // What is added to the scores of row i: the mask, and -inf where it sees nothing. The same for all rows is found once.
  void find_bias(int64_t i) const {
    const int64_t seen = std::min(p.keys, first + i + p.diagonal + 1);
    if (i > 0 && !(p.mask.data && p.mask.row) && first + p.diagonal >= p.keys - 1) return;
    const T* mask = p.mask.data ? at(p.mask, head, first + i) : nullptr;
    for (int64_t j = 0; j < columns; ++j) bias[j] = j >= seen ? -T(INFINITY) : mask ? mask[j * p.mask.column] : 0;
  }
  // What the series sees, in half turns: the scores and a factor, or, if some are huge, the reduced ones and 1.
  std::pair<const T*, T> half_turns() const {
    const T frequency = T(p.frequency), limit = Types<T>::kLargestAngle / std::max(std::abs(frequency), T(1e-30));
    Ints<T> huge{};
    for (int64_t i = 0; i < n_rows; ++i)
      for (int64_t j = i * wide; j < i * wide + columns; j += kLanes<T>)
        huge |= (load(scores + j) > limit) | (load(scores + j) < -limit);
    if (!any(huge)) return {scores, T(frequency / kPi)};
    for (int64_t i = 0; i < n_rows; ++i)
      for (int64_t j = i * wide; j < i * wide + columns; ++j)
        reduced[j] = std::atan2(std::sin(frequency * scores[j]), std::cos(frequency * scores[j])) / T(kPi);
    return {reduced, T(1)};
  }

  // Forward: scores to weights relative to a row's largest; `along`: what these are to be multiplied by. Backward: scores
  // and dP (in `weights`) to ds and P after dropout; `along` is D.
  void weigh(const T* table, double* to_table) {
    const T kept = T(p.kept);  // and other copies, which no store can change
    const int64_t n = 4 * p.terms, columns = this->columns;
    const uint64_t limit = p.limit;
    const auto [turns, factor] = N ? half_turns() : std::pair<const T*, T>();
    Vec<T> sums[N < 0 ? 4 * kMostTerms : 4 * N + 1] = {};
    for (int64_t i = 0; i < n_rows; ++i) {
      T *const row = scores + i * wide, *const other = weights + i * wide;
      const int64_t number = (batch * p.heads + head) * p.length + first + i;
      const Dropout<T> dropout(p.seed, number);
      const T own = kBackward ? along[i] : 0, log_sum = kBackward ? static_cast<T*>(p.log_sums)[number] * T(kLog2e) : 0;
      Vec<T> top = all<T>(-T(INFINITY)), total{};
      find_bias(i);
      for (int64_t j = 0; j < columns; j += kLanes<T>) {
        const Series<T, N> series(N ? factor * load(turns + i * wide + j) : Vec<T>{}, p.terms);
        Vec<T> logits = load(row + j) + load(bias + j), slope = all<T>(1);
        if constexpr (N != 0) logits += series.sum(table);
        if constexpr (kBackward) {
          if constexpr (N != 0) slope += series.sum(table + n);
          const Vec<T> found = exp2<T>(logits * T(kLog2e) - log_sum);
          const Ints<T> drops = limit ? ~dropout.keeps(j, limit) : Ints<T>{};
          const Vec<T> to_found = limit ? Vec<T>(drops ? Vec<T>{} : load(other + j) * kept) : load(other + j);
          const Vec<T> to_logits = found * (to_found - own);
          if constexpr (N != 0) series.gather(to_logits, sums);
          store(other + j, limit ? Vec<T>(drops ? Vec<T>{} : found) : found), store(row + j, to_logits * slope);
        } else {
          store(row + j, logits);
          top = logits > top ? logits : top;
        }
      }
      if (kBackward) continue;
      const T most = largest<T>(top), shift = most == -T(INFINITY) ? 0 : most;
      for (int64_t j = 0; j < columns; j += kLanes<T>) {
        const Vec<T> found = exp2<T>(load(row + j) * T(kLog2e) - shift * T(kLog2e));
        total += found;
        store(row + j, limit ? (dropout.keeps(j, limit) ? found : Vec<T>{}) : found);
      }
      along[i] = kept / sum<T>(total), static_cast<T*>(p.log_sums)[number] = shift + std::log(sum<T>(total));
    }
    for (int64_t i = 0; kBackward && i < (N < 0 ? n : 4 * N); ++i) to_table[i] += double(sum<T>(sums[i]));
  }

  // All heads of a batch entry that share keys.
  void attend(int64_t item, const T* table, double* to_table) {
    const int64_t group = item % p.key_heads;
    batch = item / p.key_heads;
    const Matrix<T> k = read(p.k, group, 0, p.keys, p.size, this->k), v = read(p.v, group, 0, p.keys, p.value_size, this->v);
    const Matrix<T> k_turned = turn(k, size, T(p.scale), this->k_turned);
    const Matrix<T> v_turned = kBackward ? turn(v, values, T(1), this->v_turned) : v;
    const Matrix<T> scores{this->scores, wide}, weights{this->weights, wide};
    if (kBackward) std::fill_n(to_k, p.keys * size, T(0)), std::fill_n(to_v, p.keys * values, T(0));
    for (head = group * per; head < (group + 1) * per; ++head)
      for (first = 0; first < p.length; first += n_rows) {
        n_rows = std::min(most_rows, p.length - first);
        const int64_t seen = first + p.diagonal < 0 ? p.keys : std::min(p.keys, first + n_rows + p.diagonal);
        columns = padded<T>(seen);
        const T* own_table = table + head * 8 * p.terms;
        const Matrix<T> q = read(p.q, head, first, n_rows, p.size, this->q);
        product<T>(n_rows, columns, p.size, q, k_turned, scores, false);
        if constexpr (!kBackward) {
          weigh(own_table, nullptr);
          product<T>(n_rows, values, seen, scores, v, {result, values}, false);
          for (int64_t i = 0; i < n_rows; ++i)
            write(p.output, head, first + i, 1, p.value_size, along[i], result + i * values);
        } else {
          const Matrix<T> past = read(p.output, head, first, n_rows, p.value_size, result);
          const Matrix<T> g = read(p.to_output, head, first, n_rows, p.value_size, gradient);
          for (int64_t i = 0; i < n_rows; ++i) {
            Vec<T> total{};
            for (int64_t j = 0; j < values; j += kLanes<T>) total += load(g.from(i).data + j) * load(past.from(i).data + j);
            along[i] = sum<T>(total);
          }
          product<T>(n_rows, columns, p.value_size, g, v_turned, weights, false);
          weigh(own_table, to_table + (batch * p.heads + head) * 4 * p.terms);
          product<T>(seen, values, n_rows, weights.transposed(), g, {to_v, values}, true);
          product<T>(seen, size, n_rows, scores.transposed(), q, {to_k, size}, true);
          product<T>(n_rows, size, seen, scores, k, {result, size}, false);
          write(p.to_q, head, first, n_rows, p.size, T(p.scale), result);
        }
      }
    if (!kBackward) return;
    write(p.to_k, group, 0, p.keys, p.size, T(p.scale), to_k);
    write(p.to_v, group, 0, p.keys, p.value_size, T(p.kept), to_v);
  }
};

template <class T, int N, bool kBackward> int run(const Attention& p) try {
  const int64_t n = p.n_coefficients, width = 8 * p.terms, half = p.heads * 4 * p.terms;
  std::vector<T> table(p.heads * width);
  std::vector<double> to_table(kBackward ? p.batch * half : 0);
  std::vector<Worker<T, N, kBackward>> workers;
  while (int64_t(workers.size()) < std::max<int64_t>(1, p.threads)) workers.emplace_back(p);
  for (int64_t i = 0; i < p.heads * n; ++i) {
    const T c = workers[0].at(p.coefficients, i / n, 0)[i % n * p.coefficients.column];
    for (int64_t t = 0; t < width; ++t) table[i / n * width + t] += c * T(p.table[i % n * width + t]);
  }
  auto attend = [&](int64_t item, int thread) { workers[thread].attend(item, table.data(), to_table.data()); };
  parallel(p.batch * p.key_heads, int(workers.size()), attend);
  for (int64_t batch = 1; kBackward && batch < p.batch; ++batch)
    for (int64_t i = 0; i < half; ++i) to_table[i] += to_table[batch * half + i];
  for (int64_t i = 0; kBackward && i < p.heads * n; ++i) {
    const double* own = to_table.data() + i / n * width / 2;
    static_cast<T*>(p.to_coefficients)[i] = T(std::inner_product(own, own + width / 2, p.table + i % n * width, 0.));
  }
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}

template <class T, bool kBackward> int run(const Attention& p) {
  return p.terms == 0 ? run<T, 0, kBackward>(p) : p.terms == 5 ? run<T, 5, kBackward>(p) : run<T, -1, kBackward>(p);
}

}  // namespace
}  // namespace hq

// 0, or 1 if there is no memory.
HQ_EXPORT int hq_attention_forward_float(const hq::Attention* p) { return hq::run<float, false>(*p); }
HQ_EXPORT int hq_attention_forward_double(const hq::Attention* p) { return hq::run<double, false>(*p); }
HQ_EXPORT int hq_attention_backward_float(const hq::Attention* p) { return hq::run<float, true>(*p); }
HQ_EXPORT int hq_attention_backward_double(const hq::Attention* p) { return hq::run<double, true>(*p); }
