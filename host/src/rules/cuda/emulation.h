// CUDA's words for a C++20 compiler: a block is as many threads as it has, and blocks run one after another.
// Slow; what it shows is that a kernel's indices, barriers and bits are right, on a machine without a card.
#include <math.h>
#include <string.h>

#include <barrier>
#include <thread>
#include <vector>

#define __device__
#define __global__
#define __shared__ static
#define __forceinline__ inline
#define __launch_bounds__(threads)

struct Index {
  unsigned x;
};
static thread_local Index threadIdx, blockIdx;
static Index gridDim;
static std::barrier<>* barrier;

static inline void __syncthreads() { barrier->arrive_and_wait(); }

static inline float __uint_as_float(unsigned bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline unsigned __float_as_uint(float value) {
  unsigned bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static double lanes[1024];

static inline double __shfl_down_sync(unsigned, double value, unsigned by, unsigned width) {
  lanes[threadIdx.x] = value;
  __syncthreads();
  const double other = threadIdx.x % width + by < width ? lanes[threadIdx.x + by] : value;
  __syncthreads();
  return other;
}

template <class Kernel>
static void emulate(unsigned blocks, unsigned threads, Kernel kernel) {
  gridDim.x = blocks;
  std::barrier<> all(threads);
  barrier = &all;
  std::vector<std::thread> running;
  for (unsigned thread = 0; thread < threads; thread++)
    running.emplace_back([=, &all] {
      threadIdx.x = thread;
      for (unsigned block = 0; block < blocks; block++) {
        blockIdx.x = block;
        kernel();
        all.arrive_and_wait();
      }
    });
  for (auto& thread : running) thread.join();
}
