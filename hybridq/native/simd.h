// One vector register of float or double on any instruction set, by the compiler's own vector types: no intrinsics.
//
// This header is compiled once for each instruction set, each time into a library of its own (see setup.py). Arithmetic
// operators, comparisons and `mask ? a : b` work on whole registers; a * b + c becomes one fused instruction where there is
// one. Errors of sin, cos and 2^x are of the size of the rounding error of 1.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#define HQ_EXPORT extern "C" __attribute__((visibility("default")))
#define HQ_INLINE inline __attribute__((always_inline))
#define HQ_LAMBDA __attribute__((always_inline))

namespace hq {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;  // SSE, NEON
#endif

template <class T> struct Types;
template <> struct Types<float> {
  typedef float Real __attribute__((vector_size(kBytes)));
  typedef int32_t Int __attribute__((vector_size(kBytes)));
  typedef uint32_t Word __attribute__((vector_size(kBytes)));  // 32 bits for each lane
  static constexpr int kMantissa = 23, kBias = 127;
  static constexpr float kPi[3] = {3.140625f, 9.675025939941406e-4f, 1.509957883172319e-7f}, kLargestAngle = 8192;
  static constexpr float kSinPi[] = {3.14159264f, -5.16771008f, 2.55007739f, -0.598290411f, 0.0776559123f};
  static constexpr float kCosPi[] = {0.999999953f, -4.9347928f, 4.05841079f, -1.33187297f, 0.219682424f};
  static constexpr float kExp2[] = {1.00000008f, 0.693147188f, 0.240221075f, 0.0555035711f, 0.00967603192f, 0.00133908634f};
};
template <> struct Types<double> {
  typedef double Real __attribute__((vector_size(kBytes)));
  typedef int64_t Int __attribute__((vector_size(kBytes)));
  typedef uint32_t Word __attribute__((vector_size(kBytes / 2)));
  static constexpr int kMantissa = 52, kBias = 1023;
  static constexpr double kPi[3] = {3.1415925025939941, 1.5099578831723193e-7, 1.0780605059915530e-14}, kLargestAngle = 1e5;
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

template <class T> HQ_INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T> HQ_INLINE void store(T* p, Vec<T> v) { std::memcpy(p, &v, sizeof v); }
template <class T> HQ_INLINE Vec<T> all(T x) { return x - Vec<T>{}; }
// The lanes Map::at(i) of two registers side by side.
template <class T, class Map, int... i> HQ_INLINE Vec<T> pick(Vec<T> a, Vec<T> b, std::integer_sequence<int, i...>) {
#if defined(__clang__)
  return __builtin_shufflevector(a, b, Map::at(i)...);
#else
  return __builtin_shuffle(a, b, Ints<T>{Map::at(i)...});
#endif
}
template <class T, class Map> HQ_INLINE Vec<T> pick(Vec<T> a, Vec<T> b) {
  return pick<T, Map>(a, b, std::make_integer_sequence<int, kLanes<T>>());
}
template <int distance> struct Exchange { static constexpr int at(int i) { return i ^ distance; } };
template <int n, int half> struct Zip {  // of the first or second halves
  static constexpr int at(int i) { return half * n / 2 + i / 2 + i % 2 * n; }
};
// All lanes combined.
template <class T, class F, int distance = kLanes<T> / 2> HQ_INLINE T fold(Vec<T> v, F combine) {
  const Vec<T> folded = combine(v, pick<T, Exchange<distance>>(v, v));
  if constexpr (distance > 1) return fold<T, F, distance / 2>(folded, combine);
  return folded[0];
}
template <class T> HQ_INLINE T sum(Vec<T> v) { return fold<T>(v, [](auto a, auto b) { return a + b; }); }
template <class T> HQ_INLINE T largest(Vec<T> v) { return fold<T>(v, [](auto a, auto b) { return a > b ? a : b; }); }
// A square of lanes x lanes numbers, transposed: each round zips row i with row i + lanes / 2.
template <class T, int n = kLanes<T>> HQ_INLINE void transpose(Vec<T>* rows) {
  Vec<T> zipped[n];
#pragma GCC unroll 8
  for (int round = 1; round < n; round *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < n; ++i) {
      const Vec<T> a = rows[i / 2], b = rows[i / 2 + n / 2];
      zipped[i] = i % 2 ? pick<T, Zip<n, 1>>(a, b) : pick<T, Zip<n, 0>>(a, b);
    }
    std::memcpy(rows, zipped, sizeof zipped);
  }
}
template <class To, class From> HQ_INLINE To bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &v, sizeof to);
  return to;
}
// Whether a comparison holds in any lane.
template <class Mask> HQ_INLINE bool any(Mask mask) {
  int64_t words[sizeof mask / 8], found = 0;
  std::memcpy(words, &mask, sizeof mask);
  for (int64_t word : words) found |= word;
  return found != 0;
}

