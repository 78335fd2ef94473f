// Restyles one picture file.
//
//   c++ -std=c++17 hello.cpp $(pkg-config --cflags --libs dreamframe) -o hello
//   ./hello in.ppm out.ppm '{"prompt": "stained glass window"}'

#include "example.hpp"

int main(int argc, char **argv) {
  return run(argc, argv, [](const std::vector<std::string> &arguments) {
    if (arguments.size() < 2) {
      throw std::runtime_error("usage: hello IN.ppm OUT.ppm [PARAMETERS]");
    }
    dreamframe::Engine engine; // the demo model, with its own parameters
    if (arguments.size() > 2) {
      engine.update(arguments[2]);
    }

    const auto [width, height] = engine.size();
    const Image in(arguments[0]);
    Image out(width, height);
    engine.process(in.frame(), out.room());
    out.write(arguments[1]);
  });
}
