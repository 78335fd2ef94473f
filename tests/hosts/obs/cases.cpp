// What the filter must do, as the stub of OBS sees it. `cases PLUGIN FOLDER NAME` runs one case; pictures are written to
// FOLDER.

#include "../../../examples/hosts/wishes.hpp"
#include "../reference.hpp"
#include "frames.hpp"

namespace {

using namespace stub;

std::string plugin_path, folder;

constexpr uint32_t side = 64;  // of the stream: small, to be quick

// Passes the frame again and again until what comes satisfies `wanted`; returns how often.
template <class Wanted>
int pass_until(Filter &filter, Frame &frame, const char *what, Wanted wanted) {
  const Patience patience;
  for (int passed = 1; patience.left(); ++passed) {
    std::this_thread::yield();
    frame.renew();
    filter.pass(&frame.host);
    CHECK(frame.gaps_are_kept(), "bytes between rows were written");
    if (wanted()) return passed;
  }
  CHECK(false, "%s never comes: %s", what, filter.properties().at("status").description.c_str());
}

int pass_to_picture(Filter &filter, Frame &frame) {
  return pass_until(filter, frame, "a picture", [&] { return !frame.is_original(); });
}

void pass(Filter &filter, Frame &frame) {
  pass_until(filter, frame, "anything", [] { return true; });
}

void make_small(Filter &filter, uint32_t size = side) {
  filter.settings.numbers["width"] = filter.settings.numbers["height"] = size;
}

std::unique_ptr<Filter> small_filter(const char *name = "camera") {
  auto filter = std::make_unique<Filter>(name);
  make_small(*filter);
  filter->create();
  return filter;
}

// How far two images are apart on average, in steps of 255.
double distance(const Image &one, const Image &other) {
  CHECK(one.pixels.size() == other.pixels.size(), "sizes differ");
  double sum = 0;
  for (size_t i = 0; i < one.pixels.size(); ++i) {
    const Colour &a = one.pixels[i], &b = other.pixels[i];
    sum += std::abs(a.r - b.r) + std::abs(a.g - b.g) + std::abs(a.b - b.b);
  }
  return sum / (3 * double(one.pixels.size()));
}

// The library's own pictures of the frame.
Reference reference_of(Frame &frame, Meaning meaning = {}) {
  Still still;
  still.pixels = frame.bytes();
  dreamframe_frame_t &seen = still.frame = DREAMFRAME_FRAME_INIT;
  seen.width = frame.host.width;
  seen.height = frame.host.height;
  seen.format = frame.host.format == VIDEO_FORMAT_BGRA   ? DREAMFRAME_PIXEL_FORMAT_BGRA8
                : frame.host.format == VIDEO_FORMAT_NV12 ? DREAMFRAME_PIXEL_FORMAT_NV12
                                                         : DREAMFRAME_PIXEL_FORMAT_I420;
  seen.origin = meaning.flip ? DREAMFRAME_ORIGIN_BOTTOM_LEFT : DREAMFRAME_ORIGIN_TOP_LEFT;
  seen.matrix = meaning.bt601 ? DREAMFRAME_YUV_MATRIX_BT601 : DREAMFRAME_YUV_MATRIX_BT709;
  seen.range = meaning.full ? DREAMFRAME_YUV_RANGE_FULL : DREAMFRAME_YUV_RANGE_LIMITED;
  for (int plane = 0; plane < 3; ++plane) {
    if (!frame.host.data[plane]) continue;
    seen.planes[plane] = still.pixels.data() + (frame.host.data[plane] - frame.host.data[0]);
    seen.strides[plane] = frame.host.linesize[plane];
  }
  return Reference(side, DREAMFRAME_FIT_STRETCH, std::move(still));
}

// --- Pictures ---

void frames_pass_unchanged_until_there_is_a_picture() {
  Module module(plugin_path.c_str());
  auto filter = small_filter();
  Frame frame(scene(160, 120), VIDEO_FORMAT_NV12);
  filter->pass(&frame.host);
  CHECK(frame.is_original(), "the first frame is changed");
  CHECK(filter->properties().at("status").description == "loading", "another status");
  pass_to_picture(*filter, frame);
  CHECK(filter->properties().at("status").description == "running", "another status");
  for (int i = 0; i < 20; ++i) {
    frame.renew();
    filter->pass(&frame.host);
    CHECK(!frame.is_original(), "the last picture is not shown again");
  }
}

// For every format and meaning: the bytes that the library itself gives for the same frame, and by colours, apart from
// any format, the picture of the top-down RGBA frame.
void pictures_are_the_librarys_own() {
  Module module(plugin_path.c_str());
  const Image still = scene(side, side);
  Reference plain(side, DREAMFRAME_FIT_STRETCH, still_rgba(still));
  const struct {
    const char *name;
    video_format format;
    Meaning meaning;
  } kinds[] = {
      {"bgra", VIDEO_FORMAT_BGRA, {}},
      {"bgra_flipped", VIDEO_FORMAT_BGRA, {false, false, true}},
      {"nv12_709", VIDEO_FORMAT_NV12, {}},
      {"nv12_601_full", VIDEO_FORMAT_NV12, {true, true, false}},
      {"i420_601", VIDEO_FORMAT_I420, {true, false, false}},
      {"i420_709_full", VIDEO_FORMAT_I420, {false, true, false}},
      {"i420_flipped", VIDEO_FORMAT_I420, {false, false, true}},
  };
  for (const auto &kind : kinds) {
    auto filter = small_filter();
    Frame frame(still, kind.format, kind.meaning);
    Reference reference = reference_of(frame, kind.meaning);
    pass_to_picture(*filter, frame);
    save(frame.image(), folder + "/" + kind.name + ".ppm");
    CHECK(reference.reaches(frame.packed()), "%s: not what the library makes", kind.name);
    const double far = distance(frame.image(), image_of(plain.picture(reference.made()), side));
    CHECK(far < 6, "%s: colours are %g apart", kind.name, far);
  }
  save(still, folder + "/input.ppm");
}

void other_formats_pass_unchanged_and_are_logged_once() {
  Module module(plugin_path.c_str());
  auto filter = small_filter("capture card");
  Frame nv12(scene(160, 120), VIDEO_FORMAT_NV12), yuy2(scene(160, 120), VIDEO_FORMAT_YUY2);
  pass_to_picture(*filter, nv12);
  for (int i = 0; i < 5; ++i) {
    filter->pass(&yuy2.host);
    CHECK(yuy2.is_original(), "a frame that the library does not know is changed");
  }
  CHECK(logged_with("capture card: frames pass unchanged") == 1, "%zu lines", logged_with("frames pass unchanged"));
  Frame wide_gamut(scene(160, 120), VIDEO_FORMAT_NV12);
  wide_gamut.host.color_matrix[2] = 1.6836f;  // BT.2100
  filter->pass(&wide_gamut.host);
  CHECK(wide_gamut.is_original(), "colours that the library does not know");
  pass_to_picture(*filter, nv12);
}

// --- Changes of the source ---

void sources_change_their_format_and_size_in_mid_stream() {
  Module module(plugin_path.c_str());
  auto filter = small_filter();
  for (const video_format format : {VIDEO_FORMAT_NV12, VIDEO_FORMAT_I420, VIDEO_FORMAT_BGRA}) {
    for (const auto &[width, height] : {std::pair{160u, 120u}, {97u, 131u}, {320u, 50u}}) {
      Frame frame(scene(width, height), format);
      pass_to_picture(*filter, frame);
      for (int i = 0; i < 5; ++i) pass(*filter, frame);
      CHECK(!frame.is_original(), "the picture is gone");
    }
  }
  CHECK(logged.empty(), "%s", logged[0].second.c_str());
}

// The stream is square; its picture must cover a wide frame as the frame covered the stream.
void a_picture_is_stretched_back_to_its_frame() {
  Module module(plugin_path.c_str());
  auto filter = small_filter();
  filter->settings.numbers["skip_diffusion"] = 1;  // the picture is the frame: what is left is the way there and back
  filter->update();
  const Image still = scene(320, 180);
  for (const video_format format : {VIDEO_FORMAT_NV12, VIDEO_FORMAT_I420, VIDEO_FORMAT_BGRA}) {
    Frame frame(still, format);
    // The first pictures may still be of before the setting counted.
    const std::string what = "a picture like its frame in format " + std::to_string(int(format));
    pass_until(*filter, frame, what.c_str(), [&] { return !frame.is_original() && distance(frame.image(), still) < 6; });
    save(frame.image(), folder + "/stretched_" + std::to_string(int(format)) + ".ppm");
  }
}

// --- Waiting ---

void the_video_thread_waits_neither_for_the_model_nor_for_a_frame() {
  Module module(plugin_path.c_str());
  Filter filter;
  make_small(filter, 256);  // a frame of it takes as long as many that pass
  filter.create();
  Frame frame(scene(160, 120), VIDEO_FORMAT_NV12);
  const int before = pass_to_picture(filter, frame);
  CHECK(before > 5, "only %d frames while the model was loaded", before);
  // The frame changes by a little each time, so that every picture differs from the one before.
  int pictures = 0, passed = 0;
  std::vector<uint8_t> last;
  const Patience patience;
  for (; pictures < 3 && patience.left(); ++passed) {
    Image moving = scene(160, 120);
    for (uint32_t y = 0; y < 120; ++y) std::rotate(&moving.at(0, y), &moving.at(0, y) + passed % 160, &moving.at(0, y) + 160);
    Frame next(moving, VIDEO_FORMAT_NV12);
    filter.pass(&next.host);
    CHECK(!next.is_original(), "the last picture is not shown again");
    if (next.bytes() != last) ++pictures;
    last = next.bytes();
  }
  CHECK(pictures == 3, "the pictures stand still");
  CHECK(passed > 6, "%d frames went by in the time of 3 pictures: they wait", passed);
}

void filters_may_be_destroyed_while_they_load_and_while_they_work() {
  Module module(plugin_path.c_str());
  Frame frame(scene(160, 120), VIDEO_FORMAT_I420);
  for (const int frames : {0, 1, 10, 50, 200, 500}) {
    auto filter = small_filter();
    for (int i = 0; i < frames; ++i) pass(*filter, frame);
  }
  auto filter = small_filter();
  pass_to_picture(*filter, frame);
}

void filters_of_two_sources_work_side_by_side() {
  Module module(plugin_path.c_str());
  const Image still = scene(side, side);
  std::vector<std::thread> sources;
  for (const char *name : {"camera", "capture card", "film"}) {
    sources.emplace_back([&, name] {
      auto filter = small_filter(name);
      Frame frame(still, VIDEO_FORMAT_NV12);
      Reference reference = reference_of(frame);
      pass_to_picture(*filter, frame);
      CHECK(reference.reaches(frame.packed()), "%s: not what the library makes", name);
    });
  }
  for (std::thread &source : sources) source.join();
}

// --- Settings ---

void settings_may_change_with_every_frame() {
  Module module(plugin_path.c_str());
  auto filter = small_filter();
  Frame frame(scene(160, 120), VIDEO_FORMAT_NV12);
  pass_to_picture(*filter, frame);
  for (int i = 0; i < 300; ++i) {
    filter->settings.numbers["delta"] = 0.5 + i * 0.001;
    filter->settings.numbers["seed"] = i % 5;
    if (i % 10 == 0) filter->settings.texts["prompt"] = "a house, \"number\" " + std::to_string(i);
    filter->update();
    pass(*filter, frame);
    CHECK(!frame.is_original(), "the picture is gone");
  }
  CHECK(logged.empty(), "%s", logged[0].second.c_str());
}

void what_is_refused_is_shown_and_logged_and_pictures_go_on() {
  Module module(plugin_path.c_str());
  auto filter = small_filter();
  Frame frame(scene(160, 120), VIDEO_FORMAT_NV12);
  pass_to_picture(*filter, frame);
  filter->settings.texts["json"] = "{\"guidance_scal\": 2}";
  filter->update();
  for (int i = 0; i < 5; ++i) {
    pass(*filter, frame);
    CHECK(!frame.is_original(), "the picture is gone");
  }
  CHECK(logged_with("guidance_scale") == 1, "%zu lines", logged_with("guidance_scale"));
  obs_property status = filter->properties().at("status");
  CHECK(status.info == OBS_TEXT_INFO_WARNING, "no warning");
  CHECK(status.description.find("guidance_scale") != std::string::npos, "'%s'", status.description.c_str());
  filter->settings.texts["json"] = "";
  filter->update();
  pass(*filter, frame);
  status = filter->properties().at("status");
  CHECK(status.info == OBS_TEXT_INFO_NORMAL && status.description == "running", "'%s'", status.description.c_str());
}

// The models of these names are not there, so that the warning shows that the library got them.
void networks_are_chosen_without_json() {
  Module module(plugin_path.c_str());
  auto filter = small_filter();
  Frame frame(scene(160, 120), VIDEO_FORMAT_NV12);
  pass_to_picture(*filter, frame);
  const auto says = [&](const char *text) {
    filter->update();
    pass_until(*filter, frame, text, [&] {
      CHECK(!frame.is_original(), "the picture is gone");
      return filter->properties().at("status").description.find(text) != std::string::npos;
    });
  };
  filter->settings.texts["controlnet1"] = "no/such-controlnet";
  says("no/such-controlnet");
  filter->settings.numbers["controlnet1_enabled"] = 0;
  filter->settings.texts["lora2"] = "no/such-lora";
  filter->settings.numbers["lora2_scale"] = 0.5;
  says("no/such-lora");
  filter->settings.texts["lora2"] = "";
  filter->update();
  pass_until(*filter, frame, "the end of the warning", [&] {
    return filter->properties().at("status").description == "running";
  });
}

void a_model_that_is_missing_is_an_error_until_it_is_there() {
  Module module(plugin_path.c_str());
  auto filter = small_filter();
  Frame frame(scene(160, 120), VIDEO_FORMAT_NV12);
  filter->settings.texts["model_folder"] = folder + "/nowhere";
  filter->update();
  pass_until(*filter, frame, "an error", [&] {
    return filter->properties().at("status").info == OBS_TEXT_INFO_ERROR;
  });
  pass(*filter, frame);
  CHECK(frame.is_original(), "a picture from nowhere");
  CHECK(logged_with("nowhere") == 1, "%zu lines", logged_with("nowhere"));
  filter->settings.texts["model_folder"] = demo_folder();
  filter->update();
  pass_to_picture(*filter, frame);
}

void properties_are_there_without_a_filter() {
  Module module(plugin_path.c_str());
  Filter filter;  // not created
  const auto properties = filter.properties();
  CHECK(properties.count("prompt") && properties.count("json") && properties.count("model_folder"), "some are missing");
  CHECK(!properties.count("status"), "of what?");
  for (const auto &[name, property] : properties) {
    if (name.rfind("group ", 0) == 0) continue;
    const auto text = filter.settings.default_texts.find(name);
    CHECK(text != filter.settings.default_texts.end() || filter.settings.default_numbers.count(name), "%s has no default",
          name.c_str());
    const auto &choices = property.choices;
    CHECK(choices.empty() || std::find(choices.begin(), choices.end(), text->second) != choices.end(),
          "%s: the default is no choice", name.c_str());
  }
  CHECK(properties.at("cfg_type").choices.size() == 4, "the types of guidance");
}

// Prints what untouched settings come to, as JSON, for the test that compares them with the library's own.
void print_defaults() {
  Module module(plugin_path.c_str());
  Filter filter;  // not created
  const hosts::Settings settings([&](const hosts::Field &field) {
    const auto number = filter.settings.default_numbers.find(field.name);
    const auto text = filter.settings.default_texts.find(field.name);
    const bool is_number = number != filter.settings.default_numbers.end();
    CHECK(is_number || text != filter.settings.default_texts.end(), "%s has no default", field.name.c_str());
    return is_number ? hosts::Given{number->second, ""} : hosts::Given{0, text->second};
  });
  for (const auto &[name, json] : settings.values()) std::printf("%s\t%s\n", name.c_str(), json.c_str());
}

const Case cases[] = {
#define CASE(name) {#name, name}
    CASE(frames_pass_unchanged_until_there_is_a_picture),
    CASE(pictures_are_the_librarys_own),
    CASE(other_formats_pass_unchanged_and_are_logged_once),
    CASE(sources_change_their_format_and_size_in_mid_stream),
    CASE(a_picture_is_stretched_back_to_its_frame),
    CASE(the_video_thread_waits_neither_for_the_model_nor_for_a_frame),
    CASE(filters_may_be_destroyed_while_they_load_and_while_they_work),
    CASE(filters_of_two_sources_work_side_by_side),
    CASE(settings_may_change_with_every_frame),
    CASE(what_is_refused_is_shown_and_logged_and_pictures_go_on),
    CASE(networks_are_chosen_without_json),
    CASE(a_model_that_is_missing_is_an_error_until_it_is_there),
    CASE(properties_are_there_without_a_filter),
#undef CASE
};

}  // namespace

int main(int count, char **arguments) {
  CHECK(count == 4, "usage: cases PLUGIN FOLDER NAME");
  plugin_path = arguments[1];
  folder = arguments[2];
  return run_case(cases, arguments[3], print_defaults);
}
