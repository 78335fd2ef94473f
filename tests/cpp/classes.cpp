// What the C++ header adds to C: objects that move and free themselves, exceptions, callbacks, views of containers.

#include "expect.hpp"

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

void texts_are_given() {
  expect(dreamframe::version() == DREAMFRAME_VERSION, "the version");
  expect(!dreamframe::build_info().empty() && !dreamframe::params_schema().empty(), "what it is");
  expect(dreamframe::default_params() != dreamframe::demo_params(), "two sets of parameters");
}

} // namespace

int main() {
  objects_move_and_free_themselves();
  errors_have_the_status_and_every_violation();
  a_gpu_is_selected_by_provider_device_and_library();
  frames_on_a_device_need_an_executor_with_memory_for_them();
  views_are_of_any_container_of_bytes();
  callbacks_are_functions_and_no_exception_leaves_them();
  sessions_outlive_the_object_of_their_engine();
  texts_are_given();
  return 0;
}
