// What the TOP must do, as the stub of TouchDesigner sees it. `cases PLUGIN FOLDER NAME` runs one case; pictures are
// written to FOLDER.

#include <algorithm>
#include <filesystem>

#include "../../../examples/hosts/wishes.hpp"
#include "../reference.hpp"
#include "cooks.hpp"

namespace {

using namespace stub;

// The library's own pictures of `image`, which stands still: from an RGBA8 frame with the top row first, so that neither
// rows nor channels can get mixed up in the same way as in the plug-in.
Reference reference_of(const Image &image) { return Reference(side, DREAMFRAME_FIT_COVER, still_rgba(image)); }

// The pixels of a texture with the top row first.
std::vector<uint8_t> top_down(const Texture &texture) {
  const size_t row = texture.bytes.size() / texture.desc.height;
  std::vector<uint8_t> turned;
  for (uint32_t y = texture.desc.height; y > 0; --y) {
    turned.insert(turned.end(), texture.bytes.begin() + long((y - 1) * row), texture.bytes.begin() + long(y * row));
  }
  return turned;
}

// The same pictures in the texture's own format.
Reference reference_of(const Texture &texture) {
  Still still;
  still.pixels = top_down(texture);
  still.frame = DREAMFRAME_FRAME_INIT;
  const uint32_t format =
      texture.desc.pixelFormat == bgra8 ? DREAMFRAME_PIXEL_FORMAT_BGRA8 : DREAMFRAME_PIXEL_FORMAT_RGBA16F;
  CHECK(dreamframe_frame_packed(format, texture.desc.width, texture.desc.height, still.pixels.data(),
                                still.pixels.size(), &still.frame) == DREAMFRAME_OK,
        "%s", dreamframe_last_error());
  return Reference(side, DREAMFRAME_FIT_COVER, std::move(still));
}

// --- Pictures ---

void the_input_passes_until_there_is_a_picture() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Texture input = texture(scene(160, 120), bgra8);
  CHECK(!cook(*node, &input).uploaded, "the first cook has only asked the GPU for its pixels");
  const Cooked second = cook(*node, &input);
  CHECK(shows(second, input), "the input does not pass");
  CHECK(second.popup == "loading" && second.error.empty() && second.warning.empty(), "%s", second.popup.c_str());
  const Cooked picture = cook_to_picture(*node, &input);
  CHECK(picture.uploaded->desc.pixelFormat == bgra8, "another format");
  CHECK(picture.popup == "running", "%s", picture.popup.c_str());
}

// Frames that move, one after the other: every picture is the one of its frame, and none is left out.
void pictures_are_the_librarys_own_the_right_way_up() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  Image moving = scene(160, 120);
  Reference reference = reference_of(moving);
  cook_until(*node, nullptr, "the session", [](const Cooked &cooked) { return cooked.channels.at("running") == 1; });
  for (int frame = 0; frame < 8; ++frame) {
    const Texture input = texture(moving, bgra8);
    const std::vector<uint8_t> &expected = reference.next(still_rgba(moving));
    cook(*node, &input);
    const Cooked cooked = cook_until(*node, nullptr, "its picture", [&](const Cooked &now) {
      CHECK(now.channels.at("computed") <= frame + 1, "frame %d was not the only one", frame);
      return now.channels.at("computed") == frame + 1 && is_picture(now) && rgba(image(*now.uploaded)) == expected;
    });
    save(moving, folder + "/input" + std::to_string(frame) + ".ppm");
    save(image(*cooked.uploaded), folder + "/picture" + std::to_string(frame) + ".ppm");
    // All goes to the right by an eighth.
    for (uint32_t y = 0; y < 120; ++y) std::rotate(&moving.at(0, y), &moving.at(0, y) + 140, &moving.at(0, y) + 160);
  }
}

