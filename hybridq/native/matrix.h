// Products of small matrices that stay in the cache.
#pragma once
#include "registers.h"

namespace hq {

template <class T>
struct Matrix {
  T* data;
  int64_t row_stride;  // in numbers
  int64_t column_stride = 1;

  T* row(int64_t i) const { return data + i * row_stride; }
  Matrix from_row(int64_t i) const { return {row(i), row_stride, column_stride}; }
  Matrix transposed() const { return {data, column_stride, row_stride}; }
};

// The next multiple of the lanes.
template <class T>
constexpr int64_t padded(int64_t n) {
  return (n + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

// The product a b, of kVectors registers of columns: written to c or added to it.
//
// A block of kRows rows of c is kept in registers, with lanes along its rows, while a number of a
// at a time meets a row of b. Every number of b is read n_rows / kRows times. The last rows, fewer
// than kRows, are done by half as many at a time.
template <class T, int kRows, int kVectors>
void multiply_columns(int64_t n_rows, int64_t depth, Matrix<T> a, Matrix<T> b, Matrix<T> c,
                      bool add) {
  for (; n_rows >= kRows; n_rows -= kRows) {
    Vec<T> sums[kRows][kVectors] = {};
    if (add) {
      for (int i = 0; i < kRows; ++i) {
        for (int v = 0; v < kVectors; ++v) sums[i][v] = load(c.row(i) + v * kLanes<T>);
      }
    }
    for (int64_t k = 0; k < depth; ++k) {
      for (int i = 0; i < kRows; ++i) {
        for (int v = 0; v < kVectors; ++v) {
          const T factor = a.data[i * a.row_stride + k * a.column_stride];
          sums[i][v] += factor * load(b.row(k) + v * kLanes<T>);
        }
      }
    }
    for (int i = 0; i < kRows; ++i) {
      for (int v = 0; v < kVectors; ++v) store(c.row(i) + v * kLanes<T>, sums[i][v]);
    }
    a = a.from_row(kRows);
    c = c.from_row(kRows);
  }
  if constexpr (kRows > 1) {
    if (n_rows) multiply_columns<T, kRows / 2, kVectors>(n_rows, depth, a, b, c, add);
  }
}

// c = a b, or c += a b: c has n_rows rows and n_columns columns, a multiple of the lanes; a has
// `depth` columns. Rows of b and c are dense.
template <class T>
void multiply(int64_t n_rows, int64_t n_columns, int64_t depth, Matrix<T> a, Matrix<T> b,
              Matrix<T> c, bool add) {
  constexpr int kRows = kRegisterBytes == 64 ? 8 : 4;  // that fit into the registers there are
  constexpr int64_t kTwoVectors = 2 * kLanes<T>;
  for (; n_columns >= kTwoVectors; n_columns -= kTwoVectors) {
    multiply_columns<T, kRows, 2>(n_rows, depth, a, b, c, add);
    b.data += kTwoVectors;
    c.data += kTwoVectors;
  }
  if (n_columns) multiply_columns<T, 8, 1>(n_rows, depth, a, b, c, add);
}

template <class T>
void fill_with_zeros(int64_t n_rows, int64_t n_columns, Matrix<T> c) {
  multiply<T>(n_rows, n_columns, 0, c, c, c, false);
}

}  // namespace hq
