// A stub of TouchDesigner: textures, parameters and a node that calls a TOP as the real host does, in the same order and
// on one thread.
#pragma once

#include <dlfcn.h>

#include <atomic>
#include <cmath>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "../check.hpp"
#include "TOP_CPlusPlusBase.h"
#include "cuda.hpp"

namespace stub {

using namespace TD;

// --- Half precision, for values in 0..=1 ---

inline uint16_t to_half(double value) {
  if (value < 1.0 / 16384) return uint16_t(std::lround(value * 16777216));  // subnormal: steps of 2^-24
  int exponent;
  const double fraction = std::frexp(value, &exponent);  // 0.5 <= fraction < 1
  const long bits = std::lround(fraction * 2048);        // 1024 ..= 2048
  return uint16_t(((exponent + 14) << 10) + (bits - 1024));
}

inline double from_half(uint16_t bits) {
  const int exponent = bits >> 10, fraction = bits & 1023;
  return exponent == 0 ? fraction / 16777216.0 : std::ldexp(1024 + fraction, exponent - 25);
}

// --- Textures: bottom row first, without gaps ---

struct Texture {
  OP_TextureDesc desc;
  std::vector<uint8_t> bytes;
};

inline size_t pixel_bytes(OP_PixelFormat format) {
  switch (format) {
    case OP_PixelFormat::BGRA8Fixed:
    case OP_PixelFormat::RGBA8Fixed: return 4;
    case OP_PixelFormat::RGBA16Float: return 8;
    case OP_PixelFormat::RGBA32Float: return 16;
    default: CHECK(false, "format %d", int(format));
  }
}

// Writes one channel (0 red .. 3 alpha) of a pixel.
inline void put(uint8_t *pixel, OP_PixelFormat format, int channel, double value) {
  const bool blue_first = format == OP_PixelFormat::BGRA8Fixed;
  const int place = blue_first && channel < 3 ? 2 - channel : channel;
  if (pixel_bytes(format) == 4) {
    pixel[place] = uint8_t(std::lround(value * 255));
  } else if (format == OP_PixelFormat::RGBA16Float) {
    const uint16_t half = to_half(value);
    std::memcpy(pixel + 2 * place, &half, 2);
  } else {
    const float number = float(value);
    std::memcpy(pixel + 4 * place, &number, 4);
  }
}

inline double get(const uint8_t *pixel, OP_PixelFormat format, int channel) {
  const bool blue_first = format == OP_PixelFormat::BGRA8Fixed;
  const int place = blue_first && channel < 3 ? 2 - channel : channel;
  if (pixel_bytes(format) == 4) return pixel[place] / 255.0;
  if (format == OP_PixelFormat::RGBA16Float) {
    uint16_t half;
    std::memcpy(&half, pixel + 2 * place, 2);
    return from_half(half);
  }
  float number;
  std::memcpy(&number, pixel + 4 * place, 4);
  return number;
}

inline Texture texture(const Image &image, OP_PixelFormat format) {
  Texture made;
  made.desc.width = image.width;
  made.desc.height = image.height;
  made.desc.texDim = OP_TexDim::e2D;
  made.desc.pixelFormat = format;
  const size_t size = pixel_bytes(format);
  made.bytes.resize(size * image.width * image.height);
  for (uint32_t y = 0; y < image.height; ++y) {
    for (uint32_t x = 0; x < image.width; ++x) {
      uint8_t *pixel = &made.bytes[(size_t(image.height - 1 - y) * image.width + x) * size];
      const Colour colour = image.at(x, y);
      const double channels[] = {colour.r / 255.0, colour.g / 255.0, colour.b / 255.0, 1.0};
      for (int channel = 0; channel < 4; ++channel) put(pixel, format, channel, channels[channel]);
    }
  }
  return made;
}

inline Image image(const Texture &texture) {
  Image made(texture.desc.width, texture.desc.height);
  const size_t size = pixel_bytes(texture.desc.pixelFormat);
  for (uint32_t y = 0; y < made.height; ++y) {
    for (uint32_t x = 0; x < made.width; ++x) {
      const uint8_t *pixel = &texture.bytes[(size_t(made.height - 1 - y) * made.width + x) * size];
      uint8_t channels[3];
      for (int c = 0; c < 3; ++c) channels[c] = uint8_t(std::lround(get(pixel, texture.desc.pixelFormat, c) * 255));
      made.at(x, y) = {channels[0], channels[1], channels[2]};
    }
  }
  return made;
}

// As the GPU does it where a download asks for another format.
inline Texture converted(const Texture &from, OP_PixelFormat format) {
  if (format == OP_PixelFormat::Invalid || format == from.desc.pixelFormat) return from;
  Texture made = from;
  made.desc.pixelFormat = format;
  const size_t old_size = pixel_bytes(from.desc.pixelFormat), size = pixel_bytes(format);
  made.bytes.assign(from.bytes.size() / old_size * size, 0);
  for (size_t i = 0; i < from.bytes.size() / old_size; ++i) {
    for (int c = 0; c < 4; ++c) {
      put(&made.bytes[i * size], format, c, get(&from.bytes[i * old_size], from.desc.pixelFormat, c));
    }
  }
  return made;
}

// --- What the host counts ---

struct Counts {
  std::atomic<int> alive{0};   // buffers and downloads that somebody still holds
  std::atomic<int> stalls{0};  // downloads that were waited for
  int64_t cook = 0;
};
inline Counts counts;

template <class Base>
class Counted : public Base {
 public:
  Counted() { ++counts.alive; }
  ~Counted() override { --counts.alive; }

