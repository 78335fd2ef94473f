// A stub of CUDA's runtime whose device is memory of the host. Copies are done when something waits for their stream.
#pragma once

#include <cuda_runtime.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "../check.hpp"

// A texture: rows of bytes without gaps.
struct cudaArray {
  uint8_t *bytes = nullptr;
  size_t row = 0;
  size_t rows = 0;
};

struct CUstream_st {
  std::mutex mutex;
  std::vector<std::function<void()>> work;
};

namespace stub {

inline std::atomic<int> device_allocations{0};

inline void copy_rows(uint8_t *to, size_t to_pitch, const uint8_t *from, size_t from_pitch, size_t width, size_t height) {
  for (size_t y = 0; y < height; ++y) std::memcpy(to + y * to_pitch, from + y * from_pitch, width);
}

inline cudaError_t later(cudaStream_t stream, std::function<void()> work) {
  CHECK(stream, "a copy without a stream");
  const std::lock_guard<std::mutex> lock(stream->mutex);
  stream->work.push_back(std::move(work));
  return cudaSuccess;
}

inline cudaError_t check_array(const cudaArray *array, size_t width, size_t height) {
  CHECK(array, "an array outside of CUDA operations");
  return width <= array->row && height <= array->rows ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace stub

extern "C" {

inline __attribute__((used)) const char *cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "invalid argument";
}
inline __attribute__((used)) cudaError_t cudaSetDevice(int device) {
  return device == 0 ? cudaSuccess : cudaErrorInvalidValue;
}
inline __attribute__((used)) cudaError_t cudaStreamCreate(cudaStream_t *stream) {
  *stream = new CUstream_st;
  return cudaSuccess;
}
inline __attribute__((used)) cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const std::lock_guard<std::mutex> lock(stream->mutex);
  for (const auto &work : std::exchange(stream->work, {})) work();
  return cudaSuccess;
}
inline __attribute__((used)) cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  CHECK(stream->work.empty(), "a stream is destroyed with work");
  delete stream;
  return cudaSuccess;
}
inline __attribute__((used)) cudaError_t cudaMalloc(void **address, size_t bytes) {
  *address = std::malloc(bytes);
  ++stub::device_allocations;
  return cudaSuccess;
}
inline __attribute__((used)) cudaError_t cudaFree(void *address) {
  if (address) --stub::device_allocations;
  std::free(address);
  return cudaSuccess;
}
inline __attribute__((used)) cudaError_t cudaMemcpy2DFromArrayAsync(void *to, size_t pitch, cudaArray_t from, size_t,
                                                                    size_t, size_t width, size_t height, cudaMemcpyKind,
                                                                    cudaStream_t stream) {
  if (const cudaError_t error = stub::check_array(from, width, height)) return error;
  const cudaArray array = *from;
  return stub::later(stream, [=] {
    stub::copy_rows(static_cast<uint8_t *>(to), pitch, array.bytes, array.row, width, height);
  });
}
inline __attribute__((used)) cudaError_t cudaMemcpy2DToArrayAsync(cudaArray_t to, size_t, size_t, const void *from,
                                                                  size_t pitch, size_t width, size_t height,
                                                                  cudaMemcpyKind, cudaStream_t stream) {
  if (const cudaError_t error = stub::check_array(to, width, height)) return error;
  const cudaArray array = *to;
  return stub::later(stream, [=] {
    stub::copy_rows(array.bytes, array.row, static_cast<const uint8_t *>(from), pitch, width, height);
  });
}
}
