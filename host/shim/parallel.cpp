// libtorch's own worker threads for the host's loops: two thread pools would fight over the same cores.
// Does nothing else: whatever tch can reach is reached through tch.

#include <ATen/Parallel.h>

#include <cstdint>

extern "C" {

// Calls body(context, worker) once per worker in 0 .. workers, on libtorch's threads, and returns when all are done. Inside
// a parallel region, or with one thread, the calls are made one after the other by the caller. `body` must not unwind.
// Returns 0, or 1 if libtorch threw.
int host_parallel(int64_t workers, void (*body)(void *, int64_t), void *context) noexcept {
  try {
    at::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
      for (int64_t worker = begin; worker < end; ++worker) body(context, worker);
    });
    return 0;
  } catch (...) {
    return 1;
  }
}

// Threads of a parallel region started here.
int host_get_num_threads() noexcept { return at::get_num_threads(); }

// Returns 0, or 1 if libtorch refused.
int host_set_num_threads(int threads) noexcept {
  try {
    at::set_num_threads(threads);
    return 0;
  } catch (...) {
    return 1;
  }
}

}  // extern "C"
