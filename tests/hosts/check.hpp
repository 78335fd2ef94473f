// What the cases of the stub hosts have in common: saying what went wrong, scenes, pictures on disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

// Ends the program with what was expected and where.
#define CHECK(condition, ...)                                                   \
  do {                                                                          \
    if (!(condition)) {                                                         \
      std::fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);      \
      std::fprintf(stderr, __VA_ARGS__);                                        \
      std::fputc('\n', stderr);                                                 \
      std::exit(1);                                                             \
    }                                                                           \
  } while (false)

// Red, green, blue.
struct Colour {
  uint8_t r, g, b;
  bool operator==(const Colour &other) const { return r == other.r && g == other.g && b == other.b; }
};

// An image without any host's conventions: top row first.
struct Image {
  uint32_t width = 0, height = 0;
  std::vector<Colour> pixels;

  Image() = default;
  Image(uint32_t w, uint32_t h) : width(w), height(h), pixels(size_t(w) * h) {}
  Colour &at(uint32_t x, uint32_t y) { return pixels[size_t(y) * width + x]; }
  const Colour &at(uint32_t x, uint32_t y) const { return pixels[size_t(y) * width + x]; }
  bool operator==(const Image &other) const {
    return width == other.width && height == other.height && pixels == other.pixels;
  }
};

// A picture that looks different upside down, mirrored, and with any two channels exchanged: blue sky that is brighter
// to the right over green ground, a red house on the left.
inline Image scene(uint32_t width, uint32_t height) {
  Image image(width, height);
  for (uint32_t y = 0; y < height; ++y) {
    for (uint32_t x = 0; x < width; ++x) {
      const double u = (x + 0.5) / width, v = (y + 0.5) / height;
      Colour colour = v < 0.55 ? Colour{uint8_t(60 + 90 * u), uint8_t(110 + 80 * u), uint8_t(235)}
                               : Colour{uint8_t(40), uint8_t(150 - 60 * v), uint8_t(30)};
      if (u > 0.15 && u < 0.45 && v > 0.35 && v < 0.8) colour = {200, 40, 30};
      image.at(x, y) = colour;
    }
  }
  return image;
}

// Writes a PPM file, for looking at.
inline void save(const Image &image, const std::string &path) {
  std::FILE *file = std::fopen(path.c_str(), "wb");
  CHECK(file, "cannot write %s", path.c_str());
  std::fprintf(file, "P6\n%u %u\n255\n", image.width, image.height);
  std::fwrite(image.pixels.data(), 3, image.pixels.size(), file);
  std::fclose(file);
}

// A path in the repository.
inline std::string in_repository(const char *path) {
  const auto here = std::filesystem::absolute(__FILE__).lexically_normal().parent_path();
  return (here.parent_path().parent_path() / path).string();
}

// A folder with a model on disk: the one that is also in the library.
inline std::string demo_folder() { return in_repository("models/demo/dreamframe-tiny"); }

// A PNG file.
inline std::string style_image() { return in_repository("tests/golden/ip_adapter/style.png"); }

// Says when something that does not come is given up: far beyond what it takes on a slow machine.
class Patience {
 public:
  bool left() const { return std::chrono::steady_clock::now() < end_; }

 private:
  std::chrono::steady_clock::time_point end_ = std::chrono::steady_clock::now() + std::chrono::seconds(100);
};

// A case by its name, as the command line asks for it.
struct Case {
  const char *name;
  void (*run)();
};

// Runs the case of that name; for `list`, prints all names, for `defaults`, calls `print_defaults`.
template <size_t N>
int run_case(const Case (&cases)[N], const char *name, void (*print_defaults)()) {
  if (std::strcmp(name, "list") == 0) {
    for (const Case &one : cases) std::puts(one.name);
    return 0;
  }
  if (std::strcmp(name, "defaults") == 0) return print_defaults(), 0;
  for (const Case &one : cases) {
    if (std::strcmp(one.name, name) == 0) return one.run(), 0;
  }
  CHECK(false, "no case %s", name);
}
