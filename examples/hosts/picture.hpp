// Frames and pictures of these plug-ins.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "dreamframe.hpp"

namespace hosts {

// The memory layout and colour encoding of pixels, independent of the size.
struct Layout {
  dreamframe::PixelFormat format = dreamframe::PixelFormat::Bgra8;
  dreamframe::Origin origin = dreamframe::Origin::TopLeft;
  dreamframe::YuvMatrix matrix = dreamframe::YuvMatrix::Bt709;
  dreamframe::YuvRange range = dreamframe::YuvRange::Limited;

  bool operator==(const Layout &other) const {
    return format == other.format && origin == other.origin && matrix == other.matrix && range == other.range;
  }
};

// A frame without its planes.
inline dreamframe_frame_t described(const Layout &layout, uint32_t width, uint32_t height) {
  dreamframe_frame_t frame = DREAMFRAME_FRAME_INIT;
  frame.width = width;
  frame.height = height;
  frame.format = static_cast<uint32_t>(layout.format);
  frame.origin = static_cast<uint32_t>(layout.origin);
  frame.matrix = static_cast<uint32_t>(layout.matrix);
  frame.range = static_cast<uint32_t>(layout.range);
  return frame;
}

// The number of bytes of pixels with contiguous rows and planes.
inline size_t packed_bytes(dreamframe::PixelFormat format, size_t width, size_t height) {
  switch (format) {
    case dreamframe::PixelFormat::Rgba16F: return width * height * 8;
    case dreamframe::PixelFormat::Nv12:
    case dreamframe::PixelFormat::I420: return width * height + (width + 1) / 2 * ((height + 1) / 2) * 2;
    case dreamframe::PixelFormat::Rgb8: return width * height * 3;
    case dreamframe::PixelFormat::Rgba8:
    case dreamframe::PixelFormat::Bgra8: break;
  }
  return width * height * 4;
}

// A picture; without pixels if there is none yet.
struct Picture {
  uint32_t width = 0, height = 0;
  Layout layout;
  std::vector<uint8_t> pixels;

  dreamframe::FrameViewMut view() {
    return dreamframe::FrameViewMut(layout.format, width, height, pixels)
        .origin(layout.origin)
        .color(layout.matrix, layout.range);
  }
};

}  // namespace hosts
