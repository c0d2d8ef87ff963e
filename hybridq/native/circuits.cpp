// Circuits, forward and backward: a real product state, then layers of rotations RY and diagonals followed by permutations.
// Two layouts. Many small circuits (One = false): a block is as many circuits as a register has lanes, an amplitude is one
// register, and every operation is a few vector instructions, whatever the gate; the states of a block, 2^n registers for
// each of re and im of psi and lambda, stay in the nearest cache (4 KB at 4 qubits). Few or large circuits (One = true): a
// block is one circuit, a register holds neighbouring amplitudes; their bits change places with higher ones to be rotated.
// Cost of a rotation: 3 * 2^n operations forward, about 11 * 2^n backward with the run forward, over the number of lanes.
// Backward saves nothing: it runs the block again, then walks the program from its end, undoing each step on psi and lambda
// (see hybridq/engine/kernel.py). Slopes are summed in double over a chunk of blocks, then over the chunks in order, so that
// the result does not depend on the number of threads.
#include "machine.h"

namespace hq::circuits {
template <class X> struct List {
  const X* data; int64_t n;
  const X* begin() const { return data; }
  const X* end() const { return data + n; }
};
struct Term { double factor; int32_t to, variable; };  // adds factor * variable to the row or combination `to`
struct Step {
  List<int32_t> keys;    // ascending: the bit of each rotation, or the mask m of each phase angle_m (-1)^parity(k & m)
  const int32_t* index;  // of a diagonal, the permutation after it: new[k] = old[index[k]]
  int32_t diagonal, row;  // the keys' angles are the rows from this one on; half angles for rotations
  int32_t table, parts;  // number of the phases' table if all circuits share them, or -1; 1 while the state is real, then 2
};
enum Readout : int32_t { kParities, kProbabilities, kRealParts };
struct Program {  // as hybridq/engine/native.py packs it; bit b of an amplitude's number is the qubit of weight 2^b
  List<double> rows;           // an angle: this constant, terms of weights that all circuits share, and
  const int32_t* combination;  // for each row: a combination of the point's own variables; number 0 is empty
  List<Term> shared_terms, point_terms;
  List<Step> steps;       // after the first, which makes the product state by a rotation of each bit
  Step start;
  const int32_t* states;  // for each output: the mask of a parity, or which amplitude to read
  const double* signs;    // of parities
  int32_t n_qubits, n_inputs, n_weights, n_own, n_combinations, n_outputs, readout;  // own variables: inputs, n_own weights
};
template <class T> struct Call {
  const Program& program;
  const T *inputs, *weights;  // (batch, n_inputs), (sets, n_weights): a set serves batch / sets points in a row
  T *outputs, *gradient;      // (batch, n_outputs); of the outputs, of any strides, or nullptr: forward only
  T *to_inputs, *to_weights;  // as inputs and weights, but (batch, n_own) for weights of a point's own
  int64_t batch, sets, n_threads, row_stride, stride, one_by_one;
  const T *readout, *gate, *transform;  // of a Fourier series: (sets, n_outputs), (sets), (samples, n); or nullptr for none
  T *coefficients, *to_readout, *to_gate;  // forward (sets, n), 0 at the start; backward their gradient, and 0 at the start
  int64_t n;
};

// x + iy times c + is.
template <class V, class E> HQ_INLINE void turn(V& x, V& y, E c, E s) {
  const V old = x;
  x = c * x - s * y, y = c * y + s * old;
}

template <class T, bool One> struct alignas(128) Block {  // no cache line of two threads
  using V = Vec<T>;
  using Wide = typename Types<T>::Wide;
  using Amplitude = std::conditional_t<One, T, V>;
  static constexpr int W = kLanes<T>, kCircuits = One ? 1 : W, kLow = One ? __builtin_ctz(W) : 0;  // bits within a register
  struct Turn { Amplitude cos, sin, shear; };  // shear: the tangent of half the angle
  struct Combination { Wide angle, slope; V cos, sin; };
  struct Variable { Wide value, slope; };

  const Call<T>& call;
  const Program& program = call.program;
  const int64_t size = int64_t(1) << program.n_qubits, n = size >> kLow;  // amplitudes, and their registers
  int64_t first = 0, count = 0;                                           // circuits of this block
  std::vector<V> space = std::vector<V>(7 * n);
  V *psi = &space[0], *lambda = psi + 2 * n, *spare = lambda + 2 * n, *values = spare + 2 * n;  // states: re and im
  std::vector<Turn> turns = std::vector<Turn>(program.rows.n, Turn{Amplitude{} + 1, {}, {}}), shared = turns;  // of the rows
  std::vector<Wide> slopes = std::vector<Wide>(program.rows.n);  // of the rows, over the blocks of a chunk
  std::vector<Combination> combinations = std::vector<Combination>(program.n_combinations);
  std::vector<Variable> variables = std::vector<Variable>(program.n_inputs + program.n_own);
  std::vector<Amplitude> table = std::vector<Amplitude>(2 * size);  // of phases, re before im
  std::vector<T> shared_tables;
  Ints<T> flips{}, shared_flips;  // the sign of the state

  explicit Block(const Call<T>& call) : call(call) {
    std::vector<double> angles(program.rows.begin(), program.rows.end());
    for (const Term& t : program.shared_terms) angles[t.to] += t.factor * double(call.weights[t.variable]);
    for (size_t row = 0; row < angles.size(); ++row) set(row, all(T(std::cos(angles[row]))), all(T(std::sin(angles[row]))));
    shared = turns, shared_flips = flips, shared_tables.reserve(2 * size * program.steps.n);
    for (const Step& step : program.steps) {
      if (step.table < 0) continue;
      find_phases(step);
      for (const Amplitude& phase : table) shared_tables.push_back(reinterpret_cast<const T&>(phase));
    }
  }

  static Amplitude* amplitudes(V* registers) { return reinterpret_cast<Amplitude*>(registers); }
  T& value(int state, int circuit) { return reinterpret_cast<T*>(values)[state * kCircuits + circuit]; }
  static double total(const Wide& x) { double sum = 0; for (int i = 0; i < W; ++i) sum += x[i]; return sum; }
  // The angles of this block, in double, since the errors of all rotations add up. Whole half turns are taken off, with an
  // error like the rounding of the angle; the second rounding leaves no rest if that alone is turns.
  void find_angles() {
    const int64_t per_set = call.batch / call.sets, n_inputs = program.n_inputs, n_own = program.n_own;
    for (int64_t i = 0; i < W; ++i) {
      const int64_t point = first + std::min(i, count - 1);
      for (int v = 0; v < n_inputs; ++v) variables[v].value[i] = call.inputs[point * n_inputs + v];
      for (int v = 0; v < n_own; ++v) variables[n_inputs + v].value[i] = call.weights[point / per_set * n_own + v];
    }
    for (Combination& of : combinations) of.angle = of.slope = Wide{};
    for (const Term& t : program.point_terms) combinations[t.to].angle += t.factor * variables[t.variable].value;
    for (int i = 1; i < program.n_combinations; ++i) {
      Combination& of = combinations[i];
      const Wide half_turns = of.angle * 0.318309886183790672, whole = round<double>(half_turns);
      const Wide odd = whole - 2 * round<double>(0.5 * whole);
      const V rest = __builtin_convertvector(half_turns - whole, V);
      sincospi<T>(__builtin_convertvector(odd, V) + kRound<T>, rest - round<T>(rest), of.sin, of.cos);
    }
    flips = shared_flips;
    for (int64_t row = 0; row < program.rows.n; ++row)
      if (const int own = program.combination[row]) set(row, combinations[own].cos, combinations[own].sin);
  }
  // A row's angle and what is shared of it, brought to a cosine of at least 0; a half turn changes the sign of the state.
  void set(int64_t row, V c, V s) {
    turn(c, s, shared[row].cos, shared[row].sin);
    const Ints<T> negative = Ints<T>(c) & Ints<T>(all(T(-0.)));
    c = V(Ints<T>(c) ^ negative), s = V(Ints<T>(s) ^ negative), flips ^= negative;
    V shear = s / (1 + c);
    turns[row] = {amplitudes(&c)[0], amplitudes(&s)[0], amplitudes(&shear)[0]};
  }

  void add_slope(int64_t row, const Wide& g) { slopes[row] += g, combinations[program.combination[row]].slope += g; }
  // op(row, x, y, g) for all terms of a layer and pairs x, y of registers that differ in a term's bit; x[m], y[m] of state m
  // of M. One pass over memory, 2^K loads for each state, serves K <= 4 neighbouring bits. For bits within registers,
  // squares of registers are transposed before and after. One state is changed; of two, sums g of slopes go to double.
  template <int M, class Op> void sweep(V* states, int64_t length, const Step& step, Op op) {
    const int64_t apart = lambda - psi;
    const auto pass = [&](auto K, int64_t row, int64_t stride) {
      constexpr int k = decltype(K)::value, points = 1 << k;
      Wide sums[k] = {};
      for (int64_t i = 0; i < length / points; ++i) {
        V r[points][M], g[k] = {}, *at = states + ((i & -stride) << k | (i & (stride - 1)));
        repeat<M * points>([&](auto j) HQ_LAMBDA { r[j / M][j % M] = at[j / M * stride + j % M * apart]; });
        repeat<k * points>([&](auto i) HQ_LAMBDA {
          constexpr int q = i / points, j = i % points, other = j | 1 << q;
          if constexpr (j != other) op(row + q, r[j], r[other], g[q]);
        });
        if constexpr (M == 1) repeat<points>([&](auto j) HQ_LAMBDA { at[j * stride] = r[j][0]; });
        else repeat<k>([&](auto q) HQ_LAMBDA { sums[q] += __builtin_convertvector(g[q], Wide); });
      }
      for (int q = 0; q < k && M == 2; ++q) add_slope(row + q, sums[q]);
    };
    for (int t = 0, k; t < step.keys.n; t += k) {
      const int32_t* bits = step.keys.data + t;
      const bool low = *bits < kLow;
      const auto transpose_if_low = [&] {
        for (int64_t i = 0; i < M * length && low; i += W) transpose<T>(states + i / length * apart + i % length);
      };
      for (k = 1; k < 4 && t + k < step.keys.n && bits[k] == *bits + k && (bits[k] < kLow) == low; ++k) {}
      const int64_t row = step.row + t, stride = int64_t(1) << (low ? *bits : *bits - kLow);
      transpose_if_low();
      repeat<4>([&](auto K) { if (k == K + 1) pass(std::integral_constant<int, K + 1>(), row, stride); });
      transpose_if_low();
    }
  }
  // By three shears, which leave the state's norm where it is, however they are rounded.
  void rotate(const Step& step, V* state, T way) {
    sweep<1>(state, step.parts * n, step, [&](int64_t row, auto& x, auto& y, V&) {
      const auto shear = way * turns[row].shear, sin = way * turns[row].sin;
      *x -= shear * *y, *y += sin * *x, *x -= shear * *y;
    });
  }
  // Adds sum_k lambda_k (G psi)_k for each rotation.
  void find_slopes(const Step& step) {
    sweep<2>(psi, step.parts * n, step, [](int64_t, auto& x, auto& y, V& g) { g += y[1] * x[0] - x[1] * y[0]; });
  }
  // a_m = sum_k (-1)^parity(k & m) a_k for all m: every <Z> and every phase's slope at once, and its own adjoint.
  void hadamard() {
    sweep<1>(values, n, program.start, [](int64_t, auto& x, auto& y, V&) { *x += *y, *y = *x - 2 * *y; });
  }

  // The table, by doubling: the masks whose highest bit is 2^b part the upper half from the lower one.
  void find_phases(const Step& step) {
    Amplitude *re = &table[0], *im = re + size;
    const Turn* by = &turns[step.row];
    const int32_t* mask = step.keys.begin();
    re[0] = Amplitude{} + 1, im[0] = Amplitude{};
    if (mask < step.keys.end() && *mask == 0) turn(re[0], im[0], by->cos, by->sin), ++mask, ++by;
    for (int64_t half = 1; half < size; half *= 2) {
      std::copy_n(re, half, re + half), std::copy_n(im, half, im + half);
      for (; mask < step.keys.end() && *mask < 2 * half; ++mask, ++by)
        for (int64_t k = 0; k < half; ++k) {
          const Amplitude s = __builtin_parityll(k & *mask) ? -by->sin : by->sin;
          turn(re[k], im[k], by->cos, s), turn(re[half + k], im[half + k], by->cos, -s);
        }
    }
  }
  // A diagonal and the permutation after it, or both undone. A real state has no im before them.
  template <int way, class Phase> void move(const Step& step, const Phase* phases, V*& state) {
    const bool real = way > 0 && step.parts == 1;
    const Amplitude* in = amplitudes(state);
    Amplitude* out = amplitudes(spare);
    for (int64_t k = 0; k < size; ++k) {
      const int64_t i = step.index[k], from = way > 0 ? i : k, to = way > 0 ? k : i;
      Amplitude x = in[from], y = real ? Amplitude{} : in[size + from];
      turn(x, y, phases[i], way * phases[size + i]);
      out[to] = x, out[size + to] = y;
    }
    std::swap(state, spare);
  }
  template <int way, class... State> void apply(const Step& step, State&... states) {
    if (step.table >= 0) return (move<way>(step, &shared_tables[2 * size * step.table], states), ...);
    find_phases(step);
    (move<way>(step, &table[0], states), ...);
  }
  // Of phi_k it is Im(conj(psi_k) lambda_k); those of the masks are its transform.
  void find_slopes_of_phases(const Step& step) {
    for (int64_t k = 0; k < n; ++k) values[k] = psi[k] * lambda[n + k] - psi[n + k] * lambda[k];
    hadamard();
    for (int t = 0; t < step.keys.n; ++t)
      if constexpr (One) add_slope(step.row + t, Wide{value(step.keys.data[t], 0)});
      else add_slope(step.row + t, __builtin_convertvector(values[step.keys.data[t]], Wide));
  }

  void forward(int64_t from) {
    first = from, count = std::min<int64_t>(kCircuits, call.batch - from);
    find_angles();
    Amplitude* state = amplitudes(psi);
    psi[0] = V(Ints<T>(all(T(1))) ^ flips);
    for (int64_t t = 0, half = 1; half < size; ++t, half *= 2)
      for (int64_t k = 0; k < half; ++k) state[half + k] = turns[t].sin * state[k], state[k] = turns[t].cos * state[k];
    for (const Step& step : program.steps) step.diagonal ? apply<1>(step, psi) : rotate(step, psi, 1);
  }

  void read() {
    for (int64_t k = 0; k < n; ++k)
      values[k] = program.readout == kRealParts ? psi[k] : psi[k] * psi[k] + psi[n + k] * psi[n + k];
    if (program.readout == kParities) hadamard();
    for (int64_t o = 0; o < program.n_outputs; ++o)
      for (int i = 0; i < count; ++i)
        call.outputs[(first + i) * program.n_outputs + o] = T(program.signs[o]) * value(program.states[o], i);
  }
  // lambda = dL/d(psi) at the end.
  void seed() {
    std::fill_n(values, n, V{});
    for (int64_t o = 0; o < program.n_outputs; ++o)
      for (int i = 0; i < count; ++i)
        value(program.states[o], i) += T(program.signs[o]) * call.gradient[(first + i) * call.row_stride + o * call.stride];
    if (program.readout == kParities) hadamard();
    for (int64_t k = 0; k < 2 * n; ++k)
      lambda[k] = values[k & (n - 1)] * (program.readout == kRealParts ? all(T(k < n)) : 2 * psi[k]);
  }
  void backward() {
    for (const Step* step = program.steps.end(); step-- > program.steps.begin();)
      if (step->diagonal) {
        apply<-1>(*step, psi, lambda);
        if (step->keys.n) find_slopes_of_phases(*step);
      } else {
        find_slopes(*step), rotate(*step, psi, -1), rotate(*step, lambda, -1);
      }
    find_slopes(program.start);
    for (Variable& variable : variables) variable.slope = Wide{};
    for (const Term& t : program.point_terms) variables[t.variable].slope += t.factor * combinations[t.to].slope;
    const auto slope = [&](int64_t v, int64_t i) { return T(One ? total(variables[v].slope) : variables[v].slope[i]); };
    for (int64_t i = 0, n_inputs = program.n_inputs, n_own = program.n_own; i < count; ++i) {
      for (int64_t v = 0; v < n_inputs; ++v) call.to_inputs[(first + i) * n_inputs + v] = slope(v, i);
      for (int64_t v = 0; v < n_own; ++v) call.to_weights[(first + i) * n_own + v] = slope(n_inputs + v, i);
    }
  }
};

template <class T, bool One> int run(const Call<T>& call) try {
  using B = Block<T, One>;
  const Program& program = call.program;
  const int64_t chunk = std::max(1, (512 << B::kLow) >> program.n_qubits) * B::kCircuits;  // more than a thread costs
  const int64_t n_chunks = (call.batch + chunk - 1) / chunk, n_rows = program.rows.n;
  std::vector<B> blocks;
  for (blocks.emplace_back(call); int64_t(blocks.size()) < std::min(call.n_threads, n_chunks);) blocks.emplace_back(call);
  std::vector<double> sums((n_chunks + 1) * n_rows), to_weights(program.n_weights);
  parallel(n_chunks, call.n_threads, [&](int64_t i, int thread) {
    B& block = blocks[thread];
    for (int64_t first = i * chunk; first < std::min(call.batch, (i + 1) * chunk); first += B::kCircuits) {
      block.forward(first);
      call.gradient ? (block.seed(), block.backward()) : block.read();
    }
    for (int64_t row = 0; row < n_rows; ++row)
      sums[i * n_rows + row] = B::total(std::exchange(block.slopes[row], typename B::Wide{}));
  });
  if (program.n_own || !call.to_weights) return 0;
  for (int64_t i = n_rows; i < n_chunks * n_rows; ++i) sums[i % n_rows] += sums[i];
  for (const Term& t : program.shared_terms) to_weights[t.variable] += t.factor * sums[t.to];
  std::copy(to_weights.begin(), to_weights.end(), call.to_weights);
  return 0;
} catch (const std::bad_alloc&) { return 1; }
template <class T> int run(const Call<T>& call) { return call.one_by_one ? run<T, true>(call) : run<T, false>(call); }
// The Fourier coefficients of gate * Phi of sets of angles, whose samples are points in a row (fourier.py): their outputs
// times readout and gate, transformed. The backward pass is given the outputs, and dense room for their gradient.
template <class T> int find_coefficients(const Call<T>& call) {
  const int64_t n_outputs = call.program.n_outputs, samples = call.batch / call.sets;
  for (int64_t i = 0; i < call.sets * call.program.n_weights; ++i) if (!std::isfinite(call.weights[i])) return 2;
  if (!call.gradient && run(call)) return 1;
  for (int64_t i = 0, set = 0; i < call.batch; ++i, set = i / samples) {
    const T *const row = call.transform + i % samples * call.n, *const readout = call.readout + set * n_outputs;
    T *const own = call.coefficients + set * call.n, *const outputs = call.outputs + i * n_outputs;
    const T phi = T(std::inner_product(readout, readout + n_outputs, outputs, 0.)), gate = call.gate[set];
    if (!call.gradient) { for (int64_t k = 0; k < call.n; ++k) own[k] += gate * phi * row[k]; continue; }
    const T to_phi = T(std::inner_product(row, row + call.n, own, 0.)), to_weighted = to_phi * gate;
    for (int64_t o = 0; o < n_outputs; ++o) call.gradient[i * n_outputs + o] = to_weighted * readout[o];
    for (int64_t o = 0; o < n_outputs; ++o) call.to_readout[set * n_outputs + o] += to_weighted * outputs[o];
    call.to_gate[set] += to_phi * phi;
  }
  return call.gradient ? run(call) : 0;
}

// 0; 1 if there is no memory; 2 if an angle of a series is not finite.
HQ_EXPORT int hq_circuits_float(const Call<float>& call) { return call.readout ? find_coefficients(call) : run(call); }
HQ_EXPORT int hq_circuits_double(const Call<double>& call) { return call.readout ? find_coefficients(call) : run(call); }
}  // namespace hq::circuits
