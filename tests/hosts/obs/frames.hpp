// Frames as the stub of OBS has them: rows with gaps between them, YUV by the book.
#pragma once

#include <cmath>

#include "host.hpp"

namespace stub {

// What the bytes of a frame mean, besides its format.
struct Meaning {
  bool bt601 = false, full = false, flip = false;
};

// Gaps are filled with this, and must stay so.
constexpr uint8_t gap = 0xA5;

class Frame {
 public:
  Frame(const Image &image, video_format format, Meaning meaning = {}) : meaning_(meaning) {
    host.width = image.width;
    host.height = image.height;
    host.format = format;
    host.full_range = meaning.full || format == VIDEO_FORMAT_BGRA;
    host.flip = meaning.flip;
    host.timestamp = 1000;
    set_matrix();
    lay_out();
    write(image);
    original_ = bytes_;
  }
  Frame(const Frame &) = delete;

  obs_source_frame host{};

  // Puts the original pixels back, as the next frame of a camera that stands still.
  void renew() {
    std::copy(original_.begin(), original_.end(), bytes_.begin());
    host.timestamp += 16'666'667;
  }
  bool is_original() const { return bytes_ == original_; }
  const std::vector<uint8_t> &bytes() const { return bytes_; }
  // Tells whether nothing was written between rows.
  bool gaps_are_kept() const {
    for (size_t plane = 0; plane < planes_.size(); ++plane) {
      for (uint32_t y = 0; y < planes_[plane].rows; ++y) {
        const uint8_t *row = host.data[plane] + size_t(y) * host.linesize[plane];
        for (uint32_t x = planes_[plane].row_bytes; x < host.linesize[plane]; ++x) {
          if (row[x] != gap) return false;
        }
      }
    }
    return true;
  }
  // The pixels of plane 0, 1, 2 one after the other, without gaps.
  std::vector<uint8_t> packed() const {
    std::vector<uint8_t> all;
    for (size_t plane = 0; plane < planes_.size(); ++plane) {
      for (uint32_t y = 0; y < planes_[plane].rows; ++y) {
        const uint8_t *row = host.data[plane] + size_t(y) * host.linesize[plane];
        all.insert(all.end(), row, row + planes_[plane].row_bytes);
      }
    }
    return all;
  }

  Image image() const {
    Image made(host.width, host.height);
    for (uint32_t y = 0; y < made.height; ++y) {
      for (uint32_t x = 0; x < made.width; ++x) made.at(x, meaning_.flip ? made.height - 1 - y : y) = colour(x, y);
    }
    return made;
  }

 private:
  struct Plane {
    uint32_t row_bytes, rows;
  };

  double kr() const { return meaning_.bt601 ? 0.299 : 0.2126; }
  double kb() const { return meaning_.bt601 ? 0.114 : 0.0722; }
  // Bytes from black to white, and from no red or blue to all of it.
  double luma() const { return meaning_.full ? 255 : 219; }
  double chroma() const { return meaning_.full ? 255 : 224; }
  double black() const { return meaning_.full ? 0 : 16; }

  void set_matrix() {
    if (host.format == VIDEO_FORMAT_BGRA) return;
    const double kg = 1 - kr() - kb(), y = 255 / luma(), c = 255 / chroma();
    const double rows[3][3] = {{y, 0, 2 * (1 - kr()) * c},
                               {y, -2 * (1 - kb()) * kb() / kg * c, -2 * (1 - kr()) * kr() / kg * c},
                               {y, 2 * (1 - kb()) * c, 0}};
    for (int row = 0; row < 3; ++row) {
      for (int column = 0; column < 3; ++column) host.color_matrix[4 * row + column] = float(rows[row][column]);
      host.color_matrix[4 * row + 3] =
          float(-rows[row][0] * black() / 255 - (rows[row][1] + rows[row][2]) * 128 / 255);
    }
    host.color_matrix[15] = 1;
  }

