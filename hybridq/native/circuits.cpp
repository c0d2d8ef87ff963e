// Circuits, forward and backward: a real product state, then layers of rotations RY and diagonals followed by permutations.
// Two layouts. Many small circuits (One = false): a block is as many circuits as a register has lanes, an amplitude is one
// register, and every operation is a few vector instructions, whatever the gate; the states of a block, 2^n registers for
// each of re and im of psi and lambda, stay in the nearest cache (4 KB at 4 qubits). Few or large circuits (One = true): a
// block is one circuit, a register holds neighbouring amplitudes; their bits change places with higher ones to be rotated.
// Cost of a rotation: 4 * 2^n operations forward, about 14 * 2^n backward with the run forward, over the number of lanes.
// Backward saves nothing: it runs the block forward again, then walks the program from its end, undoing each step on psi and
// lambda together (see hybridq/engine/kernel.py). Slopes are summed in double, over a chunk of blocks, then over the chunks
// in order, so that the result does not depend on the number of threads.
#include <numeric>
#include "parallel.h"
#include "simd.h"

namespace hq::circuits {

struct Term {
  double factor;
  int32_t to, variable;  // adds factor * variable to the row or combination `to`
};
struct Step {
  const int32_t* keys;   // ascending: the bit of each rotation, or the mask m of each phase angle_m (-1)^parity(k & m)
  const int32_t* index;  // of a diagonal, the permutation after it: new[k] = old[index[k]]
  int32_t diagonal, n_terms, first_row;  // the terms' angles are the rows from here on; half angles for rotations
  int32_t table, parts;  // number of the phases' table if all circuits share them, or -1; 1 while the state is real, then 2
};
enum Readout : int32_t { kParities, kProbabilities, kRealParts };
struct Program {  // as hybridq/engine/native.py packs it; bit b of an amplitude's number is the qubit of weight 2^b
  const double* constants;     // (n_rows): angle = constant + shared terms + a combination of the point's variables
  const int32_t* combination;  // (n_rows): number 0 is empty
  const Term *point_terms, *shared_terms;
  const Step* steps;      // the first makes the product state, by a rotation of each bit
  const int32_t* states;  // (n_outputs): masks of parities, or which amplitudes to read
  const double* signs;    // (n_outputs): of parities
  int32_t n_point_terms, n_shared_terms, n_qubits, n_points, n_shared, n_combinations, n_rows, n_steps, n_outputs, readout;
};
template <class T>
struct Call {
  const Program& program;
  const T *points, *shared;  // variables: (batch, n_points) and (n_shared)
  T* outputs;                // (batch, n_outputs)
  const T* gradient;         // of the outputs, any strides, or nullptr: forward only
  T *to_points, *to_shared;
  int64_t batch, n_threads, row_stride, stride;
};

// x + iy times c + is: a rotation, a phase, or the sum of two angles.
template <class V, class E>
HQ_INLINE void turn(V& x, V& y, E c, E s) {
  const V old = x;
  x = c * x - s * y;
  y = c * y + s * old;
}

// e^(i phi_k) of a diagonal, by doubling: the masks whose highest bit is 2^b part the upper half from the lower one.
template <class E>
void phasor(const Step& step, int64_t size, const E* cos, const E* sin, E* re, E* im) {
  int t = 0;
  re[0] = E{} + 1, im[0] = E{};
  if (step.n_terms && step.keys[0] == 0) turn(re[0], im[0], cos[0], sin[0]), ++t;
  for (int64_t half = 1; half < size; half *= 2) {
    for (int64_t k = 0; k < half; ++k) re[half + k] = re[k], im[half + k] = im[k];
    for (; t < step.n_terms && step.keys[t] < 2 * half; ++t)
      for (int64_t k = 0; k < half; ++k) {
        const E c = cos[t], s = __builtin_parityll(k & step.keys[t]) ? -sin[t] : sin[t];
        turn(re[k], im[k], c, s);
        turn(re[half + k], im[half + k], c, -s);
      }
  }
}

template <class T, bool One>
struct alignas(128) Block {  // no cache line of two threads
  using V = Vec<T>;
  using Amplitude = std::conditional_t<One, T, V>;
  static constexpr int W = kLanes<T>, kCircuits = One ? 1 : W, kLow = One ? __builtin_ctz(W) : 0;  // bits within a register

