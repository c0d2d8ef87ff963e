// What a call of the attention kernels is given.
//
// These structs cross the border to Python: hybridq/native/attention.py has each of them with the
// same fields in the same order. Whoever changes one changes the other, and raises
// HQ_LAYOUT_VERSION (layout.cpp).
#pragma once
#include <cstdint>

namespace hq::attention {

// An array of shape (batch, heads, rows, columns). The numbers of a row are side by side.
struct Array {
  void* data;
  int64_t batch_stride;  // in numbers
  int64_t head_stride;
  int64_t row_stride;
};

// One call, forward or backward: backward if there is a gradient of the output.
struct Call {
  int64_t batch;
  int64_t n_heads;
  int64_t n_key_heads;  // each serves n_heads / n_key_heads neighbouring heads
  int64_t length;       // the number of rows of q
  int64_t n_keys;
  int64_t head_size;   // of q and k; a multiple of the lanes of a register
  int64_t value_size;  // of v and the output; likewise
  int64_t n_threads;
  int64_t n_coefficients;      // of the Fourier series of a head; 0 if there is none
  int64_t coefficient_stride;  // from head to head, in numbers
  int64_t n_terms;             // of each polynomial: 0 without a series, 5 up to degree 8
  int64_t diagonal;            // row i sees the keys up to i + diagonal
  uint64_t seed;               // of dropout
  uint64_t keep_below;  // a weight is kept if its hash of 32 bits is below; 0 keeps all weights
  double scale;         // the factor of q k^T
  double frequency;     // the factor of a scaled score inside the series
  double keep_factor;   // what kept weights are multiplied by
  Array q;              // (batch, n_heads, length, head_size)
  Array k;              // (batch, n_key_heads, n_keys, head_size)
  Array v;              // (batch, n_key_heads, n_keys, value_size)
  Array mask;           // (batch, n_heads, length, n_keys), added to the logits; or no data
  Array output;         // (batch, n_heads, length, value_size)
  Array to_output;      // dL/d(output), as the output; no data in a forward call
  Array to_q;
  Array to_k;
  Array to_v;
  void* coefficients;     // (n_heads, n_coefficients)
  void* to_coefficients;  // dL/d(coefficients), dense
  void* saved;            // (batch, n_heads, length, 2): for each row its largest logit, and
                          // keep_factor / (the sum of its exponentials)
  const double* table;    // (n_coefficients, 2, 4, n_terms): from coefficients to the polynomials
                          // A, B, C and E of Phi, and to those of frequency Phi'
};

}  // namespace hq::attention
