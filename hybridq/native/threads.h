// Threads that share the items of one call.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace hq {

// Runs body(item, thread) for item = 0, ..., n_items - 1, by at most n_threads threads.
//
// The threads live for one call, so that a forked process misses none. The calling thread is
// number 0.
template <class Body>
void parallel(int64_t n_items, int64_t n_threads, Body body) {
  std::atomic<int64_t> next{0};
  const auto work = [&](int thread) {
    for (int64_t item = next++; item < n_items; item = next++) body(item, thread);
  };
  std::vector<std::thread> others;
  try {
    for (int thread = 1; thread < std::min(n_threads, n_items); ++thread) {
      others.emplace_back(work, thread);
    }
  } catch (...) {
    // There are no more threads to be had. Those that there are do the same work.
  }
  work(0);
  for (std::thread& other : others) other.join();
}

}  // namespace hq
