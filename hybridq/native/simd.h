// One vector register of float or double on any instruction set, by the compiler's own vector types: no intrinsics.
//
// This header is compiled once for each instruction set, each time into a library of its own (see setup.py). Arithmetic
// operators, comparisons and `mask ? a : b` work on whole registers; a * b + c becomes one fused instruction where there is
// one. Errors of exp, sin and cos are below 2 units in the last place.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#define HQ_EXPORT extern "C" __attribute__((visibility("default")))
#define HQ_INLINE inline __attribute__((always_inline))

namespace hq {

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#elif defined(__AVX2__)
constexpr int kBytes = 32;
#else
constexpr int kBytes = 16;  // SSE, NEON
#endif

template <class T>
struct Types;
template <>
struct Types<float> {
  typedef float Real __attribute__((vector_size(kBytes)));
  typedef int32_t Int __attribute__((vector_size(kBytes)));
  static constexpr float kRound = 12582912.f;  // 1.5 * 2^23: adding it rounds to an integer, kept in the low bits
  static constexpr int kMantissa = 23, kBias = 127, kSin = 9, kExp = 7;
  static constexpr float kHalfPi[3] = {1.5703125f, 4.837512969970703e-4f, 7.549789415861596e-8f};
  static constexpr float kLn2[2] = {0.693359375f, -2.12194440054690583e-4f};
  static constexpr float kLargestAngle = 8192.f, kSmallestExp = -87.f, kLargestExp = 88.f;
};
template <>
struct Types<double> {
  typedef double Real __attribute__((vector_size(kBytes)));
  typedef int64_t Int __attribute__((vector_size(kBytes)));
  static constexpr double kRound = 6755399441055744.;
  static constexpr int kMantissa = 52, kBias = 1023, kSin = 17, kExp = 13;
  static constexpr double kHalfPi[3] = {1.5707962512969971, 7.5497894158615964e-8, 5.3903025299577648e-15};
  static constexpr double kLn2[2] = {0.693145751953125, 1.42860682030941723e-6};
  static constexpr double kLargestAngle = 1e5, kSmallestExp = -708., kLargestExp = 709.;
};
template <class T>
using Vec = typename Types<T>::Real;
template <class T>
using Ints = typename Types<T>::Int;
template <class T>
constexpr int kLanes = kBytes / int(sizeof(T));

template <class T>
HQ_INLINE Vec<T> load(const T* p) {
  Vec<T> v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
HQ_INLINE void store(T* p, Vec<T> v) {
  std::memcpy(p, &v, sizeof v);
}
template <class T>
HQ_INLINE Vec<T> all(T x) {
  return x - Vec<T>{};
}
template <class T>
HQ_INLINE T sum(Vec<T> v) {
  T total = 0;
  for (int i = 0; i < kLanes<T>; ++i) total += v[i];
  return total;
}
template <class To, class From>
HQ_INLINE To bits(From v) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &v, sizeof to);
  return to;
}

// Whether a comparison holds in any lane.
template <class Mask>
HQ_INLINE bool any(Mask mask) {
  int64_t words[sizeof mask / 8], found = 0;
  std::memcpy(words, &mask, sizeof mask);
  for (int64_t word : words) found |= word;
  return found != 0;
}

// sum_k c_k z^k for c_k = sign^k / (first + 2k)!: the series of sin and cos, in z = r^2.
template <class T>
HQ_INLINE Vec<T> alternating(Vec<T> z, int first, int last) {
  T c = 1;
  for (int k = 2; k <= last; ++k) c /= T(k);
  Vec<T> total = all<T>(((last - first) / 2) % 2 ? -c : c);
  for (int k = last - 2; k >= first; k -= 2) {
    c *= T((k + 1) * (k + 2));
    total = total * z + (((k - first) / 2) % 2 ? -c : c);
  }
  return total;
}

// sin and cos of every lane: reduced by multiples of pi / 2, then Taylor's series on [-pi/4, pi/4].
template <class T>
HQ_INLINE void sincos(Vec<T> x, Vec<T>& sin, Vec<T>& cos) {
  using C = Types<T>;
  const Vec<T> shifted = x * T(0.63661977236758134308) + C::kRound, q = shifted - C::kRound;
  const Vec<T> r = ((x - q * C::kHalfPi[0]) - q * C::kHalfPi[1]) - q * C::kHalfPi[2], z = r * r;
  const Vec<T> s = r * alternating<T>(z, 1, C::kSin), c = alternating<T>(z, 0, C::kSin - 1);
  const Ints<T> quarter = bits<Ints<T>>(shifted), odd = (quarter & 1) != 0;
  const Vec<T> a = odd ? c : s, b = odd ? s : c;
  sin = (quarter & 2) != 0 ? -a : a;
  cos = ((quarter + 1) & 2) != 0 ? -b : b;
  const Ints<T> huge = (x > C::kLargestAngle) | (x < -C::kLargestAngle) | (x != x);
  if (__builtin_expect(any(huge), 0))
    for (int i = 0; i < kLanes<T>; ++i)
      if (huge[i]) sin[i] = std::sin(x[i]), cos[i] = std::cos(x[i]);
}

// e^x of every lane; 0 below the smallest normal number, also for -inf.
template <class T>
HQ_INLINE Vec<T> exp(Vec<T> x) {
  using C = Types<T>;
  const Ints<T> zero = x < C::kSmallestExp;
  Vec<T> y = zero ? all<T>(C::kSmallestExp) : x;
  y = y > C::kLargestExp ? all<T>(C::kLargestExp) : y;
  const Vec<T> shifted = y * T(1.44269504088896340736) + C::kRound, k = shifted - C::kRound;
  const Vec<T> r = (y - k * C::kLn2[0]) - k * C::kLn2[1];
  T c = 1;
  for (int i = 2; i <= C::kExp; ++i) c /= T(i);
  Vec<T> total = all<T>(c);
  for (int i = C::kExp; i >= 1; --i) c *= T(i), total = total * r + c;
  const Ints<T> exponent = (bits<Ints<T>>(shifted) - bits<Ints<T>>(all<T>(C::kRound)) + C::kBias) << C::kMantissa;
  return zero ? Vec<T>{} : total * bits<Vec<T>>(exponent);
}

}  // namespace hq
