// Cooks of a node until something happens, for the cases of both plug-ins.
#pragma once

#include <memory>
#include <string>
#include <thread>

#include "node.hpp"

namespace stub {

inline std::string plugin_path, folder;

inline constexpr OP_PixelFormat bgra8 = OP_PixelFormat::BGRA8Fixed;
inline constexpr uint32_t side = 64;  // of pictures: small, to be quick

// A cook, after other threads had the processor.
inline Cooked cook(Node &node, const Texture *input, const Texture *second = nullptr) {
  std::this_thread::yield();
  Cooked cooked = node.cook(input, second);
  CHECK(counts.stalls == 0, "a cook waits for the GPU");
  return cooked;
}

// Cooks until what comes satisfies `wanted`, and gives that.
template <class Wanted>
Cooked cook_until(Node &node, const Texture *input, const Texture *second, const char *what, Wanted wanted) {
  for (const Patience patience; patience.left();) {
    Cooked cooked = cook(node, input, second);
    if (wanted(cooked)) return cooked;
  }
  CHECK(false, "%s never comes: %s", what, cook(node, input, second).popup.c_str());
}

template <class Wanted>
Cooked cook_until(Node &node, const Texture *input, const char *what, Wanted wanted) {
  return cook_until(node, input, nullptr, what, wanted);
}

inline bool shows(const Cooked &cooked, const Texture &texture) {
  return cooked.uploaded && cooked.uploaded->bytes == texture.bytes;
}

// Of `side` x `side`, while inputs in these cases are not.
inline bool is_picture(const Cooked &cooked) {
  return cooked.uploaded && cooked.uploaded->desc.width == side && cooked.uploaded->desc.height == side;
}

inline Cooked cook_to_picture(Node &node, const Texture *input) { return cook_until(node, input, "a picture", is_picture); }

// How often the picture of the same input changes with a new prompt, until it stays the same for a while.
inline int changes_with_prompt(Node &node, const Texture *input, const char *prompt, double seconds) {
  constexpr float while_same = 6;
  std::vector<uint8_t> last;
  float since = 0;
  int changes = 0;
  const auto settled = [&](const Cooked &cooked) {
    const float computed = cooked.channels.at("computed");
    if (is_picture(cooked) && cooked.uploaded->bytes != last) {
      last = cooked.uploaded->bytes;
      since = computed;
      ++changes;
    }
    return !last.empty() && computed >= since + while_same;
  };
  cook_until(node, input, "a picture that stays", settled);
  node.set("Prompttransition", seconds);
  node.set("Prompt", prompt);
  const int before = changes;
  cook_until(node, input, "a picture of the prompt", [&](const Cooked &cooked) { return settled(cooked), changes > before; });
  cook_until(node, input, "the last picture of the change", settled);
  CHECK(cook(node, input).warning.empty(), "the change is refused");
  return changes - before;
}

inline std::unique_ptr<Node> small_node(Plugin &plugin) {
  auto node = std::make_unique<Node>(plugin);
  node->set("Width", side);
  node->set("Height", side);
  return node;
}

}  // namespace stub
