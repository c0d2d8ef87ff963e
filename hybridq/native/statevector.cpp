// Few circuits or large ones, forward and backward, one circuit at a time.
//
// Layout: the amplitudes of one circuit are contiguous, so that a register holds neighbours: bits below log2(lanes) are lanes
// of a register (rotations exchange them there), bits above are numbers of registers (rotations as in circuits.cpp).
// Cost: memory. A layer of rotations goes over the state once in tiles that stay in the nearest cache, with all rotations of
// lower bits on each tile, and once more for every K higher bits. Sums over the amplitudes are in double, tile by tile.
#include "circuit.h"

namespace hq {
namespace {

template <class T>
constexpr int kLow = __builtin_ctz(kLanes<T>);  // bits within a register
constexpr int64_t kTile = 128;                  // registers: with re or im of psi and lambda 16 KB

// f(M) for each rotation within registers, M the mask of its bit.
template <class F>
HQ_INLINE void each_low(const Step& step, int n_low, F f) {
  for (int i = 0; i < n_low; ++i) {
    if (step.keys[i] == 0) f(std::integral_constant<int, 1>{}, i);
    if (step.keys[i] == 1) f(std::integral_constant<int, 2>{}, i);
    if (step.keys[i] == 2) f(std::integral_constant<int, 4>{}, i);
    if (step.keys[i] == 3) f(std::integral_constant<int, 8>{}, i);
  }
}

// x in lanes with the bit, -x in those without.
template <class T, int M>
HQ_INLINE Vec<T> signed_lanes(T x) {
  Vec<T> v;
  for (int i = 0; i < kLanes<T>; ++i) v[i] = i & M ? x : -x;
  return v;
}

// The rotations of a layer by where their bits are: within registers, within tiles, above; the last two as bits of registers.
template <class T>
struct Layer {
  const Step& step;
  int n_low = 0, n_tile = 0;
  int64_t tile;
  std::vector<int32_t> bits;
  std::vector<Vec<T>> cos, sin;
  Layer(const Step& step, int64_t size, const T* c, const T* s) : step(step), tile(std::min(kTile, size / kLanes<T>)) {
    for (int t = 0; t < step.n_terms; ++t) {
      n_low += step.keys[t] < kLow<T>, n_tile += int64_t(1) << step.keys[t] < tile * kLanes<T>;
      bits.push_back(step.keys[t] - kLow<T>), cos.push_back(all(c[t])), sin.push_back(all(s[t]));
    }
  }
};

template <class T>
void rotate_numbers(const Step& step, T* numbers, int64_t size, const T* cos, const T* sin) {
  const Layer<T> layer(step, size, cos, sin);
  auto* a = reinterpret_cast<Vec<T>*>(numbers);
  const auto high = [&](Vec<T>* at, int64_t n, int from, int to) {
    runs<kForward>(&layer.bits[from], to - from, [&](auto k, int i, int64_t stride) {
      rotate<k>(at, n, stride, &layer.cos[from + i], &layer.sin[from + i]);
    });
  };
  for (Vec<T>* at = a; at < a + size / kLanes<T>; at += layer.tile) {
    each_low(step, layer.n_low, [&](auto m, int i) {
      const Vec<T> c = layer.cos[i], s = signed_lanes<T, m>(sin[i]);
      for (int64_t k = 0; k < layer.tile; ++k) {
        const Vec<T> x = load(reinterpret_cast<T*>(at + k));
        store(reinterpret_cast<T*>(at + k), Vec<T>(c * x + s * pick<T, Exchange<m>>(x, x)));
      }
    });
    high(at, layer.tile, layer.n_low, layer.n_tile);
  }
  high(a, size / kLanes<T>, layer.n_tile, step.n_terms);
}

template <bool Undo, class T>
void unrotate_numbers(const Step& step, T* psi, T* lambda, int64_t size, const T* cos, const T* sin, T* slopes) {
  const Layer<T> layer(step, size, cos, sin);
  const int64_t n = size / kLanes<T>;
  auto *p = reinterpret_cast<Vec<T>*>(psi), *l = reinterpret_cast<Vec<T>*>(lambda);
  std::vector<double> found(step.n_terms);
  const auto high = [&](int64_t first, int64_t n, int from, int to) {
    runs<kBackward>(&layer.bits[from], to - from, [&](auto k, int i, int64_t stride) {
      for (int64_t at = 0; at < n >> k; at += kTile) {
        Vec<T> g[k] = {};
        unrotate<k, Undo>(p + first, l + first, at, std::min(at + kTile, n >> k), stride, &layer.cos[from + i], &layer.sin[from + i], g);
        for (int q = 0; q < k; ++q) found[from + i + q] += double(sum<T>(g[q]));
      }
    });
  };
  for (int64_t first = 0; first < n; first += layer.tile) {
    each_low(step, layer.n_low, [&](auto m, int i) {
      const Vec<T> c = layer.cos[i], s = signed_lanes<T, m>(sin[i]), one = signed_lanes<T, m>(1);
      Vec<T> g{};
      for (int64_t k = first * kLanes<T>; k < (first + layer.tile) * kLanes<T>; k += kLanes<T>) {
        const Vec<T> x = load(psi + k), y = load(lambda + k), across = pick<T, Exchange<m>>(x, x);
        g += y * (one * across);
        if (Undo) store(psi + k, Vec<T>(c * x - s * across)), store(lambda + k, Vec<T>(c * y - s * pick<T, Exchange<m>>(y, y)));
      }
      found[i] += double(sum<T>(g));
    });
    high(first, layer.tile, layer.n_low, layer.n_tile);
  }
  high(0, n, layer.n_tile, step.n_terms);
  for (int t = 0; t < step.n_terms; ++t) slopes[t] += T(found[t]);
}

template <class T>
void hadamard_numbers(T* a, int64_t size) {
  const auto low = [&](auto m) {
    const Vec<T> sign = signed_lanes<T, m>(-1);
    for (int64_t k = 0; k < size; k += kLanes<T>) {
      const Vec<T> x = load(a + k);
      store(a + k, Vec<T>(pick<T, Exchange<m>>(x, x) + sign * x));
    }
  };
  low(std::integral_constant<int, 1>{});
  if constexpr (kLanes<T> > 2) low(std::integral_constant<int, 2>{});
  if constexpr (kLanes<T> > 4) low(std::integral_constant<int, 4>{});
  if constexpr (kLanes<T> > 8) low(std::integral_constant<int, 8>{});
  hadamard(reinterpret_cast<Vec<T>*>(a), size / kLanes<T>);
}

#define HQ_NUMBERS(T)                                                                                                  \
  void rotate_layer(const Step& step, T* a, int64_t size, const T* cos, const T* sin) {                                \
    rotate_numbers(step, a, size, cos, sin);                                                                           \
  }                                                                                                                    \
  template <bool Undo>                                                                                                 \
  void unrotate_layer(const Step& step, T* psi, T* lambda, int64_t size, const T* cos, const T* sin, T* slopes) {      \
    unrotate_numbers<Undo>(step, psi, lambda, size, cos, sin, slopes);                                                 \
  }                                                                                                                    \
  void hadamard(T* a, int64_t size) { hadamard_numbers(a, size); }
HQ_NUMBERS(float)
HQ_NUMBERS(double)

}  // namespace
}  // namespace hq

#include "block.h"

HQ_KERNEL(statevector_f32, float, float)
HQ_KERNEL(statevector_f64, double, double)
