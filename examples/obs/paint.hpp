// Writes a picture over a frame of the same format, of any size.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "dreamframe.h"

class Painter {
 public:
  // Copies `picture` over `frame`, scaled bilinearly if their sizes differ. Both have the same format and origin.
  void paint(const dreamframe_frame_t &picture, const dreamframe_frame_t &frame) {
    const auto part = [&](size_t index, uint32_t channels, bool halved) {
      copy(plane(picture, index, channels, halved), plane(frame, index, channels, halved));
    };
    switch (frame.format) {
      case DREAMFRAME_PIXEL_FORMAT_BGRA8: part(0, 4, false); break;
      case DREAMFRAME_PIXEL_FORMAT_NV12:
        part(0, 1, false);
        part(1, 2, true);
        break;
      case DREAMFRAME_PIXEL_FORMAT_I420:
        part(0, 1, false);
        part(1, 1, true);
        part(2, 1, true);
        break;
      default: break;
    }
  }

 private:
  // One plane: `channels` bytes per pixel, rows `stride` bytes apart.
  struct Plane {
    uint8_t *bytes;
    size_t stride;
    uint32_t width, height, channels;
  };

  // The two rows or columns of the picture around one of the frame; `weight` of 256 is that of the second.
  struct Between {
    uint32_t first, second, weight;
  };

  static Plane plane(const dreamframe_frame_t &frame, size_t index, uint32_t channels, bool halved) {
    const auto side = [halved](uint32_t whole) { return halved ? (whole + 1) / 2 : whole; };
    return {frame.planes[index], frame.strides[index], side(frame.width), side(frame.height), channels};
  }

  static Between between(uint32_t at, uint32_t size, uint32_t picture_size) {
    // Centres of pixels, in 256ths: (at + 0.5) * picture_size / size - 0.5.
    const int64_t place = int64_t(2 * at + 1) * picture_size * 128 / size - 128;
    const int64_t kept = std::clamp<int64_t>(place, 0, (int64_t(picture_size) - 1) * 256);
    const auto first = static_cast<uint32_t>(kept / 256);
    return {first, std::min(first + 1, picture_size - 1), static_cast<uint32_t>(kept % 256)};
  }

  void copy(const Plane &from, const Plane &to) {
    if (from.width != to.width || from.height != to.height) return stretch(from, to);
    for (uint32_t y = 0; y < to.height; ++y) {
      std::memcpy(to.bytes + y * to.stride, from.bytes + y * from.stride, size_t(to.width) * to.channels);
    }
  }

  void stretch(const Plane &from, const Plane &to) {
    columns_.clear();
    for (uint32_t x = 0; x < to.width; ++x) columns_.push_back(between(x, to.width, from.width));
    for (uint32_t y = 0; y < to.height; ++y) {
      const Between rows = between(y, to.height, from.height);
      const uint8_t *above = from.bytes + rows.first * from.stride, *below = from.bytes + rows.second * from.stride;
      uint8_t *out = to.bytes + y * to.stride;
      for (const Between &column : columns_) {
        const uint32_t left = column.first * from.channels, right = column.second * from.channels;
        for (uint32_t c = 0; c < from.channels; ++c) {
          const uint32_t top = above[left + c] * (256 - column.weight) + above[right + c] * column.weight;
          const uint32_t bottom = below[left + c] * (256 - column.weight) + below[right + c] * column.weight;
          *out++ = static_cast<uint8_t>((top * (256 - rows.weight) + bottom * rows.weight + 32768) / 65536);
        }
      }
    }
  }

  std::vector<Between> columns_;
};
