// Processes frames in the memory of a CUDA device: an engine on a thread of its own, and copies of the newest frame and of
// the newest picture between threads.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "../hosts/live.hpp"

// The memory of `cudaMalloc`; the stub of CUDA for tests has another kind.
#ifndef DREAMFRAME_CUDART_MEMORY
#define DREAMFRAME_CUDART_MEMORY DREAMFRAME_FRAME_MEMORY_CUDA
#endif

namespace cuda {

inline void check(cudaError_t status) {
  if (status != cudaSuccess) throw std::runtime_error(std::string("CUDA: ") + cudaGetErrorString(status));
}

// A stream for all copies of a node.
class Stream {
 public:
  Stream() { check(cudaStreamCreate(&raw_)); }
  Stream(const Stream &) = delete;
  ~Stream() { cudaStreamDestroy(raw_); }
  cudaStream_t get() const { return raw_; }

 private:
  cudaStream_t raw_ = nullptr;
};

// Pixels of 4 bytes in linear memory of the device, without gaps between rows.
class Pixels {
 public:
  Pixels() = default;
  Pixels(const Pixels &) = delete;
  ~Pixels() { cudaFree(address_); }

  // Contents are lost if they become larger. Work on them must be finished then.
  void resize(uint32_t width, uint32_t height) {
    const size_t bytes = size_t(width) * height * 4;
    if (bytes > bytes_) {
      check(cudaFree(std::exchange(address_, nullptr)));
      bytes_ = 0;
      check(cudaMalloc(&address_, bytes));
      bytes_ = bytes;
    }
    width_ = width;
    height_ = height;
  }
  bool empty() const { return width_ == 0; }
  uint32_t width() const { return width_; }
  uint32_t height() const { return height_; }

  // Queues a copy from or to a texture of the same size.
  void read(cudaArray_t from, const Stream &stream) {
    check(cudaMemcpy2DFromArrayAsync(address_, row(), from, 0, 0, row(), height_, cudaMemcpyDeviceToDevice, stream.get()));
  }
  void write(cudaArray_t to, const Stream &stream) const {
    check(cudaMemcpy2DToArrayAsync(to, 0, 0, address_, row(), row(), height_, cudaMemcpyDeviceToDevice, stream.get()));
  }

  dreamframe_device_frame_t frame(std::pair<uint32_t, uint32_t> memory, dreamframe::PixelFormat format) const {
    dreamframe_device_frame_t frame = DREAMFRAME_DEVICE_FRAME_INIT;
    frame.width = width_;
    frame.height = height_;
    frame.format = static_cast<uint32_t>(format);
    frame.origin = static_cast<uint32_t>(dreamframe::Origin::BottomLeft);
    frame.memory = memory.first;
    frame.device = memory.second;
    frame.address = address_;
    frame.stride = row();
    return frame;
  }

 private:
  size_t row() const { return size_t(width_) * 4; }

  void *address_ = nullptr;
  size_t bytes_ = 0;
  uint32_t width_ = 0, height_ = 0;
};

// The newest value, from a thread that writes to one that reads, without copies. Each thread has a value of its own.
template <class T>
class Newest {
 public:
  T &written() { return *back_; }
  T &read() { return *front_; }
  // Makes the written value the newest; returns whether it replaces one that was not read.
  bool publish() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::swap(back_, middle_);
    return std::exchange(fresh_, true);
  }
  // Replaces the read value by the newest; returns whether there is one.
  bool take() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!fresh_) return false;
    fresh_ = false;
    std::swap(front_, middle_);
    return true;
  }

 private:
  T values_[3];
  std::mutex mutex_;
  T *back_ = &values_[0], *middle_ = &values_[1], *front_ = &values_[2];
  bool fresh_ = false;
};

struct Frame {
  Pixels pixels;
  dreamframe::PixelFormat format = dreamframe::PixelFormat::Bgra8;
};