  const Call<T>& call;
  const Program& program = call.program;
  const int64_t size = int64_t(1) << program.n_qubits, n = size >> kLow;  // amplitudes, and their registers
  int64_t first = 0, last = 0, count = 0;                                 // circuits of this block
  std::vector<V> states, spare, values;                                   // states: re and im of psi, then of lambda
  std::vector<Amplitude> cos, sin, table, shared_tables;                  // tables: re and im of phases
  std::vector<double> shared_cos, shared_sin, combined_cos, combined_sin, variables;  // in lanes, but for shared
  std::vector<double> slopes, totals, to_combinations, to_variables;

  explicit Block(const Call<T>& call)
      : call(call), states(4 * n), spare(4 * n), values(n), cos(program.n_rows), sin(program.n_rows), table(2 * size),
        combined_cos(program.n_combinations * W, 1), combined_sin(combined_cos.size()), variables(program.n_points * W),
        slopes(program.n_rows * W), totals(slopes), to_combinations(combined_sin), to_variables(variables) {
    std::vector<double> angles(program.constants, program.constants + program.n_rows), phases(2 * size);
    for (const Term* t = program.shared_terms; t < program.shared_terms + program.n_shared_terms; ++t)
      angles[t->to] += t->factor * double(call.shared[t->variable]);
    for (double angle : angles) shared_cos.push_back(std::cos(angle)), shared_sin.push_back(std::sin(angle));
    for (const Step* step = program.steps; step < program.steps + program.n_steps; ++step) {
      if (step->table < 0) continue;  // in double, since errors add up over the terms
      phasor(*step, size, &shared_cos[step->first_row], &shared_sin[step->first_row], &phases[0], &phases[size]);
      for (double x : phases) shared_tables.push_back(Amplitude{} + T(x));
    }
  }

  static Amplitude* amplitudes(V& first) { return reinterpret_cast<Amplitude*>(&first); }
  T& value(int state, int circuit) { return reinterpret_cast<T*>(values.data())[state * kCircuits + circuit]; }
  static double total(const double* lanes) { return std::accumulate(lanes, lanes + W, 0.); }
  static constexpr auto add = [](std::vector<double>& sums, int to, double factor, const auto* lanes) {
    for (int i = 0; i < W; ++i) sums[to * W + i] += factor * lanes[i];
  };

  void angles() {  // in double, since the errors of all rotations add up
    std::fill(combined_sin.begin(), combined_sin.end(), 0);
    for (int v = 0; v < program.n_points; ++v)
      for (int64_t i = 0; i < W; ++i) variables[v * W + i] = call.points[std::min(first + i, last) * program.n_points + v];
    for (const Term* t = program.point_terms; t < program.point_terms + program.n_point_terms; ++t)
      add(combined_sin, t->to, t->factor, &variables[t->variable * W]);
    for (size_t i = W; i < combined_sin.size(); i += kLanes<double>) {
      Vec<double> s, c;
      sincos<double>(load(&combined_sin[i]), s, c);
      store(&combined_sin[i], s), store(&combined_cos[i], c);
    }
    for (int row = 0; row < program.n_rows; ++row)
      for (int i = 0, from = program.combination[row] * W; i < kCircuits; ++i) {
        double c = combined_cos[from + i], s = combined_sin[from + i];
        turn(c, s, shared_cos[row], shared_sin[row]);
        reinterpret_cast<T*>(&cos[row])[i] = T(c), reinterpret_cast<T*>(&sin[row])[i] = T(s);
      }
  }

