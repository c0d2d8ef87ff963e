// What the attention kernels do to one vector of scores: a series of sines and cosines, and dropout.
#pragma once
#include <algorithm>

#include "product.h"

namespace hq {

// Cos and sin of one vector of angles, and sums over T_j or powers of u. N: number of terms, or -1 if it is known at run time
// only. The last term of B, C and E is 0 for N = 5, degree 8.
template <class T, int N>
struct Waves {
  Vec<T> x, y, u;
  int64_t terms;

  HQ_INLINE Waves(Vec<T> half_turns, int64_t terms) : terms(terms) {
    sincospi<T>(half_turns, y, x);
    u = x * x * T(2) - T(1);
  }
  template <class F>
  HQ_INLINE void each(F f) const {  // f(part, j, T_j)
    Vec<T> before{}, now = all<T>(1), twice = u + u;
    auto term = [&](auto j) HQ_LAMBDA {
      repeat<4>([&](auto part) HQ_LAMBDA {
        if (N < 0 || part == 0 || j < N - 1) f(part, j, now);
      });
      const Vec<T> next = j == 0 ? u : twice * now - before;
      before = now, now = next;
    };
    if constexpr (N > 0)
      repeat<N>(term);
    else
      for (int64_t j = 0; j < terms; ++j) term(j);
  }
  HQ_INLINE Vec<T> sum(const T* table) const {
    Vec<T> sums[4] = {};
    each([&](auto part, auto j, Vec<T> t) HQ_LAMBDA {
      const T c = table[part * (N > 0 ? N : terms) + j];
      sums[part] = j == 0 ? all<T>(c) : sums[part] + t * c;
    });
    return sums[0] + x * (sums[2] + y * sums[1]) + y * sums[3];
  }
  HQ_INLINE void gather(Vec<T> gradient, Vec<T>* sums) const {
    const Vec<T> by_x = gradient * x, factors[4] = {gradient, by_x * y, by_x, gradient * y};
    each([&](auto part, auto j, Vec<T> t) HQ_LAMBDA { sums[part * (N > 0 ? N : terms) + j] += factors[part] * t; });
  }
};

// Dropout: a place is kept if a hash of it is small. Each row of each head has two random words of its own.
template <class T>
struct Dropout {
  using Word = typename Types<T>::Word;
  uint32_t start, flip, limit;

  // `row`: its number among the rows of all heads.
  Dropout(uint64_t seed, int64_t row, uint32_t limit) : limit(limit) {
    uint64_t z = seed + uint64_t(row + 1) * 0x9e3779b97f4a7c15;  // splitmix64
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    start = uint32_t(z), flip = uint32_t(z >> 32);
  }
  HQ_INLINE Ints<T> keeps(int64_t key) const {
    Word x;
    for (int i = 0; i < kLanes<T>; ++i) x[i] = uint32_t(i);
    x += start + uint32_t(key);
    x = (x ^ (x >> 16)) * 0x7feb352du;
    x = (x ^ (x >> 15) ^ flip) * 0x846ca68bu;
    return __builtin_convertvector((x ^ (x >> 16)) < limit, Ints<T>);
  }
};

// The limit of the hash, and what a kept weight is multiplied by.
struct Keep {
  uint32_t limit;
  double factor;
  explicit Keep(double dropout) {
    limit = uint32_t(std::min(std::max((1 - dropout) * 4294967296., 1.), 4294967295.));
    factor = dropout > 0 ? 4294967296. / limit : 1.;
  }
};

}  // namespace hq
