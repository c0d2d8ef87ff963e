// Matrix products with small factors that stay in the cache: blocks of the result in registers, lanes along its rows.
#pragma once
#include <utility>

#include "simd.h"

namespace hq {

struct Array {  // strides in elements
  void* data;
  int64_t batch, head, row, column;
};

template <class T>
constexpr int64_t padded(int64_t n) {
  return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

template <class T>
T* at(const Array& x, int64_t batch, int64_t head, int64_t row = 0) {
  return static_cast<T*>(x.data) + batch * x.batch + head * x.head + row * x.row;
}

// f(0), ..., f(n - 1) with constants, so that arrays indexed by them are registers.
template <class F, int... i>
HQ_INLINE void repeat(F f, std::integer_sequence<int, i...>) {
  (f(std::integral_constant<int, i>()), ...);
}
template <int n, class F>
HQ_INLINE void repeat(F f) {
  repeat(f, std::make_integer_sequence<int, n>());
}

template <class T>
struct Factor {
  T* data;
  int64_t step;  // from row to row
};

// c (+)= a b for M rows and V vectors of c; with kTurned a is stored as its transpose.
template <class T, bool kTurned, int M, int V>
HQ_INLINE void block(int64_t depth, Factor<const T> a, Factor<const T> b, Factor<T> c, bool add) {
  Vec<T> sums[M][V];
  repeat<M * V>([&](auto i) HQ_LAMBDA {
    sums[i / V][i % V] = add ? load(c.data + i / V * c.step + i % V * kLanes<T>) : Vec<T>{};
  });
  for (int64_t k = 0; k < depth; ++k) {
    Vec<T> row[V];
    repeat<V>([&](auto v) HQ_LAMBDA { row[v] = load(b.data + k * b.step + v * kLanes<T>); });
    repeat<M>([&](auto i) HQ_LAMBDA {
      const T factor = kTurned ? a.data[k * a.step + i] : a.data[i * a.step + k];
      repeat<V>([&](auto v) HQ_LAMBDA { sums[i][v] += factor * row[v]; });
    });
  }
  repeat<M * V>([&](auto i) HQ_LAMBDA { store(c.data + i / V * c.step + i % V * kLanes<T>, sums[i / V][i % V]); });
}

template <class T, bool kTurned, int M, int V>
void rows(int64_t m, int64_t depth, Factor<const T> a, Factor<const T> b, Factor<T> c, bool add) {
  for (; m >= M; m -= M) {
    block<T, kTurned, M, V>(depth, a, b, c, add);
    a.data += M * (kTurned ? 1 : a.step);
    c.data += M * c.step;
  }
  if constexpr (M > 1)
    if (m) rows<T, kTurned, M / 2, V>(m, depth, a, b, c, add);
}

// c (+)= a b, m rows of n numbers, n a multiple of the lanes.
template <class T, bool kTurned = false>
void product(int64_t m, int64_t n, int64_t depth, Factor<const T> a, Factor<const T> b, Factor<T> c, bool add) {
  constexpr int kWide = 2, kHigh = kBytes == 64 ? 8 : 4;
  for (; n >= kWide * kLanes<T>; n -= kWide * kLanes<T>) {
    rows<T, kTurned, kHigh, kWide>(m, depth, a, b, c, add);
    b.data += kWide * kLanes<T>, c.data += kWide * kLanes<T>;
  }
  if (n) rows<T, kTurned, 8, 1>(m, depth, a, b, c, add);
}

// Reading and writing with any strides ---------------------------------------------------------------------------------

// Rows of whole vectors: where they are, or copied and padded with 0.
template <class T>
Factor<const T> rows_of(const Array& x, const T* from, int64_t n, int64_t size, T* space) {
  if (x.column == 1 && size % kLanes<T> == 0) return {from, x.row};
  const int64_t step = padded<T>(size);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < step; ++j) space[i * step + j] = j < size ? from[i * x.row + j * x.column] : 0;
  return {space, step};
}

// The transpose times a factor, in blocks of `width` columns, padded with 0.
template <class T>
void turn(const Array& x, const T* from, int64_t n, int64_t size, int64_t width, T factor, T* to) {
  constexpr int64_t lanes = kLanes<T>;
  for (int64_t i = 0; i < padded<T>(n); i += lanes) {
    T* block = to + i / width * width * size + i % width;
    int64_t j = 0;
    if (x.column == 1 && i + lanes <= n)
      for (; j + lanes <= size; j += lanes) {
        Vec<T> square[lanes];
        for (int row = 0; row < lanes; ++row) square[row] = load(from + (i + row) * x.row + j);
        transpose<T>(square);
        for (int row = 0; row < lanes; ++row) store(block + (j + row) * width, factor * square[row]);
      }
    for (; j < size; ++j)
      for (int64_t row = 0; row < lanes; ++row)
        block[j * width + row] = i + row < n ? factor * from[(i + row) * x.row + j * x.column] : 0;
  }
}

template <class T>
void write(const Array& x, T* to, int64_t n, int64_t size, T factor, const T* from) {
  for (int64_t i = 0; i < n; ++i, to += x.row, from += padded<T>(size))
    if (x.column == 1)
      for (int64_t j = 0; j < size; ++j) to[j] = factor * from[j];
    else
      for (int64_t j = 0; j < size; ++j) to[j * x.column] = factor * from[j];
}

}  // namespace hq
