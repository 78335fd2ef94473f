// Common code of the examples: PPM files (P6, 8 bits), which need no library, and a `main` that prints errors.
#pragma once

#include <dreamframe.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <fstream>
#include <ios>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

/// Pixels of three bytes (red, green, blue), top row first.
struct Image {
  std::uint32_t width;
  std::uint32_t height;
  std::vector<std::uint8_t> pixels;

  Image(std::uint32_t width, std::uint32_t height) : width(width), height(height), pixels(std::size_t{3} * width * height) {}

  /// Reads a file.
  explicit Image(const std::string &path) : Image(std::ifstream(path, std::ios::binary), path) {}

  void write(const std::string &path) const {
    std::ofstream file(path, std::ios::binary);
    file << "P6\n" << width << ' ' << height << "\n255\n";
    file.write(reinterpret_cast<const char *>(pixels.data()), static_cast<std::streamsize>(pixels.size()));
    if (!file.flush()) {
      throw std::runtime_error(path + ": cannot be written");
    }
  }

  /// Returns a view of the image for the library, without a copy.
  dreamframe::FrameView frame() const { return {dreamframe::PixelFormat::Rgb8, width, height, pixels}; }
  dreamframe::FrameViewMut room() { return {dreamframe::PixelFormat::Rgb8, width, height, pixels}; }

private:
  Image(std::ifstream file, const std::string &path) : width(0), height(0) {
    std::string kind;
    std::uint32_t most = 0;
    if (!(file >> kind >> width >> height >> most) || kind != "P6" || most != 255 || width > 8192 || height > 8192) {
      throw std::runtime_error(path + ": cannot be read as a PPM file (P6, 8 bits, no comments)");
    }
    file.get();
    pixels.resize(std::size_t{3} * width * height);
    if (!file.read(reinterpret_cast<char *>(pixels.data()), static_cast<std::streamsize>(pixels.size()))) {
      throw std::runtime_error(path + ": ends before its pixels do");
    }
  }
};

/// Runs `program` with the arguments; an error is printed and ends the process.
template <class Program> int run(int argc, char **argv, Program program) {
  try {
    program(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
    return 0;
  } catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
