// The Fourier series Phi at one register of angles, as polynomials.
//
// With x = cos s, y = sin s and Chebyshev's polynomials T_j in u = cos 2s (fourier.py),
//   Phi(s) = A(u) + xy B(u) + x C(u) + y E(u).
// dL/dA_j is the sum of dL/d(Phi) T_j over all scores, and likewise with factors xy, x and y for
// B, C and E.
#pragma once
#include "registers.h"

namespace hq::attention {

constexpr int64_t kMostTerms = 64;

// The terms of all polynomials at one register of angles.
//
// kTerms is the number of terms of each polynomial, or -1 if it is known at run time only. For
// kTerms = 5, degree 8, the last terms of B, C and E are 0.
template <class T, int kTerms>
struct Series {
  static constexpr bool kAnyNumber = kTerms < 0;

  int n_terms;
  Vec<T> factors[4];                                 // 1, xy, x, y
  Vec<T> chebyshev[kAnyNumber ? kMostTerms : kTerms + 2];  // T_j

  HQ_INLINE Series(Vec<T> x, Vec<T> y, int64_t n)
      : n_terms(kAnyNumber ? int(n) : kTerms), factors{broadcast<T>(1), x * y, x, y} {
    chebyshev[0] = factors[0];
    chebyshev[1] = x * x * T(2) - T(1);
    for (int j = 2; j < n_terms; ++j) {
      const Vec<T> twice = chebyshev[1] + chebyshev[1];
      chebyshev[j] = twice * chebyshev[j - 1] - chebyshev[j - 2];
    }
  }

  // The number of terms that are not 0.
  HQ_INLINE int n_used(int polynomial) const {
    return kAnyNumber || polynomial == 0 ? n_terms : n_terms - 1;
  }

  // The sum of the series, whose polynomials have the given coefficients.
  HQ_INLINE Vec<T> sum(const T* coefficients) const {
    Vec<T> sums[4] = {};
    for (int polynomial = 0; polynomial < 4; ++polynomial) {
      for (int j = 0; j < n_used(polynomial); ++j) {
        sums[polynomial] += chebyshev[j] * coefficients[polynomial * n_terms + j];
      }
    }
    const Vec<T> y = factors[3];
    return (sums[0] + y * sums[3]) + factors[2] * (sums[2] + y * sums[1]);
  }

  // Adds the gradients of the coefficients, from that of the sum.
  HQ_INLINE void add_gradients(Vec<T> gradient, Vec<T>* to_coefficients) const {
    for (int polynomial = 0; polynomial < 4; ++polynomial) {
      for (int j = 0; j < n_used(polynomial); ++j) {
        to_coefficients[polynomial * n_terms + j] +=
            gradient * factors[polynomial] * chebyshev[j];
      }
    }
  }
};

}  // namespace hq::attention