void every_texture_format_gives_the_picture_in_its_own_depth() {
  const Image still = scene(160, 120);
  Plugin plugin(plugin_path.c_str());
  for (const OP_PixelFormat format :
       {bgra8, OP_PixelFormat::RGBA8Fixed, OP_PixelFormat::RGBA16Float, OP_PixelFormat::RGBA32Float}) {
    const bool halves = pixel_bytes(format) > 4;
    auto node = small_node(plugin);
    const Texture input = texture(still, format);
    const Cooked picture = cook_to_picture(*node, &input);
    const OP_PixelFormat expected = halves ? OP_PixelFormat::RGBA16Float : bgra8;
    CHECK(picture.uploaded->desc.pixelFormat == expected, "format %d", int(picture.uploaded->desc.pixelFormat));
    Reference reference = reference_of(converted(input, expected));
    CHECK(reference.reaches(top_down(*picture.uploaded)), "not what the library makes of format %d", int(format));
  }
}

void a_change_of_format_is_followed() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Texture bytes = texture(scene(160, 120), bgra8);
  const Texture halves = texture(scene(160, 120), OP_PixelFormat::RGBA16Float);
  cook_to_picture(*node, &bytes);
  for (const Texture *input : {&halves, &bytes}) {
    cook_until(*node, input, "a picture in the new format", [&](const Cooked &cooked) {
      CHECK(is_picture(cooked), "the last picture is gone");
      return cooked.uploaded->desc.pixelFormat == input->desc.pixelFormat;
    });
  }
}

// --- Sizes ---

void inputs_and_pictures_change_their_sizes_without_a_gap() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Texture wide = texture(scene(160, 120), bgra8), tall = texture(scene(90, 200), bgra8);
  cook_to_picture(*node, &wide);
  for (int i = 0; i < 50; ++i) CHECK(is_picture(cook(*node, i % 2 ? &tall : &wide)), "the picture is gone");
  node->set("Width", 192);
  node->set("Height", 64);
  const Cooked other = cook_until(*node, &tall, "a picture of the new size", [&](const Cooked &cooked) {
    CHECK(cooked.uploaded, "the picture is gone while the other size is made");
    CHECK(cooked.error.empty() && cooked.warning.empty(), "%s%s", cooked.error.c_str(), cooked.warning.c_str());
    return !is_picture(cooked);
  });
  CHECK(other.uploaded->desc.width == 192 && other.uploaded->desc.height == 64, "another size");
}

// --- Waiting ---

void a_cook_waits_neither_for_the_model_nor_for_a_frame() {
  Plugin plugin(plugin_path.c_str());
  Node node(plugin);
  node.set("Width", 256);  // a frame takes as long as many cooks
  node.set("Height", 256);
  const Texture input = texture(scene(160, 120), bgra8);
  const auto big = [](const Cooked &cooked) { return cooked.uploaded && cooked.uploaded->desc.width == 256; };
  int before = 0;
  cook_until(node, &input, "a picture", [&](const Cooked &cooked) { return ++before, big(cooked); });
  CHECK(before > 5, "only %d cooks while the model was loaded", before);
  const float done = cook(node, &input).channels.at("computed");
  int cooks = 0;
  cook_until(node, &input, "further frames", [&](const Cooked &cooked) {
    CHECK(big(cooked), "the last picture is not shown again");
    ++cooks;
    return cooked.channels.at("computed") >= done + 3;
  });
  CHECK(cooks > 6, "%d cooks in the time of 3 frames: they wait", cooks);
}

void nodes_may_be_destroyed_while_they_load_and_while_they_work() {
  const Texture input = texture(scene(160, 120), bgra8);
  {
    Plugin plugin(plugin_path.c_str());
    for (const int cooks : {0, 1, 10, 50, 200, 500}) {
      auto node = small_node(plugin);
      for (int i = 0; i < cooks; ++i) cook(*node, &input);
    }
    auto node = small_node(plugin);
    cook_to_picture(*node, &input);
    cook(*node, &input);
  }
  CHECK(counts.alive == 0, "%d buffers of the host are still held", counts.alive.load());
}

// --- Parameters ---