class CudaLoop final : public hosts::Loop {
 public:
  // The engine's memory of frames is that of the device `device`, on which the stream is.
  CudaLoop(dreamframe::Engine &engine, int device, std::shared_ptr<Stream> stream)
      : engine_(engine), device_(device), stream_(std::move(stream)), thread_([this] { run(); }) {}
  ~CudaLoop() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ended_ = true;
    }
    news_.notify_one();
    thread_.join();
    cudaStreamSynchronize(stream_->get());
  }

  void update(std::string patch_json) override { add({std::move(patch_json), false}); }
  void transition(std::string transition_json) override { add({std::move(transition_json), true}); }

  std::optional<std::string> next_outcome() override {
    const std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(outcome_, std::nullopt);
  }

  dreamframe::Stats stats() const override {
    dreamframe::Stats stats = DREAMFRAME_STATS_INIT;
    stats.submitted = submitted_;
    stats.dropped = dropped_;
    stats.computed = computed_;
    stats.failed = failed_;
    stats.computed_per_second = per_second_;
    return stats;
  }

  // For the thread that cooks: queues a copy of a texture, which becomes the newest frame.
  void submit(cudaArray_t from, uint32_t width, uint32_t height, dreamframe::PixelFormat format) {
    Frame &frame = frames_.written();
    if (frame.pixels.width() != width || frame.pixels.height() != height) {
      check(cudaStreamSynchronize(stream_->get()));
      frame.pixels.resize(width, height);
    }
    frame.format = format;
    frame.pixels.read(from, *stream_);
    ++submitted_;
    if (frames_.publish()) ++dropped_;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      has_frame_ = true;
    }
    news_.notify_one();
  }

  // For the thread that cooks: the newest picture, in BGRA8; without pixels before the first. It is valid until the next call.
  const Pixels &picture() {
    pictures_.take();
    return pictures_.read();
  }

 private:
  // A patch of parameters, or a transition of the prompt.
  struct Change {
    std::string json;
    bool is_transition;
  };

  void add(Change change) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      changes_.push_back(std::move(change));
    }
    news_.notify_one();
  }

  void run() {
    cudaSetDevice(device_);
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      news_.wait(lock, [this] { return ended_ || has_frame_ || !changes_.empty(); });
      if (ended_) return;
      const std::vector<Change> changes = std::exchange(changes_, {});
      const bool has_frame = std::exchange(has_frame_, false);
      lock.unlock();
      std::optional<std::string> outcome;
      for (const Change &change : changes) {
        const std::string error = failure([&] { apply(change); });
        outcome = outcome && !outcome->empty() ? outcome : error;
      }
      if (has_frame && frames_.take()) {
        const std::string error = failure([&] { process(frames_.read()); });
        ++(error.empty() ? computed_ : failed_);
        if (!error.empty() || frame_failed_) outcome = error;
        frame_failed_ = !error.empty();
      }
      lock.lock();
      if (outcome) outcome_ = std::move(outcome);
    }
  }

  void apply(const Change &change) {
    if (change.is_transition) {
      engine_.transition(change.json);
    } else {
      engine_.update(change.json);
    }
  }

  void process(const Frame &frame) {
    // The copy of the frame is finished then, and so are copies of the picture that is replaced.
    check(cudaStreamSynchronize(stream_->get()));
    Pixels &picture = pictures_.written();
    const auto [width, height] = engine_.size();
    picture.resize(width, height);
    const std::pair<uint32_t, uint32_t> memory = engine_.frame_memory();
    engine_.process_device(frame.pixels.frame(memory, frame.format),
                           picture.frame(memory, dreamframe::PixelFormat::Bgra8));
    pictures_.publish();
    const auto now = std::chrono::steady_clock::now();
    const std::chrono::duration<float> interval = now - std::exchange(last_, now);
    // The first interval has no begin; the others are averaged over about eight.
    if (timed_) interval_ += (interval.count() - interval_) / std::min(timed_, 8.0f);
    if (timed_ && interval_ > 0) per_second_ = 1 / interval_;
    ++timed_;
  }

  template <class Call>
  static std::string failure(Call &&call) {
    try {
      call();
      return {};
    } catch (const std::exception &error) {
      return error.what();
    }
  }

  dreamframe::Engine &engine_;
  const int device_;
  const std::shared_ptr<Stream> stream_;
  Newest<Frame> frames_;
  Newest<Pixels> pictures_;
  std::atomic<uint64_t> submitted_{0}, dropped_{0}, computed_{0}, failed_{0};
  std::atomic<float> per_second_{0};
  // Used by the loop's thread.
  bool frame_failed_ = false;
  std::chrono::steady_clock::time_point last_;  // the end of the last frame
  float interval_ = 0;                          // between pictures, in seconds
  float timed_ = 0;                             // number of pictures

  std::mutex mutex_;
  std::condition_variable news_;
  std::vector<Change> changes_;
  std::optional<std::string> outcome_;
  bool has_frame_ = false;
  bool ended_ = false;

  std::thread thread_;  // last member: it uses all of the above
};

}  // namespace cuda
