// Runs an engine on its own thread: a moving pattern is submitted at 30 frames per second while the prompt changes. The
// result is written as one sheet, with frames above their pictures.
//
//   c++ -std=c++17 session.cpp $(pkg-config --cflags --libs dreamframe) -o session
//   ./session sheet.ppm

#include "example.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <thread>

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t SIDE = 256;
constexpr std::chrono::milliseconds LIMIT = 60s;
constexpr std::chrono::nanoseconds FRAME = std::chrono::nanoseconds(1s) / 30;

/// Draws a disc that moves in a circle on a gradient.
Image pattern(unsigned index) {
  const auto angle = static_cast<float>(index) * 0.05f;
  const float centre_x = SIDE * (0.5f + 0.3f * std::cos(angle)), centre_y = SIDE * (0.5f + 0.3f * std::sin(angle));
  Image image(SIDE, SIDE);
  auto pixel = image.pixels.begin();
  for (std::uint32_t y = 0; y < SIDE; ++y) {
    for (std::uint32_t x = 0; x < SIDE; ++x) {
      const bool inside = std::hypot(static_cast<float>(x) - centre_x, static_cast<float>(y) - centre_y) < SIDE * 0.15f;
      *pixel++ = static_cast<std::uint8_t>(inside ? 240 : x / 2);
      *pixel++ = static_cast<std::uint8_t>(inside ? 210 : 40 + y / 2);
      *pixel++ = inside ? 60 : 120;
    }
  }
  return image;
}

/// Copies `image` into the sheet, at `column` and `row` in units of images.
void place(Image &sheet, const Image &image, std::size_t column, std::size_t row) {
  for (std::size_t y = 0; y < SIDE; ++y) {
    const auto line = image.pixels.begin() + static_cast<std::ptrdiff_t>(3 * y * SIDE);
    std::copy_n(line, 3 * SIDE, sheet.pixels.begin() + static_cast<std::ptrdiff_t>(3 * ((row * SIDE + y) * sheet.width + column * SIDE)));
  }
}

void write_sheet(const std::string &path, unsigned frames) {
  dreamframe::EngineOptions options;
  options.params_json = dreamframe::merge_params("", R"({"width": 256, "height": 256})");
  dreamframe::Engine engine(options);
  dreamframe::Session session = engine.start();

  const std::string prompts[] = {"ink line art", "a blueprint", "cyberpunk city, neon lights", "stained glass window"};
  Image sheet(SIDE * static_cast<std::uint32_t>(std::size(prompts)), SIDE * 2), out(SIDE, SIDE);
  unsigned column = 0;
  for (const std::string &prompt : prompts) {
    // Validated now, prepared in the background, applied between two frames.
    const dreamframe::Ticket ticket = session.set("prompt", prompt);
    for (unsigned index = 0; index < frames; ++index) {
      const auto next = std::chrono::steady_clock::now() + FRAME;
      session.submit(pattern(column * frames + index).frame());
      std::this_thread::sleep_until(next);
      session.poll(out.room());
    }
    session.wait_for(ticket, LIMIT);

    const Image last = pattern((column + 1) * frames);
    std::optional<dreamframe::PictureInfo> picture;
    while (!picture || picture->version < ticket.version) {
      session.submit(last.frame());
      picture = session.wait(LIMIT, out.room());
    }
    place(sheet, last, column, 0);
    place(sheet, out, column, 1);
    ++column;
  }
  sheet.write(path);

  const dreamframe::Stats stats = session.stats();
  std::cerr << stats.submitted << " frames in, " << stats.computed << " restyled, " << stats.dropped << " dropped\n";
  while (const auto event = session.next_event()) {
    if (event->find("update_applied") == std::string::npos) {
      std::cerr << *event << '\n';
    }
  }
  session.stop(LIMIT);
}

} // namespace

int main(int argc, char **argv) {
  return run(argc, argv, [](const std::vector<std::string> &arguments) {
    if (arguments.empty()) {
      throw std::runtime_error("usage: session OUT.ppm [FRAMES_PER_PROMPT]");
    }
    write_sheet(arguments[0], arguments.size() > 1 ? static_cast<unsigned>(std::stoul(arguments[1])) : 30);
  });
}