void parameters_may_change_with_every_cook() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Texture input = texture(scene(160, 120), bgra8);
  cook_to_picture(*node, &input);
  for (int i = 0; i < 300; ++i) {
    node->set("Delta", 0.5 + i * 0.001);
    node->set("Guidancescale", 1.0 + (i % 7) * 0.1);
    node->set("Seed", i % 5);
    if (i % 10 == 0) node->set("Prompt", "a house, \"number\" " + std::to_string(i));
    const Cooked cooked = cook(*node, &input);
    CHECK(is_picture(cooked), "the picture is gone");
    CHECK(cooked.error.empty() && cooked.warning.empty(), "%s%s", cooked.error.c_str(), cooked.warning.c_str());
  }
  const auto settled = [](const Cooked &cooked) {
    return cooked.channels.at("active_version") == cooked.channels.at("desired_version");
  };
  const Cooked last = cook_until(*node, &input, "the last update", settled);
  CHECK(last.channels.at("desired_version") >= 300, "%g updates", double(last.channels.at("desired_version")));
}

void what_is_refused_is_shown_as_a_warning_and_pictures_go_on() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Texture input = texture(scene(160, 120), bgra8);
  cook_to_picture(*node, &input);
  const struct {
    const char *json, *told;
  } mistakes[] = {
      {"{\"delta\": ", "JSON"},
      {"{\"guidance_scal\": 2}", "guidance_scale"},
      {"{\"delta\": -3}", "delta"},
      {"[1, 2]", "object"},
  };
  for (const auto &mistake : mistakes) {
    node->set_dat(mistake.json);
    const Cooked cooked = cook(*node, &input);
    CHECK(cooked.warning.find(mistake.told) != std::string::npos, "%s: '%s'", mistake.json, cooked.warning.c_str());
    CHECK(is_picture(cooked) && cooked.error.empty(), "the picture is gone: %s", cooked.error.c_str());
  }
  node->set_dat("{\"delta\": 0.9}");
  CHECK(cook(*node, &input).warning.empty(), "the warning stays");
  node->set("Tindexlist", "10 60");
  Cooked cooked = cook(*node, &input);
  CHECK(cooked.warning.find("t_index_list") != std::string::npos, "'%s'", cooked.warning.c_str());
  node->set("Numinferencesteps", 80);  // what was refused is tried again together with what makes it right
  cooked = cook(*node, &input);
  CHECK(cooked.warning.empty(), "'%s'", cooked.warning.c_str());
  node->set("Tindexlist", "ten");
  cooked = cook(*node, &input);
  CHECK(cooked.warning.find("t_index_list") != std::string::npos, "'%s'", cooked.warning.c_str());
}

// The models of these names are not there, so that the warning shows that the library got them.
void networks_are_chosen_without_json() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Texture input = texture(scene(160, 120), bgra8);
  cook_to_picture(*node, &input);
  const auto warns_of = [&](const char *text) {
    cook_until(*node, &input, text, [&](const Cooked &cooked) {
      CHECK(is_picture(cooked) && cooked.error.empty(), "the picture is gone: %s", cooked.error.c_str());
      return cooked.warning.find(text) != std::string::npos;
    });
  };
  const auto warns_no_more = [&] {
    cook_until(*node, &input, "the end of the warning", [](const Cooked &cooked) { return cooked.warning.empty(); });
  };
  node->set("Controlnet2", "no/such-controlnet");
  node->set("Controlnet2preprocessor", "canny");
  warns_of("no/such-controlnet");
  node->set("Controlnet2enabled", 0);
  warns_no_more();
  node->set("Controlnet3", "no/such-controlnet");
  warns_of("controlnets[1].model_id");  // there twice
  node->set("Controlnet3", "");
  warns_no_more();
  node->set("Lora1", "no/such-lora");
  warns_of("no/such-lora");
  node->set("Lora1", "");
  warns_no_more();
  node->set("Lora1scale", 11);
  CHECK(cook(*node, &input).warning.empty(), "the scale of no LoRA");
  node->set("Ipadaptertype", "faceid");  // which the demo model lacks
  node->set("Ipadapterenabled", 1);
  warns_of("faceid");
  node->set("Ipadapterenabled", 0);
  warns_no_more();
}