  // op(row, x, y, g) for all terms of a layer and pairs x, y of registers that differ in a term's bit; x[m], y[m] of state m
  // of M. One pass over memory, 2^K loads and stores for each state, serves K <= 4 neighbouring bits. For bits within
  // registers, squares of registers are transposed before and after. Sums g of slopes go to double after each 2^K registers.
  template <int M, class Op>
  void sweep(V* states, int64_t length, const Step& step, Op op) {
    const auto pass = [&](auto K, int64_t row, int64_t stride) {
      constexpr int k = decltype(K)::value, size = 1 << k;
      for (int64_t i = 0; i < length / size; ++i) {
        V r[size][M], g[k] = {}, *at = states + ((i & -stride) << k | (i & (stride - 1)));
#pragma GCC unroll 32
        for (int j = 0; j < M * size; ++j) r[j / M][j % M] = at[j / M * stride + j % M * 2 * n];
#pragma GCC unroll 4
        for (int q = 0; q < k; ++q)
#pragma GCC unroll 16
          for (int j = 0; j < size; ++j)
            if (!(j >> q & 1)) op(row + q, r[j], r[j | 1 << q], g[q]);
#pragma GCC unroll 32
        for (int j = 0; j < M * size; ++j) at[j / M * stride + j % M * 2 * n] = r[j / M][j % M];
        for (int q = 0; q < k && M == 2; ++q) add(slopes, row + q, 1, reinterpret_cast<T*>(&g[q]));
      }
    };
    for (int t = 0, k; t < step.n_terms; t += k) {
      const int32_t* bits = step.keys + t;
      const bool low = *bits < kLow;
      const auto transpose_if_low = [&] {
        for (int64_t i = 0; i < M * length && low; i += W) transpose<T>(states + i / length * 2 * n + i % length);
      };
      for (k = 1; k < 4 && t + k < step.n_terms && bits[k] == *bits + k && (bits[k] < kLow) == low; ++k) {}
      const int64_t row = step.first_row + t, stride = int64_t(1) << (low ? *bits : *bits - kLow);
      transpose_if_low();
      if (k == 1) pass(std::integral_constant<int, 1>{}, row, stride);
      if (k == 2) pass(std::integral_constant<int, 2>{}, row, stride);
      if (k == 3) pass(std::integral_constant<int, 3>{}, row, stride);
      if (k == 4) pass(std::integral_constant<int, 4>{}, row, stride);
      transpose_if_low();
    }
  }
  void rotate(const Step& step, V* state, T sign) {
    sweep<1>(state, step.parts * n, step, [&](int64_t i, auto& x, auto& y, V&) { turn(*x, *y, cos[i], sign * sin[i]); });
  }
  // Adds sum_k lambda_k (G psi)_k for each rotation.
  void find_slopes(const Step& step) {
    sweep<2>(&states[0], step.parts * n, step, [](int64_t, auto& x, auto& y, V& g) { g += y[1] * x[0] - x[1] * y[0]; });
  }
  // a_m = sum_k (-1)^parity(k & m) a_k for all m: every <Z> and every phase's slope at once, and its own adjoint.
  void hadamard() {
    sweep<1>(&values[0], n, program.steps[0], [](int64_t, auto& x, auto& y, V&) { *x += *y, *y = *x - 2 * *y; });
  }

  // The phases of a diagonal, re before im.
  const Amplitude* phases(const Step& step) {
    if (step.table >= 0) return &shared_tables[2 * step.table * size];
    phasor(step, size, &cos[step.first_row], &sin[step.first_row], &table[0], &table[size]);
    return table.data();
  }
  void apply(const Step& step) {
    const Amplitude *re = phases(step), *in = amplitudes(states[0]);
    for (int64_t k = 0; k < size; ++k) {
      const int64_t i = step.index[k];
      Amplitude x = in[i], y = in[size + i], *out = amplitudes(spare[0]) + k;
      turn(x, y, re[i], re[size + i]);
      out[0] = x, out[size] = y;
    }
    states.swap(spare);
  }
  // The slope of phi_i is Im(conj(psi_i) lambda_i); those of the masks are its transform.
  void undo(const Step& step) {
    const Amplitude* re = phases(step);
    for (int64_t k = 0; k < size; ++k) {
      const int64_t i = step.index[k];
      const Amplitude* in = amplitudes(states[0]) + k;
      Amplitude a = in[0], b = in[size], x = in[2 * size], y = in[3 * size], *out = amplitudes(spare[0]) + i;
      amplitudes(values[0])[i] = a * y - b * x;
      turn(a, b, re[i], -re[size + i]);
      turn(x, y, re[i], -re[size + i]);
      out[0] = a, out[size] = b, out[2 * size] = x, out[3 * size] = y;
    }
    states.swap(spare);
    if (step.n_terms) hadamard();
    for (int t = 0; t < step.n_terms; ++t)
      for (int i = 0; i < kCircuits; ++i) slopes[(step.first_row + t) * W + i] += value(step.keys[t], i);
  }

  void forward(int64_t from) {
    first = from, count = std::min<int64_t>(kCircuits, call.batch - from), last = first + count - 1;
    angles();
    Amplitude* state = amplitudes(states[0]);
    std::fill_n(state, 2 * size, Amplitude{});
    state[0] += 1;
    for (int64_t t = 0, half = 1; half < size; ++t, half *= 2)
      for (int64_t k = 0; k < half; ++k) state[half + k] = sin[t] * state[k], state[k] = cos[t] * state[k];
    for (const Step* step = program.steps + 1; step < program.steps + program.n_steps; ++step)
      step->diagonal ? apply(*step) : rotate(*step, &states[0], 1);
  }

