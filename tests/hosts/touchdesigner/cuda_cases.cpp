// What the TOP with CUDA must do. The device of the stub is memory of the host, which is that of ONNX Runtime's provider
// `cpu`. `cuda_cases PLUGIN FOLDER NAME` runs one case.

#include "../reference.hpp"
#include "cooks.hpp"

namespace {

using namespace stub;

// Whether ONNX Runtime is there; the tests set the variable where it is.
bool has_onnx_runtime() {
  const bool is_there = std::getenv("DREAMFRAME_ONNXRUNTIME") != nullptr;
  if (!is_there) std::fprintf(stderr, "skipped: DREAMFRAME_ONNXRUNTIME does not name ONNX Runtime's library\n");
  return is_there;
}

// A node whose engine is on the stub's device.
std::unique_ptr<Node> node_on_device(Plugin &plugin) {
  auto node = small_node(plugin);
  node->set("Provider", "cpu");
  return node;
}

Reference reference_of(const Image &image, bool on_device) {
  dreamframe_options_t options = DREAMFRAME_OPTIONS_INIT;
  if (on_device) {
    options.executor = DREAMFRAME_EXECUTOR_ONNX;
    options.provider = DREAMFRAME_PROVIDER_CPU;
  }
  return Reference(side, DREAMFRAME_FIT_COVER, still_rgba(image), options);
}

void the_input_passes_until_there_is_a_picture() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  for (const OP_PixelFormat format : {bgra8, OP_PixelFormat::RGBA8Fixed}) {
    const Texture input = texture(scene(160, 120), format);
    const Cooked first = cook(*node, &input);
    CHECK(shows(first, input) && first.uploaded->desc.pixelFormat == format, "the input does not pass");
    CHECK(first.popup == "loading" && first.warning.empty(), "%s", first.popup.c_str());
  }
  const Texture input = texture(scene(160, 120), bgra8);
  cook_to_picture(*node, &input);
  node->set("Active", 0);
  CHECK(shows(cook(*node, &input), input), "the input does not pass");
}

void pictures_on_the_device_are_the_librarys_own_the_right_way_up() {
  if (!has_onnx_runtime()) return;
  Plugin plugin(plugin_path.c_str());
  const Image still = scene(160, 120);
  Reference reference = reference_of(still, true);
  for (const OP_PixelFormat format : {bgra8, OP_PixelFormat::RGBA8Fixed}) {
    auto node = node_on_device(plugin);
    const Texture input = texture(still, format);
    cook_to_picture(*node, &input);
    CHECK(device_allocations > 0, "the frame is not on the device");
    const Cooked picture = cook_until(*node, &input, "the third picture", [](const Cooked &cooked) {
      return cooked.channels.at("computed") >= 3 && is_picture(cooked);
    });
    CHECK(picture.uploaded->desc.pixelFormat == bgra8 && picture.warning.empty(), "%s", picture.warning.c_str());
    CHECK(reference.reaches(rgba(image(*picture.uploaded))), "not what the library makes");
  }
}

// As on a machine without a GPU: by memory of the host, with the pictures of the processor.
void an_engine_elsewhere_gets_frames_by_host_memory() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Image still = scene(160, 120);
  const Texture input = texture(still, OP_PixelFormat::RGBA8Fixed);
  const Cooked picture = cook_to_picture(*node, &input);
  CHECK(picture.error.empty() && picture.warning.empty(), "%s%s", picture.error.c_str(), picture.warning.c_str());
  Reference reference = reference_of(still, false);
  CHECK(reference.reaches(rgba(image(*picture.uploaded))), "not what the library makes");
}

void inputs_and_pictures_change_their_sizes_without_a_gap() {
  if (!has_onnx_runtime()) return;
  Plugin plugin(plugin_path.c_str());
  auto node = node_on_device(plugin);
  const Texture wide = texture(scene(160, 120), bgra8), tall = texture(scene(90, 200), bgra8);
  cook_to_picture(*node, &wide);
  for (int i = 0; i < 20; ++i) CHECK(is_picture(cook(*node, i % 2 ? &tall : &wide)), "the picture is gone");
  CHECK(is_picture(cook(*node, nullptr)), "without an input the last picture stays");
  node->set("Width", 192);
  node->set("Height", 64);
  const Cooked other = cook_until(*node, &tall, "a picture of the new size", [&](const Cooked &cooked) {
    CHECK(cooked.uploaded, "the picture is gone while the other size is made");
    CHECK(cooked.warning.empty(), "%s", cooked.warning.c_str());
    return !is_picture(cooked);
  });
  CHECK(other.uploaded->desc.width == 192 && other.uploaded->desc.height == 64, "another size");
}