void a_style_image_is_read_from_its_file() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Texture input = texture(scene(160, 120), bgra8);
  const float before = cook_to_picture(*node, &input).channels.at("desired_version");
  node->set("Ipadapterstyleimage", folder + "/no such image.png");
  cook_until(*node, &input, "the warning", [](const Cooked &cooked) {
    return cooked.warning.find("no such image.png") != std::string::npos;
  });
  node->set("Ipadapterstyleimage", style_image());
  const Cooked read = cook_until(*node, &input, "the update", [&](const Cooked &cooked) {
    return cooked.channels.at("desired_version") > before;
  });
  CHECK(read.warning.empty(), "the warning stays: %s", read.warning.c_str());
}

void another_number_format_loads_the_model_again() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Texture input = texture(scene(160, 120), bgra8);
  cook_to_picture(*node, &input);
  node->set("Dtype", "f16");  // of GPUs only
  cook_until(*node, &input, "an error", [](const Cooked &cooked) { return cooked.error.find("f16") != std::string::npos; });
  node->set("Dtype", "f17");
  CHECK(cook(*node, &input).warning.find("got f17, expected auto") != std::string::npos, "a format that does not exist");
  node->set("Dtype", "f32");
  const Cooked picture = cook_to_picture(*node, &input);
  CHECK(picture.error.empty() && picture.warning.empty(), "%s%s", picture.error.c_str(), picture.warning.c_str());
}

void the_prompt_changes_over_pictures() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Texture input = texture(scene(160, 120), bgra8);
  const int at_once = changes_with_prompt(*node, &input, "moonlit night", 0);
  CHECK(at_once >= 1 && at_once <= 3, "%d other pictures", at_once);
  const int gradual = changes_with_prompt(*node, &input, "blueprint", 2);
  CHECK(gradual > 2 * at_once, "%d other pictures, and %d at once", gradual, at_once);
}

void json_counts_over_the_parameters_at_the_start() {
  Plugin plugin(plugin_path.c_str());
  Node node(plugin);
  node.set("Width", 96);
  node.set_dat("{\"width\": 64, \"height\": 64}");
  const Texture input = texture(scene(160, 120), bgra8);
  cook_to_picture(node, &input);
}

void a_model_that_is_missing_is_an_error_until_it_is_there() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const std::string place = folder + "/nowhere";
  std::filesystem::remove(place);
  node->set("Modelfolder", place);
  const Texture input = texture(scene(160, 120), bgra8);
  const Cooked failed =
      cook_until(*node, &input, "an error", [](const Cooked &cooked) { return !cooked.error.empty(); });
  CHECK(failed.error.find("nowhere") != std::string::npos, "'%s'", failed.error.c_str());
  CHECK(shows(cook(*node, &input), input), "the input does not pass");
  // Now it is there, with nothing changed but that.
  std::filesystem::create_directory_symlink(demo_folder(), place);
  node->pulse("Reload");
  const Cooked picture = cook_to_picture(*node, &input);
  std::filesystem::remove(place);
  CHECK(picture.error.empty(), "the error stays: %s", picture.error.c_str());
}

void switched_off_the_input_passes() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Texture input = texture(scene(160, 120), bgra8);
  cook_to_picture(*node, &input);
  for (int i = 0; i < 3; ++i) {
    node->set("Active", 0);
    CHECK(shows(cook(*node, &input), input), "the input does not pass");
    node->set("Active", 1);
    CHECK(is_picture(cook(*node, &input)), "the picture does not come back");
  }
}

void other_inputs_are_refused_by_name() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  Texture input = texture(scene(160, 120), bgra8);
  cook_to_picture(*node, &input);
  CHECK(is_picture(cook(*node, nullptr)), "without an input the last picture stays");
  input.desc.texDim = OP_TexDim::e3D;
  const Cooked cooked = cook(*node, &input);
  CHECK(cooked.warning.find("2D") != std::string::npos, "'%s'", cooked.warning.c_str());
  CHECK(is_picture(cooked), "the picture is gone");
}

