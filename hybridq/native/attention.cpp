// softmax(scale t + Phi(frequency scale t) + mask) v with t = q k^T, and its gradients, never holding all scores t.
//
// Algorithm: blocks of rows against all keys. Forward: scores, series, mask, softmax, times v. Backward: the weights P anew,
// from each row's largest logit and kept / sum, which are saved; with g = dL/d(output) and D = g . output of each row,
//   dP = g v^T, dlogits = P (dP - D), dt = dlogits scale (1 + frequency Phi'), dq = dt k, dk = dt^T q, dv = P^T g.
// Logits count in powers of 2; the output and g are divided by the sums, not P. The series is one of Chebyshev polynomials
// T_j in u = cos 2s: Phi(s) = A + xy B + x C + y E with x = cos s, y = sin s (fourier.py); dL/dA_j is the sum of dlogits
// T_j, and likewise with factors xy, x and y for B, C and E.
// Layout: rows of q, k and v are whole vectors. For each batch entry and key head k (and v) are turned, so that scores have
// lanes along the keys; all else has lanes along the head size. Heads of a group share them, and sum dk and dv in place.
// Cost: for each score (2 forward, 5 backward) x size fused multiply-adds, 2 sincos, 2 exp, and 4 x terms x (1 forward, 3
// backward) more for the series, in short loops, so that vectors overlap. Space for each thread: keys x (size + value size)
// and twice max(kScores, 8 x keys) numbers. It works on a batch entry and key head, in an order that threads do not change.
#include <limits>
#include <memory>
#include "machine.h"

