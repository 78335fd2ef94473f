// The style image: a file that is read on another thread, since a host's calls must not wait for a disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "dreamframe.hpp"

namespace hosts {

class StyleImage {
 public:
  // Begins to read `source` if it is another one than before; returns whether the value or the error may have changed.
  // The destructor waits until reading has ended.
  bool follow(const std::string &source) {
    if (!reading_.valid() && source != source_) {
      source_ = source;
      reading_ = std::async(std::launch::async, read, source);
    }
    if (!reading_.valid() || reading_.wait_for(std::chrono::seconds(0)) != std::future_status::ready) return false;
    try {
      value_ = reading_.get();
      known_ = true;
      error_.clear();
    } catch (const std::exception &failure) {
      error_ = std::string("Style Image: ") + failure.what();
    }
    return true;
  }

  // Whether there has been a source.
  bool is_known() const { return known_; }

  // The last image that could be read, as the parameter `ip_adapter_style_image_url`.
  const std::string &value() const { return value_; }

  // Why the newest one could not be read; empty otherwise.
  const std::string &error() const { return error_; }

 private:
  static std::string read(const std::string &source) {
    constexpr std::uintmax_t most = 32 << 20;
    if (source.empty() || source.rfind("data:", 0) == 0) return source;
    const std::filesystem::path path = std::filesystem::u8path(source);
    const std::uintmax_t size = std::filesystem::file_size(path);
    if (size > most) {
      throw std::runtime_error("got a file of " + std::to_string(size) + " bytes, expected at most " + std::to_string(most));
    }
    std::ifstream file(path, std::ios::binary);
    const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (bytes.size() != size) throw std::runtime_error("failed to read " + source);
    return dreamframe::style_data_uri(reinterpret_cast<const std::uint8_t *>(bytes.data()), bytes.size());
  }

  std::string source_, value_, error_;
  bool known_ = false;
  std::future<std::string> reading_;
};

}  // namespace hosts