void two_nodes_work_side_by_side() {
  Plugin plugin(plugin_path.c_str());
  auto first = small_node(plugin), second = small_node(plugin);
  const Image still = scene(160, 120);
  const Texture input = texture(still, bgra8);
  second->set("Seed", 5);
  Reference reference = reference_of(still);
  const auto both = [&](const Cooked &cooked) { return is_picture(cook(*second, &input)) && is_picture(cooked); };
  const Cooked one = cook_until(*first, &input, "a picture of both", both);
  const std::vector<uint8_t> other = rgba(image(*cook(*second, &input).uploaded));
  CHECK(reference.reaches(rgba(image(*one.uploaded))), "not what the library makes");
  second.reset();
  CHECK(is_picture(cook(*first, &input)), "the other node took it along");
  CHECK(!reference.has(other), "another seed, and the same picture");
}

// --- What it tells of itself ---

// Prints what untouched parameters come to, as JSON, for the test that compares them with the library's own.
void print_defaults() {
  Plugin plugin(plugin_path.c_str());
  Node node(plugin);
  const hosts::Settings settings([&](const hosts::Field &field) {
    // `guidance_scale` is `Guidancescale` in the host.
    std::string name;
    for (const char c : field.name) {
      if (c != '_') name += char(name.empty() ? std::toupper(c) : c);
    }
    CHECK(node.parameters().count(name), "no parameter %s", name.c_str());
    const Parameter &parameter = node.parameters().at(name);
    return hosts::Given{parameter.number, parameter.text};
  });
  for (const auto &[name, json] : settings.values()) std::printf("%s\t%s\n", name.c_str(), json.c_str());
}

// --- The second input ---

Image plain(Colour colour) {
  Image image(40, 30);
  for (uint32_t y = 0; y < image.height; ++y) {
    for (uint32_t x = 0; x < image.width; ++x) image.at(x, y) = colour;
  }
  return image;
}

bool shows_colour(const Cooked &cooked, Colour colour) {
  if (!is_picture(cooked)) return false;
  const Colour seen = image(*cooked.uploaded).at(side / 2, side / 2);
  return seen.r == colour.r && seen.g == colour.g && seen.b == colour.b;
}

void the_second_input_is_the_control_image_of_external_processors() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  node->set("Secondinput", std::string("control"));
  node->set_dat(R"({"skip_diffusion": true, "image_preprocessing": {"processors": [{"type": "external"}]}})");
  const Colour grey{90, 90, 90}, red{200, 10, 20}, blue{10, 20, 200};
  const Texture frame = texture(plain(grey), bgra8);
  const Texture first = texture(plain(red), bgra8), next = texture(plain(blue), bgra8);
  cook_until(*node, &frame, "the frame, without a second input", [&](auto &now) { return shows_colour(now, grey); });
  cook_until(*node, &frame, &first, "the second input", [&](auto &now) { return shows_colour(now, red); });
  cook_until(*node, &frame, &next, "the next one", [&](auto &now) { return shows_colour(now, blue); });
  cook_until(*node, &frame, "the frame, once it is disconnected", [&](auto &now) { return shows_colour(now, grey); });
  node->set("Secondinput", std::string("none"));
  for (int i = 0; i < 20; ++i) {
    CHECK(!shows_colour(cook(*node, &frame, &first), red), "it counts although it is for nothing");
  }
}

