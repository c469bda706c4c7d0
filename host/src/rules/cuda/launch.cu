// Runs a rule over many tensors in one launch. What stands before this text: the rule's own functions `update_rule` and
// `measure_rule`, and the names that differ between rules and storage formats:
//   VALUE, HELD, REAL   element of parameter and gradient, of state, of the arithmetic
//   SLOTS, READ, WRITTEN, NARROW   places in the state record; which of them are read, are written, are bf16, as bits
//   SCALARS, SUMS       numbers that a step lifts; sums that the rule takes
//   PACK, THREADS       elements of 16 bytes of VALUE; threads per block
// Compiles as CUDA, and as C++ after `emulation.h`.

struct bf16 {
  unsigned short bits;
};

struct Row {
  VALUE* x;
  const VALUE* g;
  HELD* state[SLOTS];
  unsigned long long packed;  // whether all of these begin at 16 bytes
  REAL scalars[SCALARS];
};

struct Chunk {
  unsigned row;
  unsigned n;
  unsigned long long at;
};

struct Span {
  unsigned first;
  unsigned count;
};

// As many elements as 16 bytes of VALUE hold.
template <class V>
struct alignas(sizeof(V) * PACK < 16 ? sizeof(V) * PACK : 16) Pack {
  V of[PACK];
};

__device__ __forceinline__ float widened(float v) { return v; }
__device__ __forceinline__ double widened(double v) { return v; }
__device__ __forceinline__ float widened(bf16 v) { return __uint_as_float((unsigned)v.bits << 16); }
__device__ __forceinline__ void narrow(float from, float& to) { to = from; }
__device__ __forceinline__ void narrow(double from, double& to) { to = from; }
// To nearest, ties to even; a NaN stays a NaN.
__device__ __forceinline__ void narrow(float from, bf16& to) {
  const unsigned bits = __float_as_uint(from);
  const unsigned rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  to.bits = (unsigned short)(from != from ? (bits >> 16) | 0x40u : rounded);
}

// What a thread needs to know of a chunk, in registers.
struct Place {
  VALUE* x;
  const VALUE* g;
  HELD* state[SLOTS];
  REAL scalars[SCALARS];
};

__device__ __forceinline__ Place place(const Row& row, const Chunk chunk) {
  Place here;
  here.x = row.x + chunk.at;
  here.g = row.g + chunk.at;
#pragma unroll
  for (int k = 0; k < SLOTS; k++)
    here.state[k] = NARROW >> k & 1 ? (HELD*)((bf16*)row.state[k] + chunk.at) : row.state[k] + chunk.at;
#pragma unroll
  for (int k = 0; k < SCALARS; k++) here.scalars[k] = row.scalars[k];
  return here;
}

// One element of a slot.
__device__ __forceinline__ REAL held(const Place& here, const int k, const unsigned i) {
  return NARROW >> k & 1 ? (REAL)widened(((const bf16*)here.state[k])[i]) : widened(here.state[k][i]);
}

__device__ __forceinline__ void hold(const Place& here, const int k, const unsigned i, const REAL value) {
  if (NARROW >> k & 1)
    narrow(value, ((bf16*)here.state[k])[i]);
  else
    narrow(value, here.state[k][i]);
}

// Elements of a slot that begin at 16 bytes of the parameter.
template <class V>
__device__ __forceinline__ void unpack(const V* from, REAL* to) {
  const Pack<V> pack = *(const Pack<V>*)from;
#pragma unroll
  for (int p = 0; p < PACK; p++) to[p] = widened(pack.of[p]);
}

template <class V>
__device__ __forceinline__ void pack(const REAL* from, V* to) {
  Pack<V> pack;
#pragma unroll
  for (int p = 0; p < PACK; p++) narrow(from[p], pack.of[p]);
  *(Pack<V>*)to = pack;
}

