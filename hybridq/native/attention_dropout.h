// Which weights of a row dropout keeps: by a hash of each key, from the row's own random words, so
// that nothing has to be saved, and all instruction sets drop the same.
#pragma once
#include "attention_call.h"
#include "registers.h"

namespace hq::attention {

template <class T>
struct Dropout {
  uint64_t keep_below;
  uint64_t words;  // two random words of 32 bits

  // Of a row, by its number among the rows of all heads: splitmix64 of the seed.
  Dropout(const Call& call, int64_t row)
      : keep_below(call.keep_below), words(call.seed + uint64_t(row + 1) * 0x9e3779b97f4a7c15) {
    words = (words ^ (words >> 30)) * 0xbf58476d1ce4e5b9;
    words = (words ^ (words >> 27)) * 0x94d049bb133111eb;
    words ^= words >> 31;
  }

  // All bits set in the lanes of the keys that are kept, of those from `key` on.
  HQ_INLINE Ints<T> keeps(int64_t key) const {
    if (keep_below == 0) return ~Ints<T>{};
    typename Types<T>::Word hash;
    for (int i = 0; i < kLanes<T>; ++i) hash[i] = uint32_t(i);
    hash += uint32_t(words) + uint32_t(key);
    hash = (hash ^ (hash >> 16)) * 0x7feb352du;
    hash = (hash ^ (hash >> 15) ^ uint32_t(words >> 32)) * 0x846ca68bu;
    hash ^= hash >> 16;
    return __builtin_convertvector(hash < uint32_t(keep_below), Ints<T>);
  }
};

}  // namespace hq::attention