void the_second_input_is_sent_as_style_image_when_it_changes() {
  Plugin plugin(plugin_path.c_str());
  auto node = small_node(plugin);
  const Texture frame = texture(scene(160, 120), bgra8);
  const Texture first = texture(plain({200, 10, 20}), bgra8);
  const Texture next = texture(plain({10, 20, 200}), OP_PixelFormat::RGBA16Float);
  const Cooked running = cook_to_picture(*node, &frame);
  const float before = running.channels.at("desired_version");
  node->set("Secondinput", std::string("style"));
  int updates = 0;
  for (const Texture *second : {&first, &next}) {
    ++updates;
    const Cooked changed = cook_until(*node, &frame, second, "the update", [&](auto &now) {
      return now.channels.at("active_version") == before + updates;
    });
    CHECK(changed.warning.empty(), "%s", changed.warning.c_str());
    for (int i = 0; i < 10; ++i) cook(*node, &frame, second);
    CHECK(cook(*node, &frame, second).channels.at("desired_version") == before + updates, "it is sent once");
  }
  cook_until(*node, &frame, "the update that takes it away", [&](auto &now) {
    return now.channels.at("active_version") == before + 3;
  });
}

void it_says_what_it_is_and_does() {
  Plugin plugin(plugin_path.c_str());
  Text type, label, icon, author, email;
  TOP_PluginInfo info;
  info.customOPInfo.opType = &type;
  info.customOPInfo.opLabel = &label;
  info.customOPInfo.opIcon = &icon;
  info.customOPInfo.authorName = &author;
  info.customOPInfo.authorEmail = &email;
  plugin.fill(&info);
  CHECK(info.getAPIVersion() == TOPCPlusPlusAPIVersion && info.executeMode == TOP_ExecuteMode::CPUMem, "another mode");
  CHECK(type.value == "Dreamframe" && icon.value.size() == 3, "%s, %s", type.value.c_str(), icon.value.c_str());
  CHECK(info.customOPInfo.maxInputs == 2, "two inputs");
  auto node = small_node(plugin);
  const Texture input = texture(scene(160, 120), bgra8);
  CHECK(cook(*node, &input).channels.at("running") == 0, "it cannot run yet");
  cook_to_picture(*node, &input);
  const Cooked cooked =
      cook_until(*node, &input, "the third", [](const Cooked &now) { return now.channels.at("computed") >= 3; });
  CHECK(cooked.channels.at("running") == 1 && cooked.channels.at("submitted") >= 3, "numbers do not fit");
  CHECK(cooked.channels.at("failed") == 0, "frames failed");
  CHECK(cooked.table.at("state") == "running", "%s", cooked.table.at("state").c_str());
  CHECK(cooked.table.size() == cooked.channels.size() + 1, "the table has the state besides the channels");
}

const Case cases[] = {
#define CASE(name) {#name, name}
    CASE(the_input_passes_until_there_is_a_picture),
    CASE(pictures_are_the_librarys_own_the_right_way_up),
    CASE(every_texture_format_gives_the_picture_in_its_own_depth),
    CASE(a_change_of_format_is_followed),
    CASE(inputs_and_pictures_change_their_sizes_without_a_gap),
    CASE(a_cook_waits_neither_for_the_model_nor_for_a_frame),
    CASE(nodes_may_be_destroyed_while_they_load_and_while_they_work),
    CASE(parameters_may_change_with_every_cook),
    CASE(what_is_refused_is_shown_as_a_warning_and_pictures_go_on),
    CASE(networks_are_chosen_without_json),
    CASE(a_style_image_is_read_from_its_file),
    CASE(another_number_format_loads_the_model_again),
    CASE(the_prompt_changes_over_pictures),
    CASE(json_counts_over_the_parameters_at_the_start),
    CASE(a_model_that_is_missing_is_an_error_until_it_is_there),
    CASE(switched_off_the_input_passes),
    CASE(other_inputs_are_refused_by_name),
    CASE(two_nodes_work_side_by_side),
    CASE(the_second_input_is_the_control_image_of_external_processors),
    CASE(the_second_input_is_sent_as_style_image_when_it_changes),
    CASE(it_says_what_it_is_and_does),
#undef CASE
};

}  // namespace

int main(int count, char **arguments) {
  CHECK(count == 4, "usage: cases PLUGIN FOLDER NAME");
  plugin_path = arguments[1];
  folder = arguments[2];
  return run_case(cases, arguments[3], print_defaults);
}