namespace hq::attention {
struct Array { void* data; int64_t batch, head, row; };  // strides in elements; a row's numbers are side by side
struct Attention {
  int64_t batch, heads, key_heads, length, keys, size, value_size, threads;
  int64_t n_coefficients, stride, terms;  // of a head, between heads, and of each polynomial: 0 for none, 5 for degree <= 8
  int64_t diagonal;               // row i sees the keys up to i + diagonal
  uint64_t seed, limit;           // of dropout: a weight is kept if its hash of 32 bits is below the limit; 0 keeps all
  double scale, frequency, kept;  // `kept`: what a kept weight is multiplied by
  Array q, k, v, mask, output, to_output, to_q, to_k, to_v;
  void *coefficients, *to_coefficients, *saved;  // (heads, n_coefficients) twice, (batch, heads, length, 2)
  const double* table;  // (n_coefficients, 2, 4, terms): from coefficients to A, B, C, E of Phi, then of frequency Phi'
};

constexpr int64_t kScores = 32768, kWaves = 1024, kMostRows = 64, kMostTerms = 64;
constexpr double kPi = 3.14159265358979323846, kLog2e = 1.44269504088896340736;

// Matrix products with small factors that stay in the cache: blocks of the result in registers, lanes along its rows.
template <class T> struct Matrix {
  T* data;
  int64_t row, column = 1;  // strides in elements
  Matrix from(int64_t i) const { return {data + i * row, row, column}; }
  Matrix transposed() const { return {data, column, row}; }
};
template <class T> constexpr int64_t padded(int64_t n) { return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>; }

// c (+)= a b: M of m rows of c at a time, V vectors of each. Reads every number of b m / M times.
template <class T, int M, int V> void rows(int64_t m, int64_t depth, Matrix<T> a, Matrix<T> b, Matrix<T> c, bool add) {
  for (; m >= M; m -= M, a = a.from(M), c = c.from(M)) {
    Vec<T> sums[M][V] = {};
    for (int i = 0; add && i < M; ++i)
      for (int v = 0; v < V; ++v) sums[i][v] = load(c.data + i * c.row + v * kLanes<T>);
    for (int64_t k = 0; k < depth; ++k)
      for (int i = 0; i < M; ++i)
        for (int v = 0; v < V; ++v)
          sums[i][v] += a.data[i * a.row + k * a.column] * load(b.data + k * b.row + v * kLanes<T>);
    for (int i = 0; i < M; ++i)
      for (int v = 0; v < V; ++v) store(c.data + i * c.row + v * kLanes<T>, sums[i][v]);
  }
  if constexpr (M > 1) { if (m) rows<T, M / 2, V>(m, depth, a, b, c, add); }
}
// The same for n columns, a multiple of the lanes.
template <class T> void product(int64_t m, int64_t n, int64_t depth, Matrix<T> a, Matrix<T> b, Matrix<T> c, bool add) {
  for (; n >= 2 * kLanes<T>; n -= 2 * kLanes<T>, b.data += 2 * kLanes<T>, c.data += 2 * kLanes<T>)
    rows<T, kBytes == 64 ? 8 : 4, 2>(m, depth, a, b, c, add);
  if (n) rows<T, 8, 1>(m, depth, a, b, c, add);
}

// The series at one vector of angles. N: number of terms, or -1 if it is known at run time only; for N = 5, degree 8, the
// last terms of B, C and E are 0.
template <class T, int N> struct Series {
  int terms;
  Vec<T> factors[4], basis[N < 0 ? kMostTerms : N + 2];  // 1, xy, x, y and T_j
  HQ_INLINE Series(Vec<T> x, Vec<T> y, int64_t n) : terms(N < 0 ? int(n) : N), factors{all<T>(1), x * y, x, y} {
    basis[0] = factors[0], basis[1] = x * x * T(2) - T(1);
    for (int j = 2; j < terms; ++j) basis[j] = (basis[1] + basis[1]) * basis[j - 1] - basis[j - 2];
  }
  HQ_INLINE int used(int part) const { return N < 0 || part == 0 ? terms : terms - 1; }
  HQ_INLINE Vec<T> sum(const T* table) const {
    Vec<T> sums[4] = {};
    for (int part = 0; part < 4; ++part)
      for (int j = 0; j < used(part); ++j) sums[part] += basis[j] * table[part * terms + j];
    return (sums[0] + factors[3] * sums[3]) + factors[2] * (sums[2] + factors[3] * sums[1]);
  }
  HQ_INLINE void gather(Vec<T> gradient, Vec<T>* sums) const {
    for (int part = 0; part < 4; ++part)
      for (int j = 0; j < used(part); ++j) sums[part * terms + j] += gradient * factors[part] * basis[j];
  }
};

// Dropout: hashes of the keys, of a row that has two random words of its own.
template <class T> struct Dropout {
  uint64_t limit, words;
  Dropout(const Attention& p, int64_t row) : limit(p.limit), words(p.seed + uint64_t(row + 1) * 0x9e3779b97f4a7c15) {
    words = (words ^ (words >> 30)) * 0xbf58476d1ce4e5b9;  // splitmix64
    words = (words ^ (words >> 27)) * 0x94d049bb133111eb, words ^= words >> 31;
  }
  HQ_INLINE Ints<T> keeps(int64_t key) const {
    if (limit == 0) return ~Ints<T>{};
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
  const int64_t wide = padded<T>(p.keys) + (p.keys > 64 ? kLanes<T> : 0);  // no multiple of 4096 bytes, which thrash a cache
  const int64_t most_rows = std::clamp<int64_t>(kScores / p.keys, 8, kMostRows), square = most_rows * wide;
  const int64_t together = std::max<int64_t>(1, kWaves / wide), waves = together * wide;  // rows whose waves one loop finds
  const int64_t space = wide * (p.size + p.value_size + 1) + most_rows * p.value_size + 2 * (square + waves) + kMostRows;
  std::unique_ptr<Vec<T>[]> owned{new Vec<T>[space / kLanes<T>]};
  T* unused = reinterpret_cast<T*>(owned.get());
  T *const k_turned = take(wide * p.size), *const v_turned = take(wide * p.value_size), *const bias = take(wide),
    *const cosines = take(waves), *const sines = take(waves), *const scores = take(square), *const weights = take(square),
    *const scaled = take(most_rows * p.value_size), *const along = take(kMostRows);
  int64_t batch = 0, head = 0, first = 0, n_rows = 0, columns = 0;  // a block: rows of a head, and what some row sees
  T* take(int64_t n) { return std::exchange(unused, unused + n); }
  Matrix<T> at(const Array& x, int64_t head, int64_t row) const {
    return {static_cast<T*>(x.data) + batch * x.batch + head * x.head + row * x.row, x.row};
  }
  // The transpose of the keys' rows times a factor, padded with 0.
  void turn(Matrix<T> x, int64_t size, T factor, T* to) const {
    for (int64_t i = 0; i < p.keys; i += kLanes<T>)
      for (int64_t j = 0; j < size; j += kLanes<T>) {
        Vec<T> tile[kLanes<T>];
        for (int64_t r = 0; r < kLanes<T>; ++r) tile[r] = i + r < p.keys ? load(x.from(i + r).data + j) : Vec<T>{};
        transpose<T>(tile);
        for (int64_t r = 0; r < kLanes<T>; ++r) store(to + (j + r) * wide + i, factor * tile[r]);
      }
  }

  // What is added to the logits of row i, the mask and -inf where it sees nothing; the same for all rows is found once. And
  // where its waves are: those of rows `together` are found with the first row's, of columns that nothing reads, too. Of an
  // angle so large that its rounding error is a whole turn, the second rounding leaves no rest.
  int64_t prepare(int64_t i) const {
    const int64_t seen = std::min(p.keys, first + i + p.diagonal + 1), columns = this->columns;
    constexpr T lowest = std::numeric_limits<T>::lowest(), hidden = -T(INFINITY);  // rows of `lowest` alone stay finite
    const T* const mask = p.mask.data ? at(p.mask, head, first + i).data : nullptr;
    if (i == 0 || (mask && p.mask.row) || first + p.diagonal < p.keys - 1)
      for (int64_t j = 0; j < columns; ++j)
        bias[j] = j >= seen ? hidden : !mask ? 0 : mask[j] == hidden ? hidden : std::max(mask[j] * T(kLog2e), lowest);
    const T factor = T(p.frequency / (kPi * kLog2e)), *const row = scores + i * wide;
    const int64_t n = i % together ? 0 : together == 1 ? columns : std::min(together, n_rows - i) * wide;
    for (int64_t j = 0; N && j < n; j += kLanes<T>) {
      const Vec<T> half_turns = factor * load(row + j), shifted = half_turns + kRound<T>;
      Vec<T> sin, cos, rest = half_turns - (shifted - kRound<T>);
      sincospi<T>(shifted, rest - round<T>(rest), sin, cos);
      store(cosines + j, cos), store(sines + j, sin);
    }
    return i % together * wide;
  }
  // Scores to weights relative to a row's largest.
  void soften(const T* table, T* saved, int64_t number) {
    const int64_t columns = this->columns, terms = p.terms;  // copies, which no store can change
    for (int64_t i = 0; i < n_rows; ++i) {
      T* const row = scores + i * wide;
      Vec<T> top = all<T>(-T(INFINITY));
      const int64_t w = prepare(i);
      for (int64_t j = 0; j < columns; j += kLanes<T>) {
        Vec<T> logits = load(row + j) + load(bias + j);
        if constexpr (N != 0) logits += Series<T, N>(load(cosines + w + j), load(sines + w + j), terms).sum(table);
        store(row + j, logits), top = logits > top ? logits : top;
      }
      along[i] = largest<T>(top);
    }
    for (int64_t i = 0; i < n_rows; ++i) {
      T* const row = scores + i * wide;
      const Dropout<T> dropout(p, number + i);
      const T most = along[i] == -T(INFINITY) ? 0 : along[i];
      Vec<T> total{};
      for (int64_t j = 0; j < columns; j += kLanes<T>) {
        const Vec<T> found = exp2<T>(load(row + j) - most);
        total += found, store(row + j, dropout.keeps(j) ? found : Vec<T>{});
      }
      saved[2 * i] = most, saved[2 * i + 1] = T(p.kept) / sum<T>(total);
    }
  }
  // Scores to dt, and dP (in `weights`) to P after dropout; `along` is D.
  void differentiate(const T* table, const T* saved, int64_t number, double* to_table) {
    const int64_t columns = this->columns, terms = p.terms, n = 4 * (N < 0 ? terms : N);
    Vec<T> sums[N < 0 ? 4 * kMostTerms : 4 * N + 1] = {};
    for (int64_t i = 0; i < n_rows; ++i) {
      T *const row = scores + i * wide, *const other = weights + i * wide;
      const Dropout<T> dropout(p, number + i);
      const T most = saved[2 * i], own = along[i] / T(p.kept), scale = T(p.scale);
      const int64_t w = prepare(i);
      for (int64_t j = 0; j < columns; j += kLanes<T>) {
        const Series<T, N> series(load(cosines + w + j), load(sines + w + j), terms);
        const Ints<T> keep = dropout.keeps(j);
        Vec<T> logits = load(row + j) + load(bias + j), slope = all<T>(scale);
        if constexpr (N != 0) logits += series.sum(table), slope += series.sum(table + n);
        const Vec<T> found = exp2<T>(logits - most), to_logits = found * ((keep ? load(other + j) : Vec<T>{}) - own);
        if constexpr (N != 0) series.gather(to_logits, sums);
        store(other + j, keep ? found : Vec<T>{}), store(row + j, to_logits * slope);
      }
    }
    for (int64_t i = 0; i < n; ++i) to_table[i] += double(sum<T>(sums[i]));
  }

  // All heads of a batch entry that share keys.
  void attend(int64_t item, const T* tables, double* to_tables) {
    const int64_t group = item % p.key_heads, per = p.heads / p.key_heads;
    batch = item / p.key_heads;
    const Matrix<T> k = at(p.k, group, 0), to_k = at(p.to_k, group, 0), v = at(p.v, group, 0), to_v = at(p.to_v, group, 0);
    const Matrix<T> t{scores, wide}, w{weights, wide}, g{scaled, p.value_size};
    turn(k, p.size, T(p.scale * kLog2e), k_turned);
    if (kBackward) turn(v, p.value_size, T(1), v_turned);
    if (kBackward) product<T>(p.keys, p.size, 0, k, k, to_k, false), product<T>(p.keys, p.value_size, 0, v, v, to_v, false);
    for (head = group * per; head < (group + 1) * per; ++head)
      for (first = 0; first < p.length; first += n_rows) {
        n_rows = std::min(most_rows, p.length - first);
        const int64_t seen = first + p.diagonal < 0 ? p.keys : std::min(p.keys, first + n_rows + p.diagonal);
        const int64_t number = (batch * p.heads + head) * p.length + first;  // of the first row, among those of all heads
        columns = padded<T>(seen);
        T* const saved = static_cast<T*>(p.saved) + 2 * number;
        const Matrix<T> q = at(p.q, head, first), output = at(p.output, head, first), from = at(p.to_output, head, first);
        product<T>(n_rows, columns, p.size, q, {k_turned, wide}, t, false);
        if constexpr (!kBackward) {
          soften(tables + head * 8 * p.terms, saved, number);
          product<T>(n_rows, p.value_size, seen, t, v, output, false);
        }
        for (int64_t i = 0; i < n_rows; ++i) {  // a row's output, or g and D
          Vec<T> total{};
          for (int64_t j = 0; j < p.value_size; j += kLanes<T>) {
            T* const out = output.from(i).data + j;
            const Vec<T> own = saved[2 * i + 1] * load(kBackward ? from.from(i).data + j : out);
            total += own * load(out), store(kBackward ? g.from(i).data + j : out, own);
          }
          if (kBackward) along[i] = sum<T>(total);
        }
        if constexpr (kBackward) {
          product<T>(n_rows, columns, p.value_size, g, {v_turned, wide}, w, false);
          differentiate(tables + head * 8 * p.terms, saved, number, to_tables + (batch * p.heads + head) * 4 * p.terms);
          product<T>(seen, p.value_size, n_rows, w.transposed(), g, to_v, true);
          product<T>(seen, p.size, n_rows, t.transposed(), q, to_k, true);
          product<T>(n_rows, p.size, seen, t, k, at(p.to_q, head, first), false);
        }
      }
  }
};

template <class T, int N, bool kBackward> int run(const Attention& p) try {
  const int64_t n = p.n_coefficients, half = 4 * p.terms;
  std::vector<T> tables(p.heads * 2 * half);
  std::vector<double> to_tables(kBackward ? p.batch * p.heads * half : 0);
  for (int64_t i = 0; i < p.heads * n; ++i) {
    const T c = static_cast<T*>(p.coefficients)[i / n * p.stride + i % n];
    for (int64_t t = 0; t < 2 * half; ++t)
      tables[i / n * 2 * half + t] += c * T(p.table[i % n * 2 * half + t] * (t < half ? kLog2e : p.scale));
  }
  std::vector<Worker<T, N, kBackward>> workers;
  while (int64_t(workers.size()) < std::max<int64_t>(1, p.threads)) workers.push_back({p});
  auto attend = [&](int64_t item, int thread) { workers[thread].attend(item, tables.data(), to_tables.data()); };
  parallel(p.batch * p.key_heads, int(workers.size()), attend);
  for (int64_t i = p.heads * half; i < int64_t(to_tables.size()); ++i) to_tables[i % (p.heads * half)] += to_tables[i];
  for (int64_t i = 0; kBackward && i < p.heads * n; ++i) {
    const double* const own = to_tables.data() + i / n * half;
    static_cast<T*>(p.to_coefficients)[i] = T(std::inner_product(own, own + half, p.table + i % n * 2 * half, 0.));
  }
  return 0;
} catch (const std::bad_alloc&) { return 1; }

template <class T, bool kBackward> int choose(const Attention& p) {
  return p.terms == 0 ? run<T, 0, kBackward>(p) : p.terms == 5 ? run<T, 5, kBackward>(p) : run<T, -1, kBackward>(p);
}
template <class T> int run(const Attention& p) { return p.to_output.data ? choose<T, true>(p) : choose<T, false>(p); }

// Backward if there is a gradient of the output. 0, or 1 if there is no memory.
HQ_EXPORT int hq_attention_float(const Attention& p) { return run<float>(p); }
HQ_EXPORT int hq_attention_double(const Attention& p) { return run<double>(p); }
}  // namespace hq::attention