void what_is_refused_is_shown_as_a_warning_and_pictures_go_on() {
  if (!has_onnx_runtime()) return;
  Plugin plugin(plugin_path.c_str());
  auto node = node_on_device(plugin);
  Texture input = texture(scene(160, 120), bgra8);
  cook_to_picture(*node, &input);
  const auto warns_of = [](const char *text) {
    return [text](const Cooked &cooked) {
      CHECK(is_picture(cooked) && cooked.error.empty(), "the picture is gone: %s", cooked.error.c_str());
      return cooked.warning.find(text) != std::string::npos;
    };
  };
  node->set_dat("{\"delta\": -3}");
  cook_until(*node, &input, "the warning", warns_of("delta"));
  node->set_dat("{\"delta\": 0.9}");
  cook_until(*node, &input, "the end of the warning", [](const Cooked &cooked) { return cooked.warning.empty(); });
  node->set("Provider", "gpu");
  CHECK(cook(*node, &input).warning.find("got gpu, expected cuda") != std::string::npos, "another provider");
  node->set("Provider", "cpu");
  const Texture floats = texture(scene(160, 120), OP_PixelFormat::RGBA32Float);
  const Cooked refused = cook(*node, &floats);
  CHECK(is_picture(refused) && refused.warning.find("8 bits") != std::string::npos, "'%s'", refused.warning.c_str());
  input.desc.texDim = OP_TexDim::e3D;
  CHECK(cook(*node, &input).warning.find("2D") != std::string::npos, "an input that is no 2D texture");
}

void the_prompt_changes_over_pictures() {
  if (!has_onnx_runtime()) return;
  Plugin plugin(plugin_path.c_str());
  auto node = node_on_device(plugin);
  const Texture input = texture(scene(160, 120), bgra8);
  const int at_once = changes_with_prompt(*node, &input, "moonlit night", 0);
  const int gradual = changes_with_prompt(*node, &input, "blueprint", 4);
  CHECK(gradual > 2 * at_once, "%d other pictures, and %d at once", gradual, at_once);
}

void nodes_may_be_destroyed_while_they_load_and_while_they_work() {
  const Texture input = texture(scene(160, 120), bgra8);
  {
    Plugin plugin(plugin_path.c_str());
    for (const int cooks : {0, 1, 50, 500}) {
      auto node = has_onnx_runtime() ? node_on_device(plugin) : small_node(plugin);
      for (int i = 0; i < cooks; ++i) cook(*node, &input);
    }
    auto node = has_onnx_runtime() ? node_on_device(plugin) : small_node(plugin);
    cook_to_picture(*node, &input);
    cook(*node, &input);
  }
  CHECK(device_allocations == 0, "%d allocations on the device are left", device_allocations.load());
}

void it_says_what_it_is() {
  Plugin plugin(plugin_path.c_str());
  Text type, label, icon, author, email;
  TOP_PluginInfo info;
  info.customOPInfo.opType = &type;
  info.customOPInfo.opLabel = &label;
  info.customOPInfo.opIcon = &icon;
  info.customOPInfo.authorName = &author;
  info.customOPInfo.authorEmail = &email;
  plugin.fill(&info);
  CHECK(info.getAPIVersion() == TOPCPlusPlusAPIVersion && info.executeMode == TOP_ExecuteMode::CUDA, "another mode");
  CHECK(type.value == "Dreamframe", "%s", type.value.c_str());
}

void no_defaults() {}

const Case cases[] = {
#define CASE(name) {#name, name}
    CASE(the_input_passes_until_there_is_a_picture),
    CASE(pictures_on_the_device_are_the_librarys_own_the_right_way_up),
    CASE(an_engine_elsewhere_gets_frames_by_host_memory),
    CASE(inputs_and_pictures_change_their_sizes_without_a_gap),
    CASE(what_is_refused_is_shown_as_a_warning_and_pictures_go_on),
    CASE(the_prompt_changes_over_pictures),
    CASE(nodes_may_be_destroyed_while_they_load_and_while_they_work),
    CASE(it_says_what_it_is),
#undef CASE
};

}  // namespace

int main(int count, char **arguments) {
  CHECK(count == 4, "usage: cuda_cases PLUGIN FOLDER NAME");
  plugin_path = arguments[1];
  folder = arguments[2];
  return run_case(cases, arguments[3], no_defaults);
}
