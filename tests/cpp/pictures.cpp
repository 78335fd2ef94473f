// As tests/c/pictures.c, in C++: works on frames out of a file, and writes the pictures to another one.

#include <dreamframe.hpp>

#include <exception>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr int CHANGE = 3;
constexpr std::chrono::milliseconds LIMIT = 120s;

void with_engine(dreamframe::Engine &engine, int index, const dreamframe::FrameView &frame,
                 const dreamframe::FrameViewMut &room) {
  if (index == CHANGE) {
    engine.update(R"({"prompt": "moonlit night"})");
  }
  engine.process(frame, room);
}

void with_session(dreamframe::Session &session, int index, const dreamframe::FrameView &frame,
                  const dreamframe::FrameViewMut &room) {
  if (index == CHANGE) {
    session.wait_for(session.set("prompt", "moonlit night"), LIMIT);
  }
  const auto id = session.submit(frame);
  while (session.wait(LIMIT, room).value().id != id) {
  }
}

void work(bool threaded, std::uint32_t side, const char *frames_path, const char *pictures_path) {
  dreamframe::EngineOptions options;
  options.dtype = dreamframe::Dtype::F32;
  options.threads = 2;
  const std::string text = std::to_string(side);
  options.params_json = dreamframe::merge_params("", "{\"width\": " + text + ", \"height\": " + text + "}");
  dreamframe::Engine engine(options);

  std::vector<char> in(std::size_t{4} * side * side), out(in.size());
  const dreamframe::FrameView frame(dreamframe::PixelFormat::Rgba8, side, side, in);
  const dreamframe::FrameViewMut room(dreamframe::PixelFormat::Rgba8, side, side, out);
  std::ifstream frames(frames_path, std::ios::binary);
  std::ofstream pictures(pictures_path, std::ios::binary);
  std::optional<dreamframe::Session> session;
  if (threaded) {
    session = engine.start();
  }
  for (int index = 0; frames.read(in.data(), static_cast<std::streamsize>(in.size())); ++index) {
    if (session) {
      with_session(*session, index, frame, room);
    } else {
      with_engine(engine, index, frame, room);
    }
    pictures.write(out.data(), static_cast<std::streamsize>(out.size()));
  }
}

} // namespace

int main(int argc, char **argv) {
  try {
    work(std::string(argv[1]) == "session", static_cast<std::uint32_t>(std::stoul(argv[2])), argv[3], argv[4]);
    return argc == 5 ? 0 : 1;
  } catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
