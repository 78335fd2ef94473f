// What the C library gives by itself: the pictures that a plug-in must show.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "check.hpp"
#include "dreamframe.h"

// A frame and the memory that its planes point to.
struct Still {
  dreamframe_frame_t frame;
  std::vector<uint8_t> pixels;
};

// An image, top row first, in RGBA8.
inline Still still_rgba(const Image &image) {
  Still still;
  for (const Colour &colour : image.pixels) {
    const uint8_t bytes[] = {colour.r, colour.g, colour.b, 255};
    still.pixels.insert(still.pixels.end(), bytes, bytes + 4);
  }
  still.frame = DREAMFRAME_FRAME_INIT;
  CHECK(dreamframe_frame_packed(DREAMFRAME_PIXEL_FORMAT_RGBA8, image.width, image.height, still.pixels.data(),
                                still.pixels.size(), &still.frame) == DREAMFRAME_OK,
        "%s", dreamframe_last_error());
  return still;
}

// The bytes of an image in RGBA8, top row first.
inline std::vector<uint8_t> rgba(const Image &image) { return still_rgba(image).pixels; }

class Reference {
 public:
  // `side` is that of the pictures, which have the layout of the frame.
  Reference(uint32_t side, dreamframe_fit_t fit, Still still, dreamframe_options_t options = DREAMFRAME_OPTIONS_INIT)
      : side_(side), still_(std::move(still)) {
    options.fit = fit;
    const std::string size = "{\"width\":" + std::to_string(side) + ",\"height\":" + std::to_string(side) + "}";
    char *params = nullptr;
    CHECK(dreamframe_params_merge(nullptr, size.c_str(), &params) == DREAMFRAME_OK, "%s", dreamframe_last_error());
    options.params_json = params;
    CHECK(dreamframe_engine_create(&options, &engine_) == DREAMFRAME_OK, "%s", dreamframe_last_error());
    dreamframe_string_free(params);
  }
  Reference(const Reference &) = delete;
  ~Reference() { dreamframe_engine_free(engine_); }

  // Works on the same frame again and again until it gives this picture; those before do not count any more.
  bool reaches(const std::vector<uint8_t> &picture) {
    for (int tries = 0; tries < 400; ++tries) {
      if (!all_.empty() && all_.back() == picture) return true;
      make_one();
    }
    return false;
  }

  // The picture that comes out when another frame of the same layout goes in.
  const std::vector<uint8_t> &next(Still still) {
    still_ = std::move(still);
    make_one();
    return all_.back();
  }

  // Tells whether one of the pictures so far is this.
  bool has(const std::vector<uint8_t> &picture) const {
    return std::find(all_.begin(), all_.end(), picture) != all_.end();
  }

  size_t made() const { return all_.size(); }

  // The pixels of picture `number`, from 1 on.
  const std::vector<uint8_t> &picture(size_t number) {
    while (all_.size() < number) make_one();
    return all_[number - 1];
  }

 private:
  void make_one() {
    std::vector<uint8_t> pixels(size_t(side_) * side_ * 8);
    dreamframe_frame_t room = DREAMFRAME_FRAME_INIT;
    CHECK(dreamframe_frame_packed(still_.frame.format, side_, side_, pixels.data(), pixels.size(), &room) ==
              DREAMFRAME_OK,
          "%s", dreamframe_last_error());
    room.origin = still_.frame.origin;
    room.matrix = still_.frame.matrix;
    room.range = still_.frame.range;
    CHECK(dreamframe_engine_process(engine_, &still_.frame, &room, nullptr) == DREAMFRAME_OK, "%s",
          dreamframe_last_error());
    size_t bytes = 0;
    for (int plane = 0; plane < 4; ++plane) {
      const bool halved = plane > 0;
      if (room.planes[plane]) bytes += room.strides[plane] * (halved ? (side_ + 1) / 2 : side_);
    }
    pixels.resize(bytes);
    all_.push_back(std::move(pixels));
  }

  uint32_t side_;
  Still still_;
  dreamframe_engine_t *engine_ = nullptr;
  std::vector<std::vector<uint8_t>> all_;
};

// The image that RGBA8 pixels show, top row first.
inline Image image_of(const std::vector<uint8_t> &pixels, uint32_t side) {
  Image image(side, side);
  for (size_t i = 0; i < image.pixels.size(); ++i) image.pixels[i] = {pixels[4 * i], pixels[4 * i + 1], pixels[4 * i + 2]};
  return image;
}