__device__ __forceinline__ void one(VALUE& x, const VALUE g, REAL* slots, const REAL* scalars) {
  REAL wide = widened(x);
  update_rule(wide, widened(g), slots, scalars);
  narrow(wide, x);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    update(const Row* rows, const Chunk* chunks) {
  const Chunk chunk = chunks[blockIdx.x];
  const Place here = place(rows[chunk.row], chunk);
  const unsigned whole = rows[chunk.row].packed ? chunk.n - chunk.n % PACK : 0;
  for (unsigned i = threadIdx.x * PACK; i < whole; i += THREADS * PACK) {
    Pack<VALUE> x = *(const Pack<VALUE>*)(here.x + i);
    const Pack<VALUE> g = *(const Pack<VALUE>*)(here.g + i);
    REAL state[SLOTS][PACK];
#pragma unroll
    for (int k = 0; k < SLOTS; k++)
      if (READ >> k & 1) {
        if (NARROW >> k & 1)
          unpack((const bf16*)here.state[k] + i, state[k]);
        else
          unpack(here.state[k] + i, state[k]);
      }
#pragma unroll
    for (int p = 0; p < PACK; p++) {
      REAL slots[SLOTS];
#pragma unroll
      for (int k = 0; k < SLOTS; k++)
        if (READ >> k & 1) slots[k] = state[k][p];
      one(x.of[p], g.of[p], slots, here.scalars);
#pragma unroll
      for (int k = 0; k < SLOTS; k++)
        if (WRITTEN >> k & 1) state[k][p] = slots[k];
    }
    *(Pack<VALUE>*)(here.x + i) = x;
#pragma unroll
    for (int k = 0; k < SLOTS; k++)
      if (WRITTEN >> k & 1) {
        if (NARROW >> k & 1)
          pack(state[k], (bf16*)here.state[k] + i);
        else
          pack(state[k], here.state[k] + i);
      }
  }
  for (unsigned i = whole + threadIdx.x; i < chunk.n; i += THREADS) {
    REAL slots[SLOTS];
#pragma unroll
    for (int k = 0; k < SLOTS; k++)
      if (READ >> k & 1) slots[k] = held(here, k, i);
    one(here.x[i], here.g[i], slots, here.scalars);
#pragma unroll
    for (int k = 0; k < SLOTS; k++)
      if (WRITTEN >> k & 1) hold(here, k, i, slots[k]);
  }
}

#if SUMS
// A chunk is what one row of sums covers. As on the CPU, 16 sums in f64 take its elements in turn and are added pairwise.
#define SUMMED (2 * THREADS)

extern "C" __global__ void __launch_bounds__(THREADS)
    measure(const Row* rows, const Chunk* chunks, double* out) {
  __shared__ REAL shares[SUMS][SUMMED];
  const unsigned sum = threadIdx.x / 16, turn = threadIdx.x % 16;
  const Chunk chunk = chunks[blockIdx.x];
  const Place here = place(rows[chunk.row], chunk);
  double total = 0.0;
  for (unsigned base = 0; base < chunk.n; base += SUMMED) {
    for (unsigned j = threadIdx.x; j < SUMMED; j += THREADS) {
      const unsigned i = base + j;
      REAL sums[SUMS] = {};
      if (i < chunk.n) {
        REAL slots[SLOTS];
#pragma unroll
        for (int k = 0; k < SLOTS; k++)
          if (READ >> k & 1) slots[k] = held(here, k, i);
        measure_rule(widened(here.x[i]), widened(here.g[i]), slots, here.scalars, sums);
      }
#pragma unroll
      for (int k = 0; k < SUMS; k++) shares[k][j] = sums[k];
    }
    __syncthreads();
    if (sum < SUMS)
      for (unsigned j = 0; j < SUMMED; j += 16) total += (double)shares[sum][j + turn];
    __syncthreads();
  }
  for (unsigned half = 8; half > 0; half /= 2) total += __shfl_down_sync(0xffffffffu, total, half, 16);
  if (sum < SUMS && turn == 0) out[(unsigned long long)blockIdx.x * SUMS + sum] = total;
}

// Adds up each tensor's rows of sums, neighbours first; the rows are spent.
extern "C" __global__ void __launch_bounds__(THREADS) total(double* rows, const Span* spans, double* out) {
  const Span span = spans[blockIdx.x];
  double* const mine = rows + (unsigned long long)span.first * SUMS;
  for (unsigned step = 1; step < span.count; step *= 2) {
    const unsigned pairs = (span.count - step + 2 * step - 1) / (2 * step);
    for (unsigned p = threadIdx.x; p < pairs * SUMS; p += THREADS) {
      const unsigned long long left = (unsigned long long)(p / SUMS) * 2 * step;
      mine[left * SUMS + p % SUMS] += mine[(left + step) * SUMS + p % SUMS];
    }
    __syncthreads();
  }
  if (threadIdx.x < SUMS) out[blockIdx.x * SUMS + threadIdx.x] = span.count ? mine[threadIdx.x] : 0.0;
}
#endif
