// A loop in as many threads as the caller asks for; they live for one call, so that a forked process has none to miss.
#pragma once
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace hq {

// Runs body(item, thread) for item = 0..n-1; `thread` < n_threads says whose scratch space to use.
template <class Body>
void parallel(int64_t n, int n_threads, Body body) {
  const int used = int(std::min<int64_t>(n_threads, n));
  std::atomic<int64_t> next{0};
  auto work = [&](int thread) {
    for (int64_t item; (item = next.fetch_add(1)) < n;) body(item, thread);
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < used; ++thread) others.emplace_back(work, thread);
  work(0);
  for (auto& other : others) other.join();
}

}  // namespace hq
