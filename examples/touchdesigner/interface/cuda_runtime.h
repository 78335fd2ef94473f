// As much of CUDA's runtime interface as the TOP uses, to compile and test it where CUDA is not. Written for this project
// from facts in NVIDIA's documentation: names, arguments and the order of work on a stream. The functions are those of the
// program that loads the TOP, whose "device" is memory of the host.
#ifndef DREAMFRAME_CUDA_RUNTIME_INTERFACE_H
#define DREAMFRAME_CUDA_RUNTIME_INTERFACE_H

#include <cstddef>

// Addresses of this stub are those of ONNX Runtime's provider `cpu`.
#define DREAMFRAME_CUDART_MEMORY DREAMFRAME_FRAME_MEMORY_HOST

struct cudaArray;
typedef cudaArray *cudaArray_t;
typedef struct CUstream_st *cudaStream_t;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorMemoryAllocation = 2 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };

extern "C" {
const char *cudaGetErrorString(cudaError_t error);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaStreamCreate(cudaStream_t *stream);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaMalloc(void **address, size_t bytes);
cudaError_t cudaFree(void *address);
cudaError_t cudaMemcpy2DFromArrayAsync(void *to, size_t pitch, cudaArray_t from, size_t x, size_t y, size_t width,
                                       size_t height, cudaMemcpyKind kind, cudaStream_t stream);
cudaError_t cudaMemcpy2DToArrayAsync(cudaArray_t to, size_t x, size_t y, const void *from, size_t pitch, size_t width,
                                     size_t height, cudaMemcpyKind kind, cudaStream_t stream);
}

#endif
