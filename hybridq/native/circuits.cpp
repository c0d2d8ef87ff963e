// Circuits, forward and backward: a real product state, then layers of rotations RY, and diagonals
// followed by permutations.
//
//   circuit_program.h       what a call is given
//   circuit_block.h         a block of circuits in memory, in one of two layouts; its angles
//   circuit_rotations.h     the gates
//   circuit_diagonals.h
//   circuit_forward.h       a block forward
//   circuit_backward.h      a block backward
//   circuit_coefficients.h  from outputs to Fourier coefficients, and back
//
// Here blocks are shared out among threads. Slopes are summed in double over a chunk of blocks,
// then over the chunks in order, so that the result does not depend on the number of threads.
#include <new>

#include "circuit_backward.h"
#include "circuit_coefficients.h"
#include "export.h"
#include "threads.h"

namespace hq::circuits {

// What a kernel returns (hybridq/native/circuits.py).
enum Status : int { kDone, kNoMemory, kNotFinite };

// A block for each thread, with all that does not depend on points.
template <class B, class T>
std::vector<B> make_blocks(const Call<T>& call, int64_t n_blocks) {
  std::vector<B> blocks;
  blocks.reserve(n_blocks);
  for (int64_t i = 0; i < n_blocks; ++i) {
    B& block = blocks.emplace_back(call);
    block.find_shared_turns();
    find_shared_phases(block);
  }
  return blocks;
}

// Takes what a chunk's blocks added to the slopes of angles, and leaves zeros.
template <class B>
void take_slopes(B& block, double* sums) {
  for (typename B::Wide& slope : block.slopes) {
    *sums++ = B::sum(slope);
    slope = typename B::Wide{};
  }
}

// Sums the slopes of angles over chunks, in order, and makes of them dL/d(weights) of the weights
// that all circuits share.
template <class T>
void write_shared_slopes(const Call<T>& call, std::vector<double>& sums, int64_t n_chunks) {
  const Program& program = *call.program;
  const int64_t n_angles = program.constants.length;
  for (int64_t i = n_angles; i < n_chunks * n_angles; ++i) sums[i % n_angles] += sums[i];
  std::vector<double> to_weights(program.n_weights);
  for (const Term& term : program.shared_terms) {
    to_weights[term.variable] += term.factor * sums[term.target];
  }
  std::copy(to_weights.begin(), to_weights.end(), call.to_weights);
}

// Runs all circuits of a call, in blocks of one layout.
template <class B, class T>
void run_blocks(const Call<T>& call) {
  const Program& program = *call.program;
  const int64_t n_angles = program.constants.length;
  // So many circuits that they are more work than a thread costs.
  const int64_t chunk = std::max(1, (512 << B::kLaneBits) >> program.n_qubits) * B::kCircuits;
  const int64_t n_chunks = (call.batch + chunk - 1) / chunk;
  const int64_t n_blocks = std::max<int64_t>(1, std::min(call.n_threads, n_chunks));
  std::vector<B> blocks = make_blocks<B>(call, n_blocks);
  std::vector<double> sums((n_chunks + 1) * n_angles);
  parallel(n_chunks, call.n_threads, [&](int64_t i, int thread) {
    B& block = blocks[thread];
    const int64_t end = std::min(call.batch, (i + 1) * chunk);
    for (int64_t first = i * chunk; first < end; first += B::kCircuits) {
      run_forward(block, first);
      if (call.gradient) {
        run_backward(block);
      } else {
        read_outputs(block);
      }
    }
    take_slopes(block, sums.data() + i * n_angles);
  });
  const bool has_shared_weights = program.n_point_weights == 0;
  if (call.to_weights && has_shared_weights) write_shared_slopes(call, sums, n_chunks);
}

template <class T>
void run_circuits(const Call<T>& call) {
  if (call.one_by_one) {
    run_blocks<Block<T, true>>(call);
  } else {
    run_blocks<Block<T, false>>(call);
  }
}

template <class T>
Status run(const Call<T>& call) try {
  if (!call.readout) {
    run_circuits(call);
    return kDone;
  }
  if (!has_finite_weights(call)) return kNotFinite;
  if (call.gradient) {
    differentiate_coefficients(call);
    run_circuits(call);
  } else {
    run_circuits(call);
    add_coefficients(call);
  }
  return kDone;
} catch (const std::bad_alloc&) {
  return kNoMemory;
}

HQ_EXPORT int hq_circuits_float(const Call<float>& call) { return run(call); }
HQ_EXPORT int hq_circuits_double(const Call<double>& call) { return run(call); }

}  // namespace hq::circuits
