// What the C++ header adds to C: objects that move and free themselves, exceptions, callbacks, views of containers.

#include "expect.hpp"

#include <algorithm>
#include <array>
#include <type_traits>
#include <vector>

using namespace std::chrono_literals;
using dreamframe::Engine, dreamframe::FrameView, dreamframe::FrameViewMut, dreamframe::PixelFormat, dreamframe::Session;

namespace {

constexpr std::uint32_t SIDE = 64;
constexpr std::chrono::milliseconds LIMIT = 120s;

Engine small(dreamframe::EngineOptions options = {}) {
  options.dtype = dreamframe::Dtype::F32;
  options.threads = 1;
  options.params_json = dreamframe::merge_params("", R"({"width": 64, "height": 64})");
  return Engine(std::move(options));
}

void objects_move_and_free_themselves() {
  static_assert(std::is_nothrow_move_constructible_v<Engine> && std::is_nothrow_move_assignable_v<Engine>);
  static_assert(std::is_nothrow_move_constructible_v<Session> && std::is_nothrow_move_assignable_v<Session>);
  static_assert(!std::is_copy_constructible_v<Engine> && !std::is_copy_assignable_v<Engine>);
  static_assert(!std::is_copy_constructible_v<Session> && !std::is_copy_assignable_v<Session>);
  Engine engine = small();
  Engine other = std::move(engine);
  expect(thrown([&] { engine.params(); }) == DREAMFRAME_ERROR_INVALID_ARGUMENT, "nothing is left where it was");
  expect(other.size() == std::pair(SIDE, SIDE), "it is where it went");
  other = small();
  expect(other.delay() < 10, "and may be replaced");
}

void errors_have_the_status_and_every_violation() {
  Engine engine = small();
  const std::string before = engine.params();
  try {
    engine.update(R"({"delta": -1, "no_such_field": 1})");
    expect(false, "it is refused");
  } catch (const dreamframe::Error &error) {
    expect(error.status() == DREAMFRAME_ERROR_INVALID_PARAMS, "by its kind");
    expect(error.json().find("\"violations\"") != std::string::npos, "with what is wrong");
  }
  expect(engine.params() == before, "nothing has changed");
  expect(thrown([] { dreamframe::check_params("[]"); }) == DREAMFRAME_ERROR_INVALID_PARAMS, "parameters are checked");
  expect(engine.plan(R"({"delta": 0.5})").cost == dreamframe::Cost::Hot, "a plan says the cost");
  const dreamframe::Update update = engine.update(R"({"delta": 0.5})");
  expect(update.cost == dreamframe::Cost::Hot && !update.report.empty(), "and so does the update");
}

void a_gpu_is_selected_by_provider_device_and_library() {
  dreamframe::EngineOptions options;
  options.executor = dreamframe::Executor::Onnx;
  options.provider = dreamframe::Provider::Cuda;
  options.device_index = 1;
  options.onnxruntime = "no such folder";
  expect(thrown([&] { small(options); }) == DREAMFRAME_ERROR_NOT_FOUND, "the library is searched where it is named");
}

void frames_on_a_device_need_an_executor_with_memory_for_them() {
  Engine engine = small();
  expect(engine.frame_memory() == std::pair(0u, 0u), "the executor cpu has none");
  std::vector<std::uint8_t> in(SIDE * SIDE * 4, 90), out(SIDE * SIDE * 4);
  dreamframe_device_frame_t frame = DREAMFRAME_DEVICE_FRAME_INIT;
  frame.width = frame.height = SIDE;
  frame.format = DREAMFRAME_PIXEL_FORMAT_RGBA8;
  frame.memory = DREAMFRAME_FRAME_MEMORY_HOST;
  frame.stride = SIDE * 4;
  dreamframe_device_frame_t target = frame;
  frame.address = in.data();
  target.address = out.data();
  expect(thrown([&] { engine.process_device(frame, target); }) == DREAMFRAME_ERROR_UNSUPPORTED, "it is refused");
}

void views_are_of_any_container_of_bytes() {
  Engine engine = small();
  const std::vector<std::uint8_t> in(SIDE * SIDE * 4, 90);
  std::vector<unsigned char> out(SIDE * SIDE * 3);
  static std::array<std::byte, SIDE * SIDE * 4> bytes{};
  FrameView frame(PixelFormat::Rgba8, SIDE, SIDE, in);
  const auto info = engine.process(frame.stamp(5us, 7), FrameViewMut(PixelFormat::Rgb8, SIDE, SIDE, out));
  expect(info.timestamp_ns == 5000 && info.user_tag == 7, "a stamp comes back");
  engine.process(frame, FrameViewMut(PixelFormat::Bgra8, SIDE, SIDE, bytes).origin(dreamframe::Origin::BottomLeft));
  expect(bytes[3] == std::byte{255}, "alpha is written");
  const auto too_small = [&] { FrameView(PixelFormat::Rgba8, SIDE, SIDE, out); };
  expect(thrown(too_small) == DREAMFRAME_ERROR_INVALID_FRAME, "a container that is too small is refused");
}

void callbacks_are_functions_and_no_exception_leaves_them() {
  int lines = 0;
  bool go_on = false;
  dreamframe::EngineOptions options;
  options.log_level = dreamframe::LogLevel::Trace;
  options.log = [&](dreamframe::LogLevel, std::string_view, std::string_view) {
    ++lines;
    throw std::runtime_error("lost");
  };
  options.progress = [&](std::string_view, std::uint64_t, std::uint64_t) { return go_on; };
  expect(thrown([&] { Engine engine(options); }) == DREAMFRAME_ERROR_CANCELLED, "loading stops when told to");
  go_on = true;
  Engine engine = small(options);

  int pictures = 0;
  dreamframe::SessionOptions session_options;
  session_options.on_picture = [&](const dreamframe_frame_t *, const dreamframe::PictureInfo &) {
    ++pictures;
    throw std::runtime_error("lost");
  };
  Session session = engine.start(session_options);
  // The callbacks go where the session goes.
  Session moved = std::move(session);
  const std::vector<std::uint8_t> in(SIDE * SIDE * 4, 90);
  moved.submit(FrameView(PixelFormat::Rgba8, SIDE, SIDE, in));
  moved.stop(LIMIT);
  expect(pictures == 1 && lines > 0, "pictures and lines are told");
}

/** Multiplies by the setting `sharpen_intensity`; 5 and more are an error. */
class Amplifier final : public dreamframe::Processor {
public:
  Amplifier(std::string_view settings, int &alive) : alive_(alive) {
    configure(settings);
    ++alive_;
  }
  ~Amplifier() override { --alive_; }