  void read() {
    for (int64_t k = 0; k < n; ++k)
      values[k] = program.readout == kRealParts ? states[k] : states[k] * states[k] + states[n + k] * states[n + k];
    if (program.readout == kParities) hadamard();
    for (int o = 0; o < program.n_outputs; ++o)
      for (int i = 0; i < count; ++i)
        call.outputs[(first + i) * program.n_outputs + o] = T(program.signs[o]) * value(program.states[o], i);
  }

  // lambda = dL/d(psi) at the end.
  void seed() {
    std::fill(values.begin(), values.end(), V{});
    for (int o = 0; o < program.n_outputs; ++o)
      for (int i = 0; i < count; ++i)
        value(program.states[o], i) += T(program.signs[o]) * call.gradient[(first + i) * call.row_stride + o * call.stride];
    if (program.readout == kParities) hadamard();
    for (int64_t k = 0; k < 2 * n; ++k) {
      const V g = values[k & (n - 1)];
      states[2 * n + k] = program.readout != kRealParts ? 2 * g * states[k] : k < n ? g : V{};
    }
  }

  void backward() {
    for (auto* sums : {&slopes, &to_combinations, &to_variables}) std::fill(sums->begin(), sums->end(), 0);
    for (const Step* step = program.steps + program.n_steps - 1; step > program.steps; --step) {
      if (step->diagonal) undo(*step);
      else find_slopes(*step), rotate(*step, &states[0], -1), rotate(*step, &states[2 * n], -1);
    }
    find_slopes(program.steps[0]);
    for (int row = 0; row < program.n_rows; ++row)
      add(totals, row, 1, &slopes[row * W]), add(to_combinations, program.combination[row], 1, &slopes[row * W]);
    for (const Term* t = program.point_terms; t < program.point_terms + program.n_point_terms; ++t)
      add(to_variables, t->variable, t->factor, &to_combinations[t->to * W]);
    for (int v = 0; v < program.n_points; ++v)
      for (int i = 0; i < count; ++i)
        call.to_points[(first + i) * program.n_points + v] = T(One ? total(&to_variables[v * W]) : to_variables[v * W + i]);
  }
};

template <class T, bool One>
void run(const Call<T>& call) {
  using B = Block<T, One>;
  const int64_t chunk = std::max(1, (1024 << B::kLow) >> call.program.n_qubits) * B::kCircuits;  // more than a thread costs
  const int64_t n_chunks = (call.batch + chunk - 1) / chunk, n_rows = call.program.n_rows;
  std::vector<B> blocks;
  for (blocks.emplace_back(call); int64_t(blocks.size()) < std::min(call.n_threads, n_chunks);) blocks.push_back(blocks[0]);
  std::vector<double> sums((n_chunks + 1) * n_rows), to_shared(call.program.n_shared);
  parallel(n_chunks, call.n_threads, [&](int64_t i, int thread) {
    B& block = blocks[thread];
    for (int64_t first = i * chunk; first < std::min(call.batch, (i + 1) * chunk); first += B::kCircuits) {
      block.forward(first);
      call.gradient ? (block.seed(), block.backward()) : block.read();
    }
    for (int64_t row = 0; row < n_rows; ++row) sums[i * n_rows + row] = B::total(&block.totals[row * B::W]);
    std::fill(block.totals.begin(), block.totals.end(), 0);
  });
  if (!call.gradient) return;
  for (int64_t i = n_rows; i < n_chunks * n_rows; ++i) sums[i % n_rows] += sums[i];
  for (const Term* t = call.program.shared_terms; t < call.program.shared_terms + call.program.n_shared_terms; ++t)
    to_shared[t->variable] += t->factor * sums[t->to];
  std::copy(to_shared.begin(), to_shared.end(), call.to_shared);
}

}  // namespace hq::circuits

HQ_EXPORT void hq_circuits_float(const hq::circuits::Call<float>* call) { hq::circuits::run<float, false>(*call); }
HQ_EXPORT void hq_circuits_double(const hq::circuits::Call<double>* call) { hq::circuits::run<double, false>(*call); }
HQ_EXPORT void hq_statevector_float(const hq::circuits::Call<float>* call) { hq::circuits::run<float, true>(*call); }
HQ_EXPORT void hq_statevector_double(const hq::circuits::Call<double>* call) { hq::circuits::run<double, true>(*call); }
