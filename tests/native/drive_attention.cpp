// Runs the attention kernels over odd sizes, strides and masks, for a sanitizer to watch.
//
// The exit status is 0, or 1 for a result that is wrong.
#include <cstdio>
#include <limits>

#include "attention.cpp"

namespace {

using hq::attention::Array;
using hq::attention::Call;

uint64_t random_state = 1;

// A random number between -1/2 and 1/2.
double draw() {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return double(random_state >> 11) / 9007199254740992. - 0.5;
}

// An array of exactly the size that it needs; positions come before heads if it is turned.
template <class T>
struct Tensor {
  std::vector<T> numbers;
  Array strides;

  Tensor(int64_t batch, int64_t heads, int64_t rows, int64_t columns, bool turned)
      : numbers(batch * heads * rows * columns) {
    for (T& number : numbers) number = T(draw());
    strides.data = nullptr;
    strides.batch_stride = heads * rows * columns;
    strides.head_stride = turned ? columns : rows * columns;
    strides.row_stride = turned ? heads * columns : columns;
  }

  Array array() {
    Array filled = strides;
    filled.data = numbers.data();
    return filled;
  }
};

// What is different from one problem to the next, beside the numbers of a call.
struct Layout {
  bool masked;
  bool turned;
};

// Makes some keys invisible, never a row's first.
template <class T>
void hide_keys(std::vector<T>& mask, int64_t n_keys) {
  for (int64_t i = 0; i < int64_t(mask.size()); ++i) {
    if (i % n_keys && draw() < 0) mask[i] = -std::numeric_limits<T>::infinity();
  }
}

// Runs a problem forward and backward. Values are 1, so that each output is 1 without dropout.
template <class T>
bool run(Call call, Layout layout, int (*kernel)(const Call&)) {
  const bool turned = layout.turned;
  Tensor<T> q(call.batch, call.n_heads, call.length, call.head_size, turned);
  Tensor<T> k(call.batch, call.n_key_heads, call.n_keys, call.head_size, turned);
  Tensor<T> v(call.batch, call.n_key_heads, call.n_keys, call.value_size, turned);
  Tensor<T> output(call.batch, call.n_heads, call.length, call.value_size, turned);
  Tensor<T> mask(call.batch, 1, call.length, call.n_keys, false);
  mask.strides.head_stride = 0;
  hide_keys(mask.numbers, call.n_keys);
  for (T& number : v.numbers) number = 1;
  Tensor<T> to_q = q;
  Tensor<T> to_k = k;
  Tensor<T> to_v = v;
  Tensor<T> to_output = output;

  std::vector<T> coefficients(call.n_heads * call.n_coefficients);
  for (T& number : coefficients) number = T(draw());
  std::vector<T> to_coefficients(coefficients.size());
  std::vector<T> saved(2 * call.batch * call.n_heads * call.length);
  std::vector<double> table(call.n_coefficients * 8 * call.n_terms);
  for (double& number : table) number = draw();

  call.q = q.array();
  call.k = k.array();
  call.v = v.array();
  call.mask = layout.masked ? mask.array() : Array{};
  call.output = output.array();
  call.to_q = to_q.array();
  call.to_k = to_k.array();
  call.to_v = to_v.array();
  call.coefficients = coefficients.data();
  call.to_coefficients = to_coefficients.data();
  call.saved = saved.data();
  call.table = table.data();
  if (kernel(call)) return false;
  call.to_output = to_output.array();
  if (kernel(call)) return false;

  for (T number : output.numbers) {
    if (call.keep_below == 0 && !(std::abs(number - 1) < 1e-4)) return false;
  }
  for (T number : to_k.numbers) {
    if (!std::isfinite(number)) return false;
  }
  return true;
}

// The n-th problem: every kind of dropout, mask, diagonal and stride comes, and huge scores.
Call make_call(int64_t n, int64_t length, int64_t n_keys, int64_t head_size, int64_t n_terms) {
  const int64_t value_sizes[] = {16, 32, 48, 64};
  Call call{};
  call.batch = 2;
  call.n_heads = 4;
  call.n_key_heads = n % 5 ? 4 : 2;
  call.length = length;
  call.n_keys = n_keys;
  call.head_size = head_size;
  call.value_size = value_sizes[n % 4];
  call.n_threads = 1 + n % 2;
  call.n_coefficients = n_terms ? 3 : 0;
  call.coefficient_stride = n % 2 * call.n_coefficients;
  call.n_terms = n_terms;
  call.diagonal = n % 4 == 2 ? 0 : int64_t(1) << 40;
  call.seed = uint64_t(n);
  call.keep_below = n % 3 ? 0 : uint64_t(1) << 31;
  call.scale = n % 7 ? 0.7 : 3e5;
  call.frequency = 1.3;
  call.keep_factor = n % 3 ? 1 : 2;
  return call;
}

}  // namespace

int main() {
  bool good = true;
  int64_t n = 0;
  for (int64_t length : {1, 3, 17, 33, 130}) {
    for (int64_t n_keys : {1, 3, 17, 33, 130}) {
      for (int64_t head_size : {16, 32, 48, 64}) {
        for (int64_t n_terms : {0, 5, 7}) {
          const Call call = make_call(n, length, n_keys, head_size, n_terms);
          const Layout layout{n % 2 == 1, n % 3 == 1};
          good &= run<float>(call, layout, hq::attention::hq_attention_float);
          good &= run<double>(call, layout, hq::attention::hq_attention_double);
          ++n;
        }
      }
    }
  }
  std::printf("%d problems, %s\n", int(2 * n), good ? "done" : "WRONG");
  return good ? 0 : 1;
}
