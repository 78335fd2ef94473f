// Cooks of a node until something happens, for the cases of both plug-ins.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "node.hpp"

namespace stub {

inline std::string plugin_path, folder;

inline constexpr OP_PixelFormat bgra8 = OP_PixelFormat::BGRA8Fixed;
inline constexpr uint32_t side = 128;  // of pictures: small, to be quick

// A cook, after other threads had the processor.
inline Cooked cook(Node &node, const Texture *input) {
  std::this_thread::yield();
  Cooked cooked = node.cook(input);
  CHECK(counts.stalls == 0, "a cook waits for the GPU");
  return cooked;
}

// Cooks until what comes satisfies `wanted`, and gives that.
template <class Wanted>
Cooked cook_until(Node &node, const Texture *input, const char *what, Wanted wanted) {
  for (const Patience patience; patience.left();) {
    Cooked cooked = cook(node, input);
    if (wanted(cooked)) return cooked;
  }
  CHECK(false, "%s never comes: %s", what, cook(node, input).popup.c_str());
}

inline bool shows(const Cooked &cooked, const Texture &texture) {
  return cooked.uploaded && cooked.uploaded->bytes == texture.bytes;
}

// Of `side` x `side`, while inputs in these cases are not.
inline bool is_picture(const Cooked &cooked) {
  return cooked.uploaded && cooked.uploaded->desc.width == side && cooked.uploaded->desc.height == side;
}

inline Cooked cook_to_picture(Node &node, const Texture *input) { return cook_until(node, input, "a picture", is_picture); }

inline std::unique_ptr<Node> small_node(Plugin &plugin) {
  auto node = std::make_unique<Node>(plugin);
  node->set("Width", side);
  node->set("Height", side);
  return node;
}

}  // namespace stub