  void lay_out() {
    const uint32_t w = host.width, h = host.height, half_w = (w + 1) / 2, half_h = (h + 1) / 2;
    switch (host.format) {
      case VIDEO_FORMAT_BGRA: planes_ = {{4 * w, h}}; break;
      case VIDEO_FORMAT_YUY2: planes_ = {{4 * half_w, h}}; break;
      case VIDEO_FORMAT_NV12: planes_ = {{w, h}, {2 * half_w, half_h}}; break;
      case VIDEO_FORMAT_I420: planes_ = {{w, h}, {half_w, half_h}, {half_w, half_h}}; break;
      case VIDEO_FORMAT_NONE: CHECK(false, "no format");
    }
    size_t size = 0;
    for (size_t plane = 0; plane < planes_.size(); ++plane) {
      host.linesize[plane] = (planes_[plane].row_bytes + 63) / 32 * 32;
      size += size_t(host.linesize[plane]) * planes_[plane].rows;
    }
    bytes_.assign(size, gap);
    uint8_t *data = bytes_.data();
    for (size_t plane = 0; plane < planes_.size(); ++plane) {
      host.data[plane] = data;
      data += size_t(host.linesize[plane]) * planes_[plane].rows;
    }
  }

  uint8_t *pixel(size_t plane, uint32_t x, uint32_t y, uint32_t size) {
    return host.data[plane] + size_t(y) * host.linesize[plane] + size_t(x) * size;
  }
  const uint8_t *pixel(size_t plane, uint32_t x, uint32_t y, uint32_t size) const {
    return host.data[plane] + size_t(y) * host.linesize[plane] + size_t(x) * size;
  }

  void write(const Image &image) {
    for (uint32_t y = 0; y < host.height; ++y) {
      for (uint32_t x = 0; x < host.width; ++x) {
        const Colour c = image.at(x, meaning_.flip ? host.height - 1 - y : y);
        if (host.format == VIDEO_FORMAT_BGRA) {
          const uint8_t bytes[] = {c.b, c.g, c.r, 255};
          std::copy(bytes, bytes + 4, pixel(0, x, y, 4));
          continue;
        }
        const double light = kr() * c.r + (1 - kr() - kb()) * c.g + kb() * c.b;
        const auto byte = [](double value) { return uint8_t(std::lround(std::clamp(value, 0.0, 255.0))); };
        const uint8_t luma_byte = byte(black() + light * luma() / 255);
        const uint8_t cb = byte(128 + (c.b - light) / (2 * (1 - kb())) * chroma() / 255);
        const uint8_t cr = byte(128 + (c.r - light) / (2 * (1 - kr())) * chroma() / 255);
        write_yuv(x, y, luma_byte, cb, cr);
      }
    }
  }

  void write_yuv(uint32_t x, uint32_t y, uint8_t luma_byte, uint8_t cb, uint8_t cr) {
    switch (host.format) {
      case VIDEO_FORMAT_YUY2:
        *pixel(0, x, y, 2) = luma_byte;
        pixel(0, x / 2, y, 4)[1] = cb;
        pixel(0, x / 2, y, 4)[3] = cr;
        return;
      case VIDEO_FORMAT_NV12:
        pixel(1, x / 2, y / 2, 2)[0] = cb;
        pixel(1, x / 2, y / 2, 2)[1] = cr;
        break;
      default:
        *pixel(1, x / 2, y / 2, 1) = cb;
        *pixel(2, x / 2, y / 2, 1) = cr;
    }
    *pixel(0, x, y, 1) = luma_byte;
  }

  Colour colour(uint32_t x, uint32_t y) const {
    if (host.format == VIDEO_FORMAT_BGRA) {
      const uint8_t *bytes = pixel(0, x, y, 4);
      return {bytes[2], bytes[1], bytes[0]};
    }
    const bool pairs = host.format == VIDEO_FORMAT_NV12;
    CHECK(pairs || host.format == VIDEO_FORMAT_I420, "format %d", int(host.format));
    const double values[] = {double(*pixel(0, x, y, 1)), double(pairs ? pixel(1, x / 2, y / 2, 2)[0] : *pixel(1, x / 2, y / 2, 1)),
                             double(pairs ? pixel(1, x / 2, y / 2, 2)[1] : *pixel(2, x / 2, y / 2, 1))};
    uint8_t out[3];
    for (int row = 0; row < 3; ++row) {
      double sum = 255 * host.color_matrix[4 * row + 3];
      for (int column = 0; column < 3; ++column) sum += host.color_matrix[4 * row + column] * values[column];
      out[row] = uint8_t(std::lround(std::clamp(sum, 0.0, 255.0)));
    }
    return {out[0], out[1], out[2]};
  }

  Meaning meaning_;
  std::vector<Plane> planes_;
  std::vector<uint8_t> bytes_, original_;
};

}  // namespace stub