 protected:
  void acquire() override { ++references_; }
  void release() override {
    if (--references_ == 0) delete this;
  }

 private:
  std::atomic<int> references_{0};
};

class Text final : public OP_String {
 public:
  void setString(const char *text) override {
    CHECK(text, "a string is null");
    value = text;
  }
  std::string value;
};

class Buffer final : public Counted<TOP_Buffer> {
 public:
  explicit Buffer(uint64_t bytes) : storage(bytes) {
    data = storage.data();
    size = bytes;
  }
  std::vector<uint8_t> storage;
};

class Download final : public Counted<OP_TOPDownloadResult> {
 public:
  explicit Download(Texture texture) : texture_(std::move(texture)), asked_(counts.cook) {
    size = texture_.bytes.size();
    textureDesc = texture_.desc;
  }
  void *getData() override {
    if (counts.cook == asked_) ++counts.stalls;
    return texture_.bytes.data();
  }

 private:
  Texture texture_;
  int64_t asked_;
};

// The arrays of one cook, which are valid between `begin` and `end`.
class CudaCook {
 public:
  OP_CUDAArrayInfo *add(const OP_TextureDesc &desc, uint8_t *bytes, cudaStream_t stream) {
    CHECK(!begun_, "an array is asked for after the begin of CUDA operations");
    CHECK(stream, "an array without a stream");
    Array &array = arrays_.emplace_back();
    array.info.textureDesc = desc;
    array.memory = {bytes, pixel_bytes(desc.pixelFormat) * desc.width, desc.height};
    stream_ = stream;
    return &array.info;
  }
  void begin() {
    CHECK(!begun_, "CUDA operations begin twice");
    begun_ = true;
    for (Array &array : arrays_) array.info.cudaArray = &array.memory;
  }
  // The host waits for the stream before it uses textures again.
  void end() {
    CHECK(begun_, "CUDA operations end without a begin");
    begun_ = false;
    cudaStreamSynchronize(stream_);
    arrays_.clear();
  }
  bool begun() const { return begun_; }

 private:
  struct Array {
    OP_CUDAArrayInfo info;
    cudaArray memory;
  };
  std::list<Array> arrays_;
  cudaStream_t stream_ = nullptr;
  bool begun_ = false;
};
inline CudaCook cuda_cook;

class Input final : public OP_TOPInput {
 public:
  explicit Input(const Texture &texture) : texture_(texture) { textureDesc = texture.desc; }
  const OP_CUDAArrayInfo *getCUDAArray(const OP_CUDAAcquireInfo &info, void *) const override {
    return cuda_cook.add(texture_.desc, const_cast<uint8_t *>(texture_.bytes.data()), info.stream);
  }
  OP_SmartRef<OP_TOPDownloadResult> downloadTexture(const OP_TOPInputDownloadOptions &options, void *) const override {
    CHECK(textureDesc.texDim == OP_TexDim::e2D || options.pixelFormat == OP_PixelFormat::Invalid,
          "only 2D textures are converted");
    return OP_SmartRef<OP_TOPDownloadResult>(new Download(converted(texture_, options.pixelFormat)));
  }

 private:
  const Texture &texture_;
};

class Context final : public TOP_Context {
 public:
  OP_SmartRef<TOP_Buffer> createOutputBuffer(uint64_t size, TOP_BufferFlags, void *) override {
    return OP_SmartRef<TOP_Buffer>(new Buffer(size));
  }
  bool beginCUDAOperations(void *) override {
    cuda_cook.begin();
    return true;
  }
  void endCUDAOperations(void *) override { cuda_cook.end(); }
  int32_t getCUDADeviceIndex() const override { return 0; }
};

// --- The plug-in's file ---

class Plugin {
 public:
  explicit Plugin(const char *path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    CHECK(handle_, "%s", dlerror());
    find("FillTOPPluginInfo", fill);
    find("CreateTOPInstance", create);
    find("DestroyTOPInstance", destroy);
  }
  ~Plugin() { CHECK(dlclose(handle_) == 0, "%s", dlerror()); }

  void (*fill)(TOP_PluginInfo *);
  TOP_CPlusPlusBase *(*create)(const OP_NodeInfo *, TOP_Context *);
  void (*destroy)(TOP_CPlusPlusBase *, TOP_Context *);

 private:
  template <class Function>
  void find(const char *name, Function &function) {
    void *symbol = dlsym(handle_, name);
    CHECK(symbol, "%s", dlerror());
    std::memcpy(&function, &symbol, sizeof(symbol));
  }
  void *handle_;
};

}  // namespace stub