// Polynomials through Chebyshev's points, for where every product counts: errors of the size of the rounding error of 1.
template <class T, int n> HQ_INLINE Vec<T> polynomial(Vec<T> x, const T (&terms)[n]) {
  Vec<T> total = all<T>(terms[n - 1]);
#pragma GCC unroll 16
  for (int i = n - 2; i >= 0; --i) total = total * x + terms[i];
  return total;
}

// 1.5 * 2^mantissa: adding it rounds to an integer, kept in the low bits.
template <class T> constexpr T kRound = T(int64_t(3) << (Types<T>::kMantissa - 1));

// sin and cos of pi (n + r) for |r| <= 1/2, where n is in the low bits of `shifted`.
template <class T> HQ_INLINE void sincospi(Vec<T> shifted, Vec<T> r, Vec<T>& sin, Vec<T>& cos) {
  const Vec<T> z = r * r;
  const Ints<T> sign = bits<Ints<T>>(shifted) << (8 * sizeof(T) - 1);
  sin = bits<Vec<T>>(bits<Ints<T>>(r * polynomial<T>(z, Types<T>::kSinPi)) ^ sign);
  cos = bits<Vec<T>>(bits<Ints<T>>(polynomial<T>(z, Types<T>::kCosPi)) ^ sign);
}
// sin and cos: multiples of pi are taken off in three parts, so that no digit is lost.
template <class T> HQ_INLINE void sincos(Vec<T> x, Vec<T>& sin, Vec<T>& cos) {
  using C = Types<T>;
  constexpr T inverse = T(0.318309886183790672);
  const Vec<T> shifted = x * inverse + kRound<T>, n = shifted - kRound<T>;
  sincospi<T>(shifted, (((x - n * C::kPi[0]) - n * C::kPi[1]) - n * C::kPi[2]) * inverse, sin, cos);
  const Ints<T> huge = (x > C::kLargestAngle) | (x < -C::kLargestAngle) | (x != x);
  if (__builtin_expect(any(huge), 0))
    for (int i = 0; i < kLanes<T>; ++i)
      if (huge[i]) sin[i] = std::sin(x[i]), cos[i] = std::cos(x[i]);
}

// 2^x, for x < 127; 0 below the smallest normal number, whose exponent would be the bits of 0, also for -inf.
template <class T> HQ_INLINE Vec<T> exp2(Vec<T> x) {
  using C = Types<T>;
  const Vec<T> y = x < T(-C::kBias) ? all<T>(-C::kBias) : x, shifted = y + kRound<T>;
  const Ints<T> exponent = (bits<Ints<T>>(shifted) + (C::kBias - bits<Ints<T>>(all<T>(kRound<T>)))) << C::kMantissa;
  return polynomial<T>(y - (shifted - kRound<T>), C::kExp2) * bits<Vec<T>>(exponent);
}

}  // namespace hq
