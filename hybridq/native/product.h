// Matrix products with small factors that stay in the cache: blocks of the result in registers, lanes along its rows.
#pragma once
#include "simd.h"

namespace hq {

template <class T> struct Matrix {
  T* data;
  int64_t row, column = 1;  // strides in elements
  Matrix from(int64_t i) const { return {data + i * row, row, column}; }
  Matrix transposed() const { return {data, column, row}; }
};
template <class T> constexpr int64_t padded(int64_t n) { return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>; }

// f(0), ..., f(n - 1) with constants, so that arrays indexed by them are registers.
template <class F, int... i> HQ_INLINE void repeat([[maybe_unused]] F f, std::integer_sequence<int, i...>) {
  (f(std::integral_constant<int, i>()), ...);
}
template <int n, class F> HQ_INLINE void repeat(F f) { repeat(f, std::make_integer_sequence<int, n>()); }

// c (+)= a b: M of m rows of c at a time, V vectors of each. Reads every number of b m / M times.
template <class T, int M, int V> void rows(int64_t m, int64_t depth, Matrix<T> a, Matrix<T> b, Matrix<T> c, bool add) {
  for (; m >= M; m -= M, a = a.from(M), c = c.from(M)) {
    Vec<T> sums[M][V];
    repeat<M * V>([&](auto i) HQ_LAMBDA {
      sums[i / V][i % V] = add ? load(c.data + i / V * c.row + i % V * kLanes<T>) : Vec<T>{};
    });
    for (int64_t k = 0; k < depth; ++k) {
      Vec<T> row[V];
      repeat<V>([&](auto v) HQ_LAMBDA { row[v] = load(b.data + k * b.row + v * kLanes<T>); });
      repeat<M>([&](auto i) HQ_LAMBDA {
        const T factor = a.data[i * a.row + k * a.column];
        repeat<V>([&](auto v) HQ_LAMBDA { sums[i][v] += factor * row[v]; });
      });
    }
    repeat<M * V>([&](auto i) HQ_LAMBDA { store(c.data + i / V * c.row + i % V * kLanes<T>, sums[i / V][i % V]); });
  }
  if constexpr (M > 1)
    if (m) rows<T, M / 2, V>(m, depth, a, b, c, add);
}
// The same for n columns, a multiple of the lanes.
template <class T> void product(int64_t m, int64_t n, int64_t depth, Matrix<T> a, Matrix<T> b, Matrix<T> c, bool add) {
  constexpr int kWide = 2 * kLanes<T>;
  for (; n >= kWide; n -= kWide, b.data += kWide, c.data += kWide)
    rows<T, kBytes == 64 ? 8 : 4, 2>(m, depth, a, b, c, add);
  if (n) rows<T, 8, 1>(m, depth, a, b, c, add);
}

}  // namespace hq
