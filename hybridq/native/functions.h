// Rounding, sine and cosine, and powers of 2, for all lanes of a register at once.
#pragma once
#include "registers.h"

namespace hq {

// The bits of numbers, and the coefficients of polynomials through Chebyshev's points: every
// product counts in them, and their errors have the size of the rounding error of 1.
template <class T>
struct Numbers;

template <>
struct Numbers<float> {
  static constexpr int kMantissa = 23;
  static constexpr int kBias = 127;
  // sin(pi r) / r and cos(pi r) for |r| <= 1/2, in r^2.
  static constexpr float kSinPi[] = {3.14159264f, -5.16771008f, 2.55007739f, -0.598290411f,
                                     0.0776559123f};
  static constexpr float kCosPi[] = {0.999999953f, -4.9347928f, 4.05841079f, -1.33187297f,
                                     0.219682424f};
  // 2^x for |x| <= 1/2, in x.
  static constexpr float kExp2[] = {1.00000008f,   0.693147188f,   0.240221075f,
                                    0.0555035711f, 0.00967603192f, 0.00133908634f};
};

template <>
struct Numbers<double> {
  static constexpr int kMantissa = 52;
  static constexpr int kBias = 1023;
  static constexpr double kSinPi[] = {
      3.14159265358979324,   -5.16771278004996961,   2.55016403987730047,
      -0.599264529318944681, 0.082145886573102895,   -0.0073704305059169434,
      4.6629981618983938e-4, -2.19034970746260172e-5, 7.69782676822419065e-7};
  static constexpr double kCosPi[] = {
      0.999999999999999996,   -4.93480220054467677,   4.058712126416497,
      -1.33526276884344709,   0.235330630129532854,   -0.0258068887370022033,
      1.92955627248171315e-3, -1.04566553387487382e-4, 4.14956435394258551e-6};
  static constexpr double kExp2[] = {
      0.999999999999999997,   0.693147180559945309,   0.240226506959101596,
      0.055504108664821627,   9.61812910758725667e-3, 1.33335581464064707e-3,
      1.54035304637243542e-4, 1.52527338415567726e-5, 1.32154325359123762e-6,
      1.01780570877339411e-7, 7.07419429728852101e-9, 4.45581790833606449e-10};
};

// The sum of coefficients[i] x^i.
template <class T, int n>
HQ_INLINE Vec<T> polynomial(Vec<T> x, const T (&coefficients)[n]) {
  Vec<T> total = broadcast<T>(coefficients[n - 1]);
  for (int i = n - 2; i >= 0; --i) total = total * x + coefficients[i];
  return total;
}

// 1.5 * 2^mantissa: adding it rounds a number to an integer, whose low bits are then the low bits
// of the sum.
template <class T>
constexpr T kRound = T(int64_t(3) << (Numbers<T>::kMantissa - 1));

template <class T, class Values>
HQ_INLINE Values round(Values x) {
  return (x + kRound<T>) - kRound<T>;
}

// The sine and the cosine of pi (n + r) for |r| <= 1/2. The integer n is in the low bits of
// `shifted`: where it is odd, both change their sign.
template <class T>
HQ_INLINE void sincospi(Vec<T> shifted, Vec<T> r, Vec<T>& sin, Vec<T>& cos) {
  const Vec<T> square = r * r;
  const Ints<T> sign = Ints<T>(shifted) << (8 * sizeof(T) - 1);
  sin = Vec<T>(Ints<T>(r * polynomial<T>(square, Numbers<T>::kSinPi)) ^ sign);
  cos = Vec<T>(Ints<T>(polynomial<T>(square, Numbers<T>::kCosPi)) ^ sign);
}

// 2^x for x < 127; 0 where that is below the smallest normal number, also for -inf.
template <class T>
HQ_INLINE Vec<T> exp2(Vec<T> x) {
  constexpr T kRoundWithBias = kRound<T> + Numbers<T>::kBias;
  // The low bits of `shifted` are those of the integer next to x, with the bias of exponents.
  const Vec<T> shifted = x + kRoundWithBias;
  const Vec<T> power = Vec<T>(Ints<T>(shifted) << Numbers<T>::kMantissa);
  const Vec<T> rest = x - (shifted - kRoundWithBias);
  const Vec<T> result = polynomial<T>(rest, Numbers<T>::kExp2) * power;
  return x < T(1 - Numbers<T>::kBias) ? Vec<T>{} : result;
}

}  // namespace hq
