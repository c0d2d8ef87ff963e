// Runs the attention kernels over odd sizes, strides and masks, for a sanitizer to watch. Exit status 0, or 1 for a wrong sum.
#include "attention.cpp"

#include <cstdio>
#include <limits>

namespace {

using hq::attention::Array;
using hq::attention::Attention;

uint64_t state = 1;
double draw() {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return double(state >> 11) / 9007199254740992. - 0.5;
}

template <class T>
struct Tensor {  // of exactly the size it needs; positions before heads if `turned`
  std::vector<T> numbers;
  Array array;
  Tensor(int64_t batch, int64_t heads, int64_t rows, int64_t columns, bool turned) : numbers(batch * heads * rows * columns) {
    for (T& x : numbers) x = T(draw());
    const int64_t head = turned ? columns : rows * columns, row = turned ? heads * columns : columns;
    array = {numbers.data(), heads * rows * columns, head, row};
  }
};

template <class T>
bool run(Attention p, bool masked, bool turned, int (*attend)(const Attention&)) {
  using Numbers = Tensor<T>;
  Numbers q(p.batch, p.heads, p.length, p.size, turned), k(p.batch, p.key_heads, p.keys, p.size, turned);
  Numbers v(p.batch, p.key_heads, p.keys, p.value_size, turned), output(p.batch, p.heads, p.length, p.value_size, turned);
  Numbers to_q = q, to_k = k, to_v = v, to_output = output, mask(p.batch, 1, p.length, p.keys, false);
  to_q.array.data = to_q.numbers.data(), to_k.array.data = to_k.numbers.data(), to_v.array.data = to_v.numbers.data();
  to_output.array.data = to_output.numbers.data(), mask.array.head = 0;
  for (int64_t i = 0; i < int64_t(mask.numbers.size()); ++i)
    if (i % p.keys && draw() < 0) mask.numbers[i] = -std::numeric_limits<T>::infinity();
  for (T& x : v.numbers) x = 1;  // then each output is 1
  Numbers coefficients(1, p.heads, 1, p.n_coefficients, false), to_coefficients = coefficients;
  std::vector<T> saved(2 * p.batch * p.heads * p.length);
  std::vector<double> table(p.n_coefficients * 8 * p.terms);
  for (double& x : table) x = draw();
  p.q = q.array, p.k = k.array, p.v = v.array, p.output = output.array;
  p.to_q = to_q.array, p.to_k = to_k.array, p.to_v = to_v.array, p.mask = masked ? mask.array : Array{};
  p.coefficients = coefficients.numbers.data(), p.to_coefficients = to_coefficients.numbers.data();
  p.saved = saved.data(), p.table = table.data();
  if (attend(p)) return false;
  p.to_output = to_output.array;
  if (attend(p)) return false;
  for (T x : output.numbers)
    if (p.limit == 0 && !(std::abs(x - 1) < 1e-4)) return false;
  for (T x : to_k.numbers)
    if (!std::isfinite(x)) return false;
  return true;
}

}  // namespace

int main() {
  const int64_t lengths[] = {1, 3, 17, 33, 130}, sizes[] = {16, 32, 48, 64}, terms[] = {0, 5, 7};
  bool good = true;
  int64_t n = 0;
  for (int64_t length : lengths)
    for (int64_t keys : lengths)
      for (int64_t size : sizes)
        for (int64_t term : terms) {
          const bool masked = n % 2, turned = n % 3 == 1;
          Attention p{};
          p.batch = 2, p.heads = 4, p.key_heads = n % 5 ? 4 : 2, p.length = length, p.keys = keys, p.size = size;
          p.value_size = sizes[n % 4], p.threads = 1 + n % 2, p.n_coefficients = term ? 3 : 0, p.terms = term;
          p.stride = n % 2 * p.n_coefficients;
          p.seed = uint64_t(n), p.limit = n % 3 ? 0 : uint64_t(1) << 31;
          p.diagonal = n % 4 == 2 ? 0 : int64_t(1) << 40;
          p.scale = n % 7 ? 0.7 : 3e5, p.frequency = 1.3, p.kept = n % 3 ? 1 : 2;  // and scores that are huge
          good &= run<float>(p, masked, turned, hq::attention::hq_attention_float);
          good &= run<double>(p, masked, turned, hq::attention::hq_attention_double);
          ++n;
        }
  std::printf("%d problems, %s\n", int(2 * n), good ? "done" : "WRONG");
  return good ? 0 : 1;
}
