// Vector registers of float or double numbers, on any instruction set.
//
// The kernels are compiled once for each instruction set, each time into a library of its own
// (setup.py). A register is one of the compiler's own vector types: operators, comparisons and
// `mask ? a : b` work on all its lanes, and a * b + c becomes one fused instruction where the
// processor has one.
#pragma once
#include <cstdint>
#include <utility>

#define HQ_INLINE inline __attribute__((always_inline))
#define HQ_LAMBDA __attribute__((always_inline))

namespace hq {

// The bytes of a register: 64 with AVX-512, 32 with AVX2, 16 with SSE or NEON (setup.py).
constexpr int kRegisterBytes = HQ_BYTES;

// Loops that the compiler unrolls
// -------------------------------------------------------------------------------------------------

template <class Body, int... i>
HQ_INLINE void repeat([[maybe_unused]] Body body, std::integer_sequence<int, i...>) {
  (body(std::integral_constant<int, i>()), ...);
}

// Calls body(0), ..., body(n - 1) with constants, so that arrays indexed by them are registers.
template <int n, class Body>
HQ_INLINE void repeat(Body body) {
  repeat(body, std::make_integer_sequence<int, n>());
}

// Types
// -------------------------------------------------------------------------------------------------

template <class T>
struct Types;

template <>
struct Types<float> {
  typedef float Real __attribute__((vector_size(kRegisterBytes)));
  // The same in memory, at any address of a float.
  typedef Real InMemory __attribute__((aligned(sizeof(float)), may_alias));
  typedef int32_t Int __attribute__((vector_size(kRegisterBytes)));
  // 32 bits for each lane.
  typedef uint32_t Word __attribute__((vector_size(kRegisterBytes)));
  // A double for each lane: two registers.
  typedef double Wide __attribute__((vector_size(2 * kRegisterBytes)));
};

template <>
struct Types<double> {
  typedef double Real __attribute__((vector_size(kRegisterBytes)));
  typedef Real InMemory __attribute__((aligned(sizeof(double)), may_alias));
  typedef int64_t Int __attribute__((vector_size(kRegisterBytes)));
  typedef uint32_t Word __attribute__((vector_size(kRegisterBytes / 2)));
  typedef Real Wide;
};

template <class T>
using Vec = typename Types<T>::Real;

template <class T>
using Ints = typename Types<T>::Int;

template <class T>
constexpr int kLanes = kRegisterBytes / int(sizeof(T));

template <class T>
using LaneNumbers = std::make_integer_sequence<int, kLanes<T>>;

// Between memory and registers
// -------------------------------------------------------------------------------------------------

template <class T>
HQ_INLINE Vec<T> load(const T* from) {
  return *reinterpret_cast<const typename Types<T>::InMemory*>(from);
}

template <class T>
HQ_INLINE void store(T* to, Vec<T> numbers) {
  *reinterpret_cast<typename Types<T>::InMemory*>(to) = numbers;
}

// The same number in all lanes.
template <class T>
HQ_INLINE Vec<T> broadcast(T number) {
  return number - Vec<T>{};
}

// Between lanes
// -------------------------------------------------------------------------------------------------

// Returns the lanes source(0), source(1), ... of two registers side by side.
template <class T, class Source, int... i>
HQ_INLINE Vec<T> shuffle(Vec<T> left, Vec<T> right, Source source,
                         std::integer_sequence<int, i...>) {
  return Vec<T>{(source(i) < kLanes<T> ? left : right)[source(i) % kLanes<T>]...};
}

// Combines all lanes, in log2(lanes) rounds: each combines a register with itself, whose lanes
// have changed places with those that differ in one bit of their number.
template <class T, class Combine>
HQ_INLINE T fold(Vec<T> numbers, Combine combine) {
  repeat<__builtin_ctz(kLanes<T>)>([&](auto bit) HQ_LAMBDA {
    const auto partner = [=](int lane) HQ_LAMBDA { return lane ^ (1 << bit); };
    numbers = combine(numbers, shuffle<T>(numbers, numbers, partner, LaneNumbers<T>()));
  });
  return numbers[0];
}

template <class T>
HQ_INLINE T sum_of_lanes(Vec<T> numbers) {
  return fold<T>(numbers, [](auto a, auto b) { return a + b; });
}

template <class T>
HQ_INLINE T largest_lane(Vec<T> numbers) {
  return fold<T>(numbers, [](auto a, auto b) { return a > b ? a : b; });
}

// Transposes a square of lanes x lanes numbers, in log2(lanes) rounds: each zips the halves of
// row i with those of row i + lanes / 2. The rows are copied one by one: a memcpy of them all goes
// through memory, in pieces of a few bytes.
template <class T, int n = kLanes<T>>
HQ_INLINE void transpose(Vec<T>* rows) {
  Vec<T> square[n];
  Vec<T> zipped[n];
  repeat<n>([&](auto i) HQ_LAMBDA { square[i] = rows[i]; });
  repeat<__builtin_ctz(n)>([&](auto) HQ_LAMBDA {
    repeat<n>([&](auto i) HQ_LAMBDA {
      const auto source = [=](int j) HQ_LAMBDA { return i % 2 * n / 2 + j / 2 + j % 2 * n; };
      zipped[i] = shuffle<T>(square[i / 2], square[(i + n) / 2], source, LaneNumbers<T>());
    });
    repeat<n>([&](auto i) HQ_LAMBDA { square[i] = zipped[i]; });
  });
  repeat<n>([&](auto i) HQ_LAMBDA { rows[i] = square[i]; });
}

}  // namespace hq
