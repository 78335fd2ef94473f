// Changes parameters while frames are processed: each picture is written with the latest prompt.
//
//   c++ -std=c++17 hot_swap.cpp $(pkg-config --cflags --libs dreamframe) -o hot_swap
//   ./hot_swap in.ppm out-folder

#include "example.hpp"

#include <filesystem>

int main(int argc, char **argv) {
  return run(argc, argv, [](const std::vector<std::string> &arguments) {
    if (arguments.size() != 2) {
      throw std::runtime_error("usage: hot_swap IN.ppm FOLDER");
    }
    const std::filesystem::path folder = arguments[1];
    std::filesystem::create_directories(folder);
    dreamframe::Engine engine;
    const auto [width, height] = engine.size();
    const Image in(arguments[0]);
    Image out(width, height);

    const std::string patches[] = {
        R"({"prompt": "moonlit night"})",
        R"({"prompt": [["golden sunset", 0.5], ["blueprint", 0.5]]})",
        R"({"t_index_list": [36, 41, 46], "seed": 5})",
    };
    int index = 0;
    for (const std::string &patch : patches) {
      // Invalid values are rejected as a whole, with every violation, and the stream continues unchanged.
      const dreamframe::Update update = engine.update(patch);
      // A picture is made from the frame `delay` calls ago, so after this many calls pictures fully reflect the
      // parameters.
      for (std::uint32_t call = 0; call <= engine.delay(); ++call) {
        engine.process(in.frame(), out.room());
      }
      const auto path = folder / (std::to_string(index++) + ".ppm");
      out.write(path.string());
      std::cerr << path << ": " << update.report << '\n';
    }
  });
}