  void run(const dreamframe::Image &input, const dreamframe::Image *, const dreamframe::ImageMut &output) override {
    if (gain_ >= 5) throw std::runtime_error("too loud");
    std::transform(input.pixels, input.pixels + input.size(), output.pixels, [&](float value) { return value * gain_; });
  }

  void configure(std::string_view settings) override {
    const std::string text(settings);
    gain_ = std::stof(text.substr(text.find(':') + 1));
  }

private:
  int &alive_;
  float gain_ = 1;
};

void hooks_are_functions_and_objects_and_no_exception_leaves_them() {
  const auto chain = [](const std::string &gain) {
    return R"({"skip_diffusion": true, "image_preprocessing": {"processors": [{"type": "sharpen", "params": )"
           R"({"sharpen_intensity": )" + gain + "}}]}}";
  };
  int alive = 0;
  const auto shared = std::make_shared<int>(0);
  const std::vector<std::uint8_t> in(SIDE * SIDE * 4, 40);
  std::vector<std::uint8_t> out(SIDE * SIDE * 4);
  const FrameView frame(PixelFormat::Rgba8, SIDE, SIDE, in);
  const FrameViewMut room(PixelFormat::Rgba8, SIDE, SIDE, out);
  {
    dreamframe::EngineOptions options;
    options.processors.push_back({"sharpen", [&alive, shared](std::string_view settings) {
                                    return std::make_unique<Amplifier>(settings, alive);
                                  }});
    options.safety_checker = [shared](const dreamframe::Image &picture) -> float {
      ++*shared;
      if (picture.channels == 3) throw std::runtime_error("no verdict");
      return 0;
    };
    Engine engine = small(options);
    engine.update(chain("2.0"));
    expect(alive == 1, "an instance is started");
    engine.process(frame, room);
    expect(out[0] == 80, "and runs");
    engine.update(chain("5.0"));
    try {
      engine.process(frame, room);
      expect(false, "an exception fails the frame");
    } catch (const dreamframe::Error &error) {
      expect(std::string(error.what()).find("too loud") != std::string::npos, "with its message");
    }
    engine.update(R"({"skip_diffusion": false, "use_safety_checker": true, "image_preprocessing": {"processors": []}})");
    expect(alive == 0, "an instance ends with its place in the parameters");
    expect(thrown([&] { engine.process(frame, room); }) == DREAMFRAME_ERROR_UNSUPPORTED, "as in the checker");
    expect(*shared == 1, "which was asked");
    dreamframe::EngineOptions unknown = options;
    unknown.processors[0].name = "no such processor";
    expect(thrown([&] { small(unknown); }) == DREAMFRAME_ERROR_INVALID_ARGUMENT, "names are checked");
  }
  expect(alive == 0 && shared.use_count() == 1, "all copies of the functions are freed");
}

void images_besides_frames_count_until_they_are_cleared() {
  Engine engine = small();
  engine.update(R"({"skip_diffusion": true, "image_preprocessing": {"processors": [{"type": "external"}]}})");
  const std::vector<std::uint8_t> in(SIDE * SIDE * 4, 40), second(8 * 8 * 3, 200);
  std::vector<std::uint8_t> out(SIDE * SIDE * 4);
  const FrameView frame(PixelFormat::Rgba8, SIDE, SIDE, in), image(PixelFormat::Rgb8, 8, 8, second);
  const FrameViewMut room(PixelFormat::Rgba8, SIDE, SIDE, out);
  engine.set_external_image(image);
  engine.set_external_image(image, "a/controlnet");
  engine.process(frame, room);
  expect(out[0] == 200, "it is in place of the frame");
  engine.clear_external_image();
  engine.process(frame, room);
  expect(out[0] == 40, "until it is cleared");
  engine.set_style_image(image);
  expect(engine.params().find(dreamframe::style_pixels_uri(image)) != std::string::npos, "a style image is a parameter");
  Session session = engine.start();
  session.set_external_image(image);
  session.submit(frame);
  expect(session.wait(LIMIT, room).has_value() && out[0] == 200, "in a session, too");
  session.clear_external_image();
  expect(session.set_style_image(frame).version == 1, "a style image is an update");
}

void sessions_outlive_the_object_of_their_engine() {
  const std::vector<std::uint8_t> in(SIDE * SIDE * 4, 90);
  std::vector<std::uint8_t> out(SIDE * SIDE * 4);
  const FrameView frame(PixelFormat::Rgba8, SIDE, SIDE, in);
  const FrameViewMut room(PixelFormat::Rgba8, SIDE, SIDE, out);
  Session session = small().start();
  expect(!session.poll(room) && session.is_running() && session.size() == std::pair(SIDE, SIDE), "nothing yet");
  const auto ticket = session.set("delta", 0.5);
  expect(session.wait_for(ticket, LIMIT) == dreamframe::Outcome::Applied, "an update is waited for");
  session.set("seed", 5);
  session.set("skip_diffusion", false);
  session.wait_for(session.set("prompt", "moonlit night"), LIMIT);
  const auto id = session.submit(frame);
  const auto info = session.wait(LIMIT, room);
  expect(info && info->id == id && info->version >= ticket.version, "its picture comes");
  expect(session.params().find("moonlit night") != std::string::npos, "parameters are told");
  expect(session.stats().submitted == 1 && !session.stats_json().empty(), "and what was done");
  expect(session.next_event().has_value(), "and what happened");
  session.stop(LIMIT);
  expect(thrown([&] { session.submit(frame); }) == DREAMFRAME_ERROR_CLOSED, "it has ended");
}

void pictures_are_made_from_the_prompt_alone() {
  Engine engine = small();
  std::vector<std::uint8_t> day(SIDE * SIDE * 4), night(SIDE * SIDE * 4);
  const auto info = engine.text_to_image(FrameViewMut(PixelFormat::Rgba8, SIDE, SIDE, day));
  expect(info.width == SIDE && info.kind == DREAMFRAME_PICTURE_KIND_NEW, "it is a picture");
  engine.update(R"({"prompt": "moonlit night"})");
  engine.text_to_image(FrameViewMut(PixelFormat::Rgba8, SIDE, SIDE, night));
  expect(day != night, "of another prompt, another one");
}

void prompts_change_gradually() {
  constexpr int STEPS = 4;
  Engine engine = small();
  const std::vector<std::uint8_t> in(SIDE * SIDE * 4, 90);
  std::vector<std::uint8_t> out(SIDE * SIDE * 4), last;
  const auto next = [&] {
    engine.process(FrameView(PixelFormat::Rgba8, SIDE, SIDE, in), FrameViewMut(PixelFormat::Rgba8, SIDE, SIDE, out));
    return out != std::exchange(last, out);
  };
  while (next()) {
  }
  const std::string transition =
      R"({"target_prompts": "moonlit night", "num_steps": )" + std::to_string(STEPS) +
      R"(, "temporal_interpolation_method": "slerp"})";
  expect(engine.transition(transition).find("prompt") != std::string::npos, "the report has the change");
  for (int picture = 1; picture <= STEPS; ++picture) {
    expect(next(), "each picture differs from the one before");
  }
}

void texts_are_given() {
  expect(dreamframe::version() == DREAMFRAME_VERSION, "the version");
  expect(!dreamframe::build_info().empty() && !dreamframe::params_schema().empty(), "what it is");
  expect(dreamframe::default_params() != dreamframe::demo_params(), "two sets of parameters");
  expect(dreamframe::params_for_model("sdxs").find("IDKiro/sdxs-512-0.9") != std::string::npos, "those of a model");
}

} // namespace

int main() {
  objects_move_and_free_themselves();
  errors_have_the_status_and_every_violation();
  a_gpu_is_selected_by_provider_device_and_library();
  frames_on_a_device_need_an_executor_with_memory_for_them();
  views_are_of_any_container_of_bytes();
  callbacks_are_functions_and_no_exception_leaves_them();
  hooks_are_functions_and_objects_and_no_exception_leaves_them();
  images_besides_frames_count_until_they_are_cleared();
  sessions_outlive_the_object_of_their_engine();
  pictures_are_made_from_the_prompt_alone();
  prompts_change_gradually();
  texts_are_given();
  return 0;
}
