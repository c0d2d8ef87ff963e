// What the kernels stand on: one vector register of float or double on any instruction set, and threads. Compiled once for
// each instruction set, each time into a library of its own (setup.py). Vectors are the compiler's own types: operators,
// comparisons and `mask ? a : b` work on whole registers; a * b + c becomes one fused instruction where there is one.
#pragma once
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

#define HQ_EXPORT extern "C" __attribute__((visibility("default")))
#define HQ_INLINE inline __attribute__((always_inline))
#define HQ_LAMBDA __attribute__((always_inline))

namespace hq {
constexpr int kBytes = HQ_BYTES;  // of a register: 64 with AVX-512, 32 with AVX2, 16 with SSE or NEON (setup.py)

// f(0), ..., f(n - 1) with constants, so that arrays indexed by them are registers.
template <class F, int... i> HQ_INLINE void repeat([[maybe_unused]] F f, std::integer_sequence<int, i...>) {
  (f(std::integral_constant<int, i>()), ...);
}
template <int n, class F> HQ_INLINE void repeat(F f) { repeat(f, std::make_integer_sequence<int, n>()); }

template <class T> struct Types;
template <> struct Types<float> {
  typedef float Real __attribute__((vector_size(kBytes)));
  typedef Real Anywhere __attribute__((aligned(sizeof(float)), may_alias));  // in memory
  typedef int32_t Int __attribute__((vector_size(kBytes)));
  typedef uint32_t Word __attribute__((vector_size(kBytes)));    // 32 bits for each lane
  typedef double Wide __attribute__((vector_size(2 * kBytes)));  // a double for each lane
  static constexpr int kMantissa = 23, kBias = 127;
  static constexpr float kSinPi[] = {3.14159264f, -5.16771008f, 2.55007739f, -0.598290411f, 0.0776559123f};
  static constexpr float kCosPi[] = {0.999999953f, -4.9347928f, 4.05841079f, -1.33187297f, 0.219682424f};
  static constexpr float kExp2[] = {1.00000008f, 0.693147188f, 0.240221075f, 0.0555035711f, 0.00967603192f, 0.00133908634f};
};
template <> struct Types<double> {
  typedef double Real __attribute__((vector_size(kBytes)));
  typedef Real Anywhere __attribute__((aligned(sizeof(double)), may_alias));
  typedef int64_t Int __attribute__((vector_size(kBytes)));
  typedef uint32_t Word __attribute__((vector_size(kBytes / 2)));
  typedef Real Wide;
  static constexpr int kMantissa = 52, kBias = 1023;
  static constexpr double kSinPi[] = {3.14159265358979324, -5.16771278004996961, 2.55016403987730047, -0.599264529318944681,
      0.082145886573102895, -0.0073704305059169434, 4.6629981618983938e-4, -2.19034970746260172e-5, 7.69782676822419065e-7};
  static constexpr double kCosPi[] = {0.999999999999999996, -4.93480220054467677, 4.058712126416497, -1.33526276884344709,
      0.235330630129532854, -0.0258068887370022033, 1.92955627248171315e-3, -1.04566553387487382e-4, 4.14956435394258551e-6};
  static constexpr double kExp2[] = {0.999999999999999997, 0.693147180559945309, 0.240226506959101596, 0.055504108664821627,
      9.61812910758725667e-3, 1.33335581464064707e-3, 1.54035304637243542e-4, 1.52527338415567726e-5, 1.32154325359123762e-6,
      1.01780570877339411e-7, 7.07419429728852101e-9, 4.45581790833606449e-10};
};
template <class T> using Vec = typename Types<T>::Real;
template <class T> using Ints = typename Types<T>::Int;
template <class T> constexpr int kLanes = kBytes / int(sizeof(T));
template <class T> using Lanes = std::make_integer_sequence<int, kLanes<T>>;
template <class T> HQ_INLINE Vec<T> load(const T* p) { return *reinterpret_cast<const typename Types<T>::Anywhere*>(p); }
template <class T> HQ_INLINE void store(T* p, Vec<T> v) { *reinterpret_cast<typename Types<T>::Anywhere*>(p) = v; }
template <class T> HQ_INLINE Vec<T> all(T x) { return x - Vec<T>{}; }
// The lanes from(0), from(1), ... of two registers side by side.
template <class T, class F, int... i> HQ_INLINE Vec<T> pick(Vec<T> a, Vec<T> b, F from, std::integer_sequence<int, i...>) {
  return Vec<T>{(from(i) < kLanes<T> ? a : b)[from(i) % kLanes<T>]...};
}
template <class T, class F> HQ_INLINE T fold(Vec<T> v, F combine) {  // all lanes
  repeat<__builtin_ctz(kLanes<T>)>([&](auto bit) HQ_LAMBDA {
    v = combine(v, pick<T>(v, v, [=](int i) HQ_LAMBDA { return i ^ (1 << bit); }, Lanes<T>()));
  });
  return v[0];
}
template <class T> HQ_INLINE T sum(Vec<T> v) { return fold<T>(v, [](auto a, auto b) { return a + b; }); }
template <class T> HQ_INLINE T largest(Vec<T> v) { return fold<T>(v, [](auto a, auto b) { return a > b ? a : b; }); }
// A square of lanes x lanes numbers, transposed: each round zips the halves of row i with those of row i + lanes / 2.
template <class T, int n = kLanes<T>> HQ_INLINE void transpose(Vec<T>* rows) {
  Vec<T> zipped[n];
  repeat<__builtin_ctz(n)>([&](auto) HQ_LAMBDA {
    repeat<n>([&](auto i) HQ_LAMBDA {
      const auto from = [=](int j) HQ_LAMBDA { return i % 2 * n / 2 + j / 2 + j % 2 * n; };
      zipped[i] = pick<T>(rows[i / 2], rows[(i + n) / 2], from, Lanes<T>());
    });
    std::memcpy(rows, zipped, sizeof zipped);
  });
}
// Polynomials through Chebyshev's points, for where every product counts: errors of the size of the rounding error of 1.
template <class T, int n> HQ_INLINE Vec<T> polynomial(Vec<T> x, const T (&terms)[n]) {
  Vec<T> total = all<T>(terms[n - 1]);
  for (int i = n - 2; i >= 0; --i) total = total * x + terms[i];
  return total;
}

// 1.5 * 2^mantissa: adding it rounds to an integer, kept in the low bits.
template <class T> constexpr T kRound = T(int64_t(3) << (Types<T>::kMantissa - 1));
template <class T, class V> HQ_INLINE V round(V x) { return (x + kRound<T>) - kRound<T>; }
// sin and cos of pi (n + r) for |r| <= 1/2, where n is in the low bits of `shifted`.
template <class T> HQ_INLINE void sincospi(Vec<T> shifted, Vec<T> r, Vec<T>& sin, Vec<T>& cos) {
  const Vec<T> z = r * r;
  const Ints<T> sign = Ints<T>(shifted) << (8 * sizeof(T) - 1);
  sin = Vec<T>(Ints<T>(r * polynomial<T>(z, Types<T>::kSinPi)) ^ sign);
  cos = Vec<T>(Ints<T>(polynomial<T>(z, Types<T>::kCosPi)) ^ sign);
}

// 2^x, for x < 127; 0 below the smallest normal number, also for -inf. The exponent's bits are the low ones of `shifted`.
template <class T> HQ_INLINE Vec<T> exp2(Vec<T> x) {
  constexpr T round = kRound<T> + Types<T>::kBias;
  const Vec<T> shifted = x + round, power = Vec<T>(Ints<T>(shifted) << Types<T>::kMantissa);
  return x < T(1 - Types<T>::kBias) ? Vec<T>{} : polynomial<T>(x - (shifted - round), Types<T>::kExp2) * power;
}

// Runs body(item, thread) for item = 0..n-1 in threads that live for one call, so that a forked process has none to miss.
template <class Body> void parallel(int64_t n, int64_t n_threads, Body body) {
  std::atomic<int64_t> next{0};
  const auto work = [&](int thread) { for (int64_t item; (item = next++) < n;) body(item, thread); };
  std::vector<std::thread> others;
  try {  // where no more threads are to be had, fewer do the same work
    for (int thread = 1; thread < std::min(n_threads, n); ++thread) others.emplace_back(work, thread);
  } catch (...) {}
  work(0);
  for (std::thread& other : others) other.join();
}
}  // namespace hq
