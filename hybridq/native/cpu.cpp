// Which of the libraries this processor can run. Compiled for the oldest processors only.
#include "simd.h"

// 2 for AVX-512, 1 for AVX2 with FMA, 0 for the baseline: x86-64-v2, or NEON on ARM.
HQ_EXPORT int hq_best() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool fma = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
  return fma ? (wide ? 2 : 1) : 0;
#else
  return 0;
#endif
}
