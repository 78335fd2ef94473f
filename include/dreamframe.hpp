/**
 * dreamframe for C++17: the classes `Engine`, `Session`, `Server`, `Publisher` and `Player` over `dreamframe.h`, which
 * has the whole documentation.
 *
 * Requires only this header, `dreamframe.h` and either library. Differences from C:
 *
 * - objects are moved, not copied, and freed by their destructors;
 * - a call that fails throws `dreamframe::Error`, which has the status, and has no effect;
 * - texts are `std::string`, callbacks are `std::function`, and pixels may be in any container of bytes.
 *
 * Names, threads and ownership are those of the functions of the same name.
 */
#ifndef DREAMFRAME_HPP
#define DREAMFRAME_HPP

#include "dreamframe.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <iterator>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace dreamframe {

enum class PixelFormat : std::uint32_t {
  Rgba8 = DREAMFRAME_PIXEL_FORMAT_RGBA8,
  Bgra8 = DREAMFRAME_PIXEL_FORMAT_BGRA8,
  Rgb8 = DREAMFRAME_PIXEL_FORMAT_RGB8,
  Rgba16F = DREAMFRAME_PIXEL_FORMAT_RGBA16F,
  Nv12 = DREAMFRAME_PIXEL_FORMAT_NV12,
  I420 = DREAMFRAME_PIXEL_FORMAT_I420,
};

enum class Origin : std::uint32_t {
  TopLeft = DREAMFRAME_ORIGIN_TOP_LEFT,
  BottomLeft = DREAMFRAME_ORIGIN_BOTTOM_LEFT,
};

enum class YuvMatrix : std::uint32_t { Bt601 = DREAMFRAME_YUV_MATRIX_BT601, Bt709 = DREAMFRAME_YUV_MATRIX_BT709 };

enum class YuvRange : std::uint32_t { Limited = DREAMFRAME_YUV_RANGE_LIMITED, Full = DREAMFRAME_YUV_RANGE_FULL };

enum class Executor : std::uint32_t {
  Cpu = DREAMFRAME_EXECUTOR_CPU,
  Reference = DREAMFRAME_EXECUTOR_REFERENCE,
  Onnx = DREAMFRAME_EXECUTOR_ONNX,
  Auto = DREAMFRAME_EXECUTOR_AUTO,
};

enum class Provider : std::uint32_t {
  Cpu = DREAMFRAME_PROVIDER_CPU,
  Cuda = DREAMFRAME_PROVIDER_CUDA,
  TensorRtRtx = DREAMFRAME_PROVIDER_TENSORRT_RTX,
  TensorRt = DREAMFRAME_PROVIDER_TENSORRT,
  WebGpu = DREAMFRAME_PROVIDER_WEBGPU,
  DirectMl = DREAMFRAME_PROVIDER_DIRECTML,
  CoreMl = DREAMFRAME_PROVIDER_COREML,
  MiGraphX = DREAMFRAME_PROVIDER_MIGRAPHX,
  OpenVino = DREAMFRAME_PROVIDER_OPENVINO,
};

enum class Dtype : std::uint32_t {
  F32 = DREAMFRAME_DTYPE_F32,
  Bf16 = DREAMFRAME_DTYPE_BF16,
  Int8 = DREAMFRAME_DTYPE_INT8,
  F16 = DREAMFRAME_DTYPE_F16,
};

enum class Noise : std::uint32_t { Philox = DREAMFRAME_NOISE_PHILOX, TorchCpu = DREAMFRAME_NOISE_TORCH_CPU };

enum class Fit : std::uint32_t {
  Cover = DREAMFRAME_FIT_COVER,
  Fit = DREAMFRAME_FIT_FIT,
  Stretch = DREAMFRAME_FIT_STRETCH,
};

enum class Flagged : std::uint32_t { Previous = DREAMFRAME_FLAGGED_PREVIOUS, Black = DREAMFRAME_FLAGGED_BLACK };

enum class ControlImages : std::uint32_t {
  Newest = DREAMFRAME_CONTROL_IMAGES_NEWEST,
  PerRow = DREAMFRAME_CONTROL_IMAGES_PER_ROW,
};

enum class Batching : std::uint32_t {
  AsRequested = DREAMFRAME_BATCHING_AS_REQUESTED,
  WhereFaster = DREAMFRAME_BATCHING_WHERE_FASTER,
};

enum class BatchStreams : std::uint32_t {
  Off = DREAMFRAME_BATCH_STREAMS_OFF,
  On = DREAMFRAME_BATCH_STREAMS_ON,
  Auto = DREAMFRAME_BATCH_STREAMS_AUTO,
};

enum class RegionReuse : std::uint32_t {
  Off = DREAMFRAME_REGION_REUSE_OFF,
  Exact = DREAMFRAME_REGION_REUSE_EXACT,
  Approximate = DREAMFRAME_REGION_REUSE_APPROXIMATE,
};

enum class LoraMode : std::uint32_t {
  Merged = DREAMFRAME_LORA_MODE_MERGED,
  Live = DREAMFRAME_LORA_MODE_LIVE,
  Auto = DREAMFRAME_LORA_MODE_AUTO,
};

enum class LogLevel : std::uint32_t {
  Error = DREAMFRAME_LOG_LEVEL_ERROR,
  Warn = DREAMFRAME_LOG_LEVEL_WARN,
  Info = DREAMFRAME_LOG_LEVEL_INFO,
  Debug = DREAMFRAME_LOG_LEVEL_DEBUG,
  Trace = DREAMFRAME_LOG_LEVEL_TRACE,
};

enum class FailedFrame : std::uint32_t {
  Repeat = DREAMFRAME_FAILED_FRAME_REPEAT,
  Skip = DREAMFRAME_FAILED_FRAME_SKIP,
};

/** Cost of a change of parameters, in increasing order; `Nothing` if nothing changed. */
enum class Cost : std::uint32_t {
  Nothing = 0,
  Hot = DREAMFRAME_COST_HOT,
  Recompute = DREAMFRAME_COST_RECOMPUTE,
  Load = DREAMFRAME_COST_LOAD,
  Rebuild = DREAMFRAME_COST_REBUILD,
};

enum class Outcome : std::uint32_t {
  Applied = DREAMFRAME_OUTCOME_APPLIED,
  Superseded = DREAMFRAME_OUTCOME_SUPERSEDED,
};

/** The connection state of a publisher or a player. */
enum class PeerState : std::uint32_t {
  Connecting = DREAMFRAME_PEER_STATE_CONNECTING,
  Connected = DREAMFRAME_PEER_STATE_CONNECTED,
  Disconnected = DREAMFRAME_PEER_STATE_DISCONNECTED,
  Failed = DREAMFRAME_PEER_STATE_FAILED,
  Closed = DREAMFRAME_PEER_STATE_CLOSED,
};

/** The error of a failed call, with the message of `dreamframe_last_error()`. */
class Error : public std::runtime_error {
public:
  explicit Error(dreamframe_status_t status)
      : std::runtime_error(dreamframe_last_error()), status_(status), json_(dreamframe_last_error_json()) {}

  /** A `DREAMFRAME_ERROR_…`. */
  dreamframe_status_t status() const noexcept { return status_; }

  /** The kind, the message and every violation, as `dreamframe_last_error_json()` has them. */
  const std::string &json() const noexcept { return json_; }

private:
  dreamframe_status_t status_;
  std::string json_;
};

/** Implementation details; not for use outside this header. */
namespace detail {

/** Throws if `status` is an error. */
inline dreamframe_status_t check(dreamframe_status_t status) {
  if (status < 0) {
    throw Error(status);
  }
  return status;
}

struct FreeString {
  void operator()(char *text) const noexcept { dreamframe_string_free(text); }
};

/** Returns the string of `call`. */
template <class Call> std::string text(Call &&call) {
  char *raw = nullptr;
  check(std::forward<Call>(call)(&raw));
  const std::unique_ptr<char, FreeString> owned(raw);
  return raw;
}

inline const char *or_null(const std::string &text) noexcept { return text.empty() ? nullptr : text.c_str(); }

template <class Enum> std::uint32_t number(const std::optional<Enum> &value) noexcept {
  return value ? static_cast<std::uint32_t>(*value) : 0;
}

struct FreeEngine {
  void operator()(dreamframe_engine_t *engine) const noexcept { dreamframe_engine_free(engine); }
};

struct FreeSession {
  void operator()(dreamframe_session_t *session) const noexcept { dreamframe_session_free(session); }
};

struct FreeServer {
  void operator()(dreamframe_server_t *server) const noexcept { dreamframe_server_free(server); }
};

struct FreePublisher {
  void operator()(dreamframe_publisher_t *publisher) const noexcept { dreamframe_publisher_free(publisher); }
};

struct FreePlayer {
  void operator()(dreamframe_player_t *player) const noexcept { dreamframe_player_free(player); }
};

/** Returns the string of `call`, if there is one. */
template <class Call> std::optional<std::string> text_if_any(Call &&call) {
  char *raw = nullptr;
  check(std::forward<Call>(call)(&raw));
  const std::unique_ptr<char, FreeString> owned(raw);
  return raw == nullptr ? std::nullopt : std::optional<std::string>(raw);
}

inline std::uint64_t milliseconds(std::chrono::milliseconds time) noexcept {
  return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
}

/** Converts to an option in milliseconds; more than 49 days are clamped. */
inline std::uint32_t milliseconds_option(std::chrono::milliseconds time) noexcept {
  constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
  const std::uint64_t count = milliseconds(time);
  return static_cast<std::uint32_t>(count < most ? count : most);
}

} // namespace detail

/** Metadata of a picture. */
using PictureInfo = dreamframe_picture_info_t;

/** Statistics of a session. */
using Stats = dreamframe_stats_t;

/** Statistics of a publisher or a player. */
using ConnectionStats = dreamframe_connection_stats_t;

namespace detail {

/** Converts a pointer to any byte type to that of the C interface. */
template <class Byte> auto bytes(Byte *pixels) noexcept {
  static_assert(sizeof(Byte) == 1, "pixels are bytes");
  return reinterpret_cast<std::conditional_t<std::is_const_v<Byte>, const std::uint8_t, std::uint8_t> *>(pixels);
}

/** Pixels in borrowed memory; `Self` is the access to them. */
template <class Self> class Pixels {
public:
  /** Pixels described by a C struct, with planes and strides. */
  explicit Pixels(const dreamframe_frame_t &raw) noexcept : raw_(raw) {}

  /** Sets the row that is first in memory; the default is the top row. */
  Self &origin(Origin origin) noexcept {
    raw_.origin = static_cast<std::uint32_t>(origin);
    return self();
  }

  /** Sets the colour encoding of NV12 and I420; the default is BT.709 in limited range. */
  Self &color(YuvMatrix matrix, YuvRange range) noexcept {
    raw_.matrix = static_cast<std::uint32_t>(matrix);
    raw_.range = static_cast<std::uint32_t>(range);
    return self();
  }

  const dreamframe_frame_t *raw() const noexcept { return &raw_; }

protected:
  Pixels(PixelFormat format, std::uint32_t width, std::uint32_t height, std::uint8_t *pixels, std::size_t len) {
    check(dreamframe_frame_packed(static_cast<std::uint32_t>(format), width, height, pixels, len, &raw_));
  }

  Self &self() noexcept { return static_cast<Self &>(*this); }

  dreamframe_frame_t raw_ = DREAMFRAME_FRAME_INIT;
};

} // namespace detail

/** An input frame: pixels that are only read. */
class FrameView : public detail::Pixels<FrameView> {
public:
  using Pixels::Pixels;

  /** Contiguous pixels, in a container of bytes such as a vector, an array or a span, which must not move. */
  template <class Bytes>
  FrameView(PixelFormat format, std::uint32_t width, std::uint32_t height, const Bytes &pixels)
      : Pixels(format, width, height, const_cast<std::uint8_t *>(detail::bytes(std::data(pixels))), std::size(pixels)) {}

  /** Sets the timestamp and the tag that are returned with its picture. */
  FrameView &stamp(std::chrono::nanoseconds timestamp, std::uint64_t user_tag = 0) noexcept {
    raw_.timestamp_ns = static_cast<std::uint64_t>(timestamp.count());
    raw_.user_tag = user_tag;
    return *this;
  }
};

/** The target of a picture: pixels that are written. */
class FrameViewMut : public detail::Pixels<FrameViewMut> {
public:
  using Pixels::Pixels;

  /** Contiguous pixels, in a container of bytes such as a vector, an array or a span, which must not move. */
  template <class Bytes>
  FrameViewMut(PixelFormat format, std::uint32_t width, std::uint32_t height, Bytes &&pixels)
      : Pixels(format, width, height, detail::bytes(std::data(pixels)), std::size(pixels)) {}
};

/** Receives the reply of a `style` callback. */
class Reply {
public:
  explicit Reply(dreamframe_reply_t *raw) noexcept : raw_(raw) {}

  /** Replies with the bytes of an image file. */
  void bytes(const std::uint8_t *data, std::size_t len) { detail::check(dreamframe_reply_bytes(raw_, data, len)); }

  /** Replies with the embedding of a face. */
  void floats(const float *data, std::size_t len) { detail::check(dreamframe_reply_floats(raw_, data, len)); }

  /** Replies with an error. */
  void error(const std::string &message) { detail::check(dreamframe_reply_error(raw_, message.c_str())); }

private:
  dreamframe_reply_t *raw_;
};

/** An image that a processor or a safety checker reads: `height * width * channels` values, row by row. */
struct Image {
  const float *pixels;
  std::uint32_t width;
  std::uint32_t height;
  std::uint32_t channels;

  std::size_t size() const noexcept { return std::size_t{width} * height * channels; }
};

/** An image that a processor writes. */
struct ImageMut {
  float *pixels;
  std::uint32_t width;
  std::uint32_t height;
  std::uint32_t channels;

  std::size_t size() const noexcept { return std::size_t{width} * height * channels; }
};

/** An instance of a processor of the host, for one place of the parameters. */
class Processor {
public:
  virtual ~Processor() = default;

  /**
   * Processes the image of a frame, on the thread that processes frames. `previous` is the last picture, null before the
   * first. An exception fails the frame.
   */
  virtual void run(const Image &input, const Image *previous, const ImageMut &output) = 0;

  /** Changes the settings, an object as JSON. Exceptions are ignored. */
  virtual void configure(std::string_view) {}

  /** Discards the state. Exceptions are ignored. */
  virtual void reset() {}
};

/** A processor of the host, which replaces the library's of the same name. */
struct ProcessorType {
  /** The name in the parameters, such as `canny`. */
  std::string name;
  /** Starts an instance with its settings, an object as JSON; on any thread. An exception or null fails frames. */
  std::function<std::unique_ptr<Processor>(std::string_view)> start;
  /** The factor from the size of the input to that of the output. */
  std::uint32_t scale = 1;
  /** Channels of the output; those of the input, if 0. */
  std::uint32_t channels = 0;
};

/** Options of an engine: an empty or zero value is the library's default. */
struct EngineOptions {
  /** A folder, or `"demo"`. */
  std::string models;
  /** The initial parameters as JSON; those of the demo model, if empty. */
  std::string params_json;
  std::optional<Executor> executor;
  /** The execution provider of ONNX Runtime; the first that works, if empty. */
  std::optional<Provider> provider;
  /** The index of the device among those of the provider. */
  std::uint32_t device_index = 0;
  /** ONNX Runtime's library, or a folder with it. */
  std::string onnxruntime;
  /** Whether runs of networks are captured as CUDA graphs, on providers of NVIDIA. */
  bool cuda_graphs = false;
  std::optional<Dtype> dtype;
  std::optional<Noise> noise;
  /** The number of threads; all of the machine's, if 0. */
  std::uint32_t threads = 0;
  std::optional<Fit> fit;
  std::optional<PixelFormat> output;
  std::optional<Flagged> flagged;
  std::optional<ControlImages> control_images;
  std::optional<LoraMode> lora_mode;
  std::optional<Batching> batching;
  std::optional<BatchStreams> batch_streams;
  /** The longest time that a frame waits for those of other engines, in milliseconds; 0 for 10. */
  std::uint32_t batch_wait_ms = 0;
  std::optional<RegionReuse> region_reuse;
  /** With approximate reuse: the mean difference up to which a block is unchanged, in levels of 0 to 255; 0 for 4. */
  float region_threshold = 0;
  std::optional<LogLevel> log_level;
  /** The autoencoder: `auto` (also if empty), `tiny`, `full` for the model's own, an id, or a folder. */
  std::string vae;
  std::string ip_adapter;
  std::string packed_cache;
  std::string calibration;

  /** Receives log messages: level, target, message. Exceptions are ignored. */
  std::function<void(LogLevel, std::string_view, std::string_view)> log;
  /** Receives the progress of loading: component, done, total. Returning false or throwing cancels loading. */
  std::function<bool(std::string_view, std::uint64_t, std::uint64_t)> progress;
  /** Provides style images: the kind, its source, the reply. An exception means no reply. */
  std::function<void(dreamframe_style_t, std::string_view, Reply)> style;
  /** The host's processors. */
  std::vector<ProcessorType> processors;
  /** Returns how unsafe a picture is, from 0 to 1, if `use_safety_checker` is on. An exception fails the frame. */
  std::function<float(const Image &)> safety_checker;
};

/** Options of a session. */
struct SessionOptions {
  /** Receives pictures on the session's thread as soon as they are ready. Exceptions are ignored. */
  std::function<void(const dreamframe_frame_t *, const PictureInfo &)> on_picture;
  std::optional<FailedFrame> failed_frame;
};

namespace detail {

/** Adapters that C calls: no exception escapes from them. */
struct Callbacks {
  static void log(void *options, std::uint32_t level, const char *target, const char *message) noexcept {
    try {
      static_cast<EngineOptions *>(options)->log(static_cast<LogLevel>(level), target, message);
    } catch (...) {
    }
  }

  static std::int32_t progress(void *options, const char *component, std::uint64_t done, std::uint64_t total) noexcept {
    try {
      return static_cast<EngineOptions *>(options)->progress(component, done, total) ? 0 : 1;
    } catch (...) {
      return 1;
    }
  }

  static void style(void *options, std::uint32_t wanted, const char *source, dreamframe_reply_t *reply) noexcept {
    try {
      static_cast<EngineOptions *>(options)->style(static_cast<dreamframe_style_t>(wanted), source, Reply(reply));
    } catch (...) {
    }
  }

  static void picture(void *options, const dreamframe_frame_t *picture, const PictureInfo *info) noexcept {
    try {
      static_cast<SessionOptions *>(options)->on_picture(picture, *info);
    } catch (...) {
    }
  }
};

} // namespace detail

namespace detail {

/** Adapters that C calls for processors and safety checkers: no exception escapes from them. */
struct HookCalls {
  static void tell(const char *reason, char *message, std::size_t size) noexcept {
    const std::size_t length = std::min(std::strlen(reason), size - 1);
    std::memcpy(message, reason, length);
    message[length] = 0;
  }

  static void *start(void *type, const char *settings_json) noexcept {
    try {
      return static_cast<ProcessorType *>(type)->start(settings_json).release();
    } catch (...) {
      return nullptr;
    }
  }

  static std::int32_t run(void *instance, const dreamframe_processor_call_t *call) noexcept {
    try {
      const Image input{call->input, call->width, call->height, call->channels};
      const Image previous{call->previous, call->previous_width, call->previous_height, call->channels};
      const ImageMut output{call->output, call->output_width, call->output_height, call->output_channels};
      static_cast<Processor *>(instance)->run(input, call->previous == nullptr ? nullptr : &previous, output);
      return DREAMFRAME_OK;
    } catch (const std::exception &failure) {
      tell(failure.what(), call->message, call->message_size);
    } catch (...) {
    }
    return DREAMFRAME_ERROR_UNSUPPORTED;
  }

  static void configure(void *instance, const char *settings_json) noexcept {
    try {
      static_cast<Processor *>(instance)->configure(settings_json);
    } catch (...) {
    }
  }

  static void reset(void *instance) noexcept {
    try {
      static_cast<Processor *>(instance)->reset();
    } catch (...) {
    }
  }

  static void stop(void *instance) noexcept { delete static_cast<Processor *>(instance); }

  static void destroy_type(void *type) noexcept { delete static_cast<ProcessorType *>(type); }

  using Score = std::function<float(const Image &)>;

  static std::int32_t score(void *checker, const dreamframe_safety_call_t *call, float *out_score) noexcept {
    try {
      *out_score = (*static_cast<Score *>(checker))(Image{call->picture, call->width, call->height, 3});
      return DREAMFRAME_OK;
    } catch (const std::exception &failure) {
      tell(failure.what(), call->message, call->message_size);
    } catch (...) {
    }
    return DREAMFRAME_ERROR_UNSUPPORTED;
  }

  static void destroy_score(void *checker) noexcept { delete static_cast<Score *>(checker); }
};

/** The hooks of an engine's options; the library frees copies of the functions. */
class Hooks {
public:
  explicit Hooks(const EngineOptions &options) {
    // Nothing throws between an allocation and the library's taking it over, except for the next one.
    for (const ProcessorType &type : options.processors) {
      owned_types_.push_back(std::make_unique<ProcessorType>(type));
      dreamframe_processor_t raw = DREAMFRAME_PROCESSOR_INIT;
      raw.name = owned_types_.back()->name.c_str();
      raw.user_data = owned_types_.back().get();
      raw.start = HookCalls::start;
      raw.run = HookCalls::run;
      raw.configure = HookCalls::configure;
      raw.reset = HookCalls::reset;
      raw.stop = HookCalls::stop;
      raw.destroy = HookCalls::destroy_type;
      raw.scale = type.scale;
      raw.channels = type.channels;
      types_.push_back(raw);
    }
    for (const dreamframe_processor_t &raw : types_) places_.push_back(&raw);
    if (options.safety_checker) owned_score_ = std::make_unique<HookCalls::Score>(options.safety_checker);
    checker_.user_data = owned_score_.get();
    checker_.score = HookCalls::score;
    checker_.destroy = HookCalls::destroy_score;
    raw_.processors = places_.data();
    raw_.processor_count = places_.size();
    raw_.safety_checker = owned_score_ ? &checker_ : nullptr;
  }

  /** Returns the C struct; the library destroys what it points to. */
  const dreamframe_hooks_t *release() noexcept {
    for (std::unique_ptr<ProcessorType> &type : owned_types_) static_cast<void>(type.release());
    static_cast<void>(owned_score_.release());
    return &raw_;
  }

private:
  std::vector<std::unique_ptr<ProcessorType>> owned_types_;
  std::unique_ptr<HookCalls::Score> owned_score_;
  std::vector<dreamframe_processor_t> types_;
  std::vector<const dreamframe_processor_t *> places_;
  dreamframe_safety_checker_t checker_ = DREAMFRAME_SAFETY_CHECKER_INIT;
  dreamframe_hooks_t raw_ = DREAMFRAME_HOOKS_INIT;
};

} // namespace detail

/** The result of an update. */
struct Update {
  Cost cost;
  /** Cost, changes and notices as JSON. */
  std::string report;
};

/** The receipt of an update, for waiting for it. */
struct Ticket {
  std::uint64_t version;
  /** Version, cost, changes and notices as JSON; empty after setting a single value, and for a transition. */
  std::string report;
};

/** An engine on its own thread. All functions except moving and destruction are thread-safe. */
class Session {
public:
  Session(Session &&) noexcept = default;

  /** Frees the previous session first, so that its callbacks are not called again. */
  Session &operator=(Session &&other) noexcept {
    raw_ = std::move(other.raw_);
    options_ = std::move(other.options_);
    engine_options_ = std::move(other.engine_options_);
    return *this;
  }

  /** Submits a frame, without waiting; returns the id by which a picture refers to it. */
  std::uint64_t submit(const FrameView &frame) {
    std::uint64_t id = 0;
    detail::check(dreamframe_session_submit(get(), frame.raw(), &id));
    return id;
  }

  /**
   * Sets the image of `external` processors: the control image of the ControlNet with this `model_id`; of all, if that is
   * empty.
   */
  void set_external_image(const FrameView &image, const std::string &controlnet = {}) {
    detail::check(dreamframe_session_set_external_image(get(), detail::or_null(controlnet), image.raw()));
  }

  /** Removes the image that `set_external_image` set, if there is one. */
  void clear_external_image(const std::string &controlnet = {}) {
    detail::check(dreamframe_session_clear_external_image(get(), detail::or_null(controlnet)));
  }

  /** Sets the style image of the IP-Adapter. */
  Ticket set_style_image(const FrameView &image) {
    Ticket ticket{};
    detail::check(dreamframe_session_set_style_image(get(), image.raw(), &ticket.version));
    return ticket;
  }

  /** Copies the newest picture into `target`, if there is one that was not taken. */
  std::optional<PictureInfo> poll(const FrameViewMut &target) {
    PictureInfo info = DREAMFRAME_PICTURE_INFO_INIT;
    return ready(dreamframe_session_poll(get(), target.raw(), &info), info);
  }

  /** Like `poll`, but waits for a picture. */
  std::optional<PictureInfo> wait(std::chrono::milliseconds timeout, const FrameViewMut &target) {
    PictureInfo info = DREAMFRAME_PICTURE_INFO_INIT;
    return ready(dreamframe_session_wait(get(), detail::milliseconds(timeout), target.raw(), &info), info);
  }

  /** Returns the width and height of the next picture. */
  std::pair<std::uint32_t, std::uint32_t> size() const {
    std::pair<std::uint32_t, std::uint32_t> size;
    detail::check(dreamframe_session_size(get(), &size.first, &size.second));
    return size;
  }

  /** Changes parameters while frames are processed. */
  Ticket update(const std::string &patch_json) {
    Ticket ticket{};
    ticket.report = detail::text([&](char **report) {
      return dreamframe_session_update(get(), patch_json.c_str(), &ticket.version, report);
    });
    return ticket;
  }

  /** Changes one parameter: a number, a boolean or a string. */
  template <class Value> Ticket set(const std::string &name, const Value &value) {
    Ticket ticket{};
    if constexpr (std::is_same_v<Value, bool>) {
      detail::check(dreamframe_session_set_bool(get(), name.c_str(), value, &ticket.version));
    } else if constexpr (std::is_integral_v<Value>) {
      detail::check(dreamframe_session_set_i64(get(), name.c_str(), static_cast<std::int64_t>(value), &ticket.version));
    } else if constexpr (std::is_floating_point_v<Value>) {
      detail::check(dreamframe_session_set_f32(get(), name.c_str(), static_cast<float>(value), &ticket.version));
    } else {
      detail::check(dreamframe_session_set_text(get(), name.c_str(), std::string(value).c_str(), &ticket.version));
    }
    return ticket;
  }

  /** Changes the prompt gradually over the given number of pictures. */
  Ticket transition(const std::string &transition_json) {
    Ticket ticket{};
    detail::check(dreamframe_session_transition(get(), transition_json.c_str(), &ticket.version));
    return ticket;
  }

  /** Returns what an update would change, without applying it. */
  Update plan(const std::string &patch_json) const {
    std::uint32_t cost = 0;
    std::string report =
        detail::text([&](char **out) { return dreamframe_session_plan(get(), patch_json.c_str(), &cost, out); });
    return {static_cast<Cost>(cost), std::move(report)};
  }

  /** Waits until an update has ended; throws the error of a rejected one. */
  Outcome wait_for(const Ticket &ticket, std::chrono::milliseconds timeout) {
    std::uint32_t outcome = 0;
    detail::check(dreamframe_session_wait_for(get(), ticket.version, detail::milliseconds(timeout), &outcome));
    return static_cast<Outcome>(outcome);
  }

  /** Returns the desired parameters, as JSON. */
  std::string params() const {
    return detail::text([&](char **json) { return dreamframe_session_params(get(), json); });
  }

  Stats stats() const {
    Stats stats = DREAMFRAME_STATS_INIT;
    detail::check(dreamframe_session_stats(get(), &stats));
    return stats;
  }

  std::string stats_json() const {
    return detail::text([&](char **json) { return dreamframe_session_stats_json(get(), json); });
  }

  /** Takes the oldest event, as JSON; waits for one up to `timeout`. */
  std::optional<std::string> next_event(std::chrono::milliseconds timeout = {}) {
    return detail::text_if_any(
        [&](char **json) { return dreamframe_session_next_event(get(), detail::milliseconds(timeout), json); });
  }

  bool is_running() const {
    bool running = false;
    detail::check(dreamframe_session_is_running(get(), &running));
    return running;
  }

  /** Ends the session and returns the engine; never from `on_picture`. Its pictures can still be polled. */
  void stop(std::chrono::milliseconds timeout) {
    detail::check(dreamframe_session_stop(get(), detail::milliseconds(timeout)));
  }

  /** Returns the C handle, which this object still owns. */
  dreamframe_session_t *get() const noexcept { return raw_.get(); }

private:
  friend class Engine;
  friend class Server;

  /** The session of a server, which calls the engine's callbacks. */
  Session(dreamframe_session_t *session, std::shared_ptr<EngineOptions> engine_options) noexcept
      : engine_options_(std::move(engine_options)), raw_(session) {}

  Session(dreamframe_engine_t *engine, std::shared_ptr<EngineOptions> engine_options, SessionOptions options)
      : engine_options_(std::move(engine_options)), options_(std::make_unique<SessionOptions>(std::move(options))) {
    dreamframe_session_options_t raw_options = DREAMFRAME_SESSION_OPTIONS_INIT;
    raw_options.on_picture = options_->on_picture ? detail::Callbacks::picture : nullptr;
    raw_options.user_data = options_.get();
    raw_options.failed_frame = detail::number(options_->failed_frame);
    dreamframe_session_t *session = nullptr;
    detail::check(dreamframe_session_start(engine, &raw_options, &session));
    raw_.reset(session);
  }

  static std::optional<PictureInfo> ready(dreamframe_status_t status, const PictureInfo &info) {
    return detail::check(status) == DREAMFRAME_OK ? std::optional<PictureInfo>(info) : std::nullopt;
  }

  // In this order: the session is freed before the callbacks.
  std::shared_ptr<EngineOptions> engine_options_;
  std::unique_ptr<SessionOptions> options_;
  std::unique_ptr<dreamframe_session_t, detail::FreeSession> raw_;
};

/** Options of network connections: an empty or zero value is the library's default. */
struct NetworkOptions {
  /** Comma-separated IP addresses to bind. */
  std::string bind;
  /** The public IP address, if a NAT maps it to this machine without changing ports. */
  std::string public_ip;
  /** STUN and TURN servers, in the format of browsers. */
  std::string ice_servers_json;
  /** The first and the last UDP port to use. */
  std::uint32_t first_port = 0;
  std::uint32_t last_port = 0;
  std::chrono::milliseconds connect_timeout{};
  /** The longest time for gathering candidates before an offer or an answer is sent. */
  std::chrono::milliseconds gather_timeout{};
  /** Whether candidates relayed by a TURN server are used only. */
  bool relayed_only = false;
};

/** Options of a server: an empty or zero value is the library's default. */
struct ServerOptions {
  /** The address to listen on; port 0 selects a free port. */
  std::string address;
  /** The token of publishers and viewers; required if other machines reach the address. */
  std::string token;
  std::string public_url;
  NetworkOptions network;
  std::uint32_t max_viewers = 0;
  /** In bits per second. */
  std::uint32_t bitrate = 0;
  /** In pictures per second. */
  float frame_rate = 0;
  std::chrono::milliseconds key_frame_interval{};
  /** Comma-separated origins whose pages may use a server without a token. */
  std::string allow_origins;
};

/** Options of a publisher: an empty or zero value is the library's default. */
struct PublisherOptions {
  std::string token;
  NetworkOptions network;
  /** The number of consecutive failed attempts after which it gives up; never, if 0. */
  std::uint32_t attempts = 0;
  std::chrono::milliseconds pause{};
  std::chrono::milliseconds request_timeout{};
  /** In bits per second. */
  std::uint32_t bitrate = 0;
  /** In pictures per second. */
  float frame_rate = 0;
  std::chrono::milliseconds key_frame_interval{};
};

/** Options of a player: an empty or zero value is the library's default. */
struct PlayerOptions {
  std::string token;
  NetworkOptions network;
  /** The session that receives the pictures, which may be freed before the player; if null, they are polled. */
  const Session *session = nullptr;
  /** The number of consecutive failed attempts after which it gives up; never, if 0. */
  std::uint32_t attempts = 0;
  std::chrono::milliseconds pause{};
  std::chrono::milliseconds request_timeout{};
};

namespace detail {

inline dreamframe_network_options_t described(const NetworkOptions &options) noexcept {
  dreamframe_network_options_t raw = DREAMFRAME_NETWORK_OPTIONS_INIT;
  raw.bind = or_null(options.bind);
  raw.public_ip = or_null(options.public_ip);
  raw.ice_servers_json = or_null(options.ice_servers_json);
  raw.first_port = options.first_port;
  raw.last_port = options.last_port;
  raw.connect_timeout_ms = milliseconds_option(options.connect_timeout);
  raw.gather_timeout_ms = milliseconds_option(options.gather_timeout);
  raw.relayed_only = options.relayed_only ? 1 : 0;
  return raw;
}

} // namespace detail

/** A session for publishers and viewers. All functions except moving and destruction are thread-safe. */
class Server {
public:
  Server(Server &&) noexcept = default;

  /** Frees the previous server first, so that the callbacks of its engine are not called again. */
  Server &operator=(Server &&other) noexcept {
    raw_ = std::move(other.raw_);
    engine_options_ = std::move(other.engine_options_);
    return *this;
  }

  /** Returns the address to publish to. */
  std::string whip_url() const {
    return detail::text([&](char **url) { return dreamframe_server_whip_url(get(), url); });
  }

  /** Returns the address to watch. */
  std::string whep_url() const {
    return detail::text([&](char **url) { return dreamframe_server_whep_url(get(), url); });
  }

  /** Returns the TCP port that it listens on. */
  std::uint16_t port() const {
    std::uint32_t port = 0;
    detail::check(dreamframe_server_port(get(), &port));
    return static_cast<std::uint16_t>(port);
  }

  /** Returns its session, which only the server ends: for parameters, events, statistics, frames, and polling pictures. */
  Session session() const {
    dreamframe_session_t *session = nullptr;
    detail::check(dreamframe_server_session(get(), &session));
    return Session(session, engine_options_);
  }

  /** Returns the number of viewers. */
  std::uint32_t viewers() const {
    std::uint32_t viewers = 0;
    detail::check(dreamframe_server_viewers(get(), &viewers));
    return viewers;
  }

  /** Returns whether there is a publisher. */
  bool is_publishing() const {
    bool publishing = false;
    detail::check(dreamframe_server_is_publishing(get(), &publishing));
    return publishing;
  }

  /** Ends all connections and the session, and returns the engine; never from a callback. */
  void stop(std::chrono::milliseconds timeout) {
    detail::check(dreamframe_server_stop(get(), detail::milliseconds(timeout)));
  }

  /** Returns the C handle, which this object still owns. */
  dreamframe_server_t *get() const noexcept { return raw_.get(); }

private:
  friend class Engine;

  Server(dreamframe_engine_t *engine, std::shared_ptr<EngineOptions> engine_options, const ServerOptions &options)
      : engine_options_(std::move(engine_options)) {
    const dreamframe_network_options_t network = detail::described(options.network);
    dreamframe_server_options_t raw_options = DREAMFRAME_SERVER_OPTIONS_INIT;
    raw_options.address = detail::or_null(options.address);
    raw_options.token = detail::or_null(options.token);
    raw_options.public_url = detail::or_null(options.public_url);
    raw_options.network = &network;
    raw_options.max_viewers = options.max_viewers;
    raw_options.bitrate = options.bitrate;
    raw_options.frame_rate = options.frame_rate;
    raw_options.key_frame_interval_ms = detail::milliseconds_option(options.key_frame_interval);
    raw_options.allow_origins = detail::or_null(options.allow_origins);
    dreamframe_server_t *server = nullptr;
    detail::check(dreamframe_server_start(engine, &raw_options, &server));
    raw_.reset(server);
  }

  // In this order: the server is freed before the callbacks.
  std::shared_ptr<EngineOptions> engine_options_;
  std::unique_ptr<dreamframe_server_t, detail::FreeServer> raw_;
};

/** Sends pictures of the host to a WHIP server. All functions except moving and destruction are thread-safe. */
class Publisher {
public:
  /** Starts to connect, and returns immediately. */
  explicit Publisher(const std::string &url, const PublisherOptions &options = {}) {
    const dreamframe_network_options_t network = detail::described(options.network);
    dreamframe_publisher_options_t raw_options = DREAMFRAME_PUBLISHER_OPTIONS_INIT;
    raw_options.token = detail::or_null(options.token);
    raw_options.network = &network;
    raw_options.attempts = options.attempts;
    raw_options.pause_ms = detail::milliseconds_option(options.pause);
    raw_options.request_timeout_ms = detail::milliseconds_option(options.request_timeout);
    raw_options.bitrate = options.bitrate;
    raw_options.frame_rate = options.frame_rate;
    raw_options.key_frame_interval_ms = detail::milliseconds_option(options.key_frame_interval);
    dreamframe_publisher_t *publisher = nullptr;
    detail::check(dreamframe_publisher_start(url.c_str(), &raw_options, &publisher));
    raw_.reset(publisher);
  }

  /** Sends a picture, without waiting. */
  void show(const FrameView &picture) { detail::check(dreamframe_publisher_show(get(), picture.raw())); }

  PeerState state() const {
    std::uint32_t state = 0;
    detail::check(dreamframe_publisher_state(get(), &state));
    return static_cast<PeerState>(state);
  }

  /** Waits until it is in `state`; throws if it ends in another one or `timeout` expires. */
  void wait_for(PeerState state, std::chrono::milliseconds timeout) {
    const auto number = static_cast<std::uint32_t>(state);
    detail::check(dreamframe_publisher_wait_for(get(), number, detail::milliseconds(timeout)));
  }

  /** Returns the address to play the stream from, once the server has sent one. */
  std::optional<std::string> playback_url() const {
    return detail::text_if_any([&](char **url) { return dreamframe_publisher_playback_url(get(), url); });
  }

  /** Takes the oldest event, as JSON; waits for one up to `timeout`. */
  std::optional<std::string> next_event(std::chrono::milliseconds timeout = {}) {
    return detail::text_if_any(
        [&](char **json) { return dreamframe_publisher_next_event(get(), detail::milliseconds(timeout), json); });
  }

  ConnectionStats stats() const {
    ConnectionStats stats = DREAMFRAME_CONNECTION_STATS_INIT;
    detail::check(dreamframe_publisher_stats(get(), &stats));
    return stats;
  }

  /** Ends the connection, and waits for that. */
  void stop() { detail::check(dreamframe_publisher_stop(get())); }

  /** Returns the C handle, which this object still owns. */
  dreamframe_publisher_t *get() const noexcept { return raw_.get(); }

private:
  std::unique_ptr<dreamframe_publisher_t, detail::FreePublisher> raw_;
};

/** Receives the pictures of a WHEP server. All functions except moving and destruction are thread-safe. */
class Player {
public:
  /** Starts to connect, and returns immediately. */
  explicit Player(const std::string &url, const PlayerOptions &options = {}) {
    const dreamframe_network_options_t network = detail::described(options.network);
    dreamframe_player_options_t raw_options = DREAMFRAME_PLAYER_OPTIONS_INIT;
    raw_options.token = detail::or_null(options.token);
    raw_options.network = &network;
    raw_options.session = options.session == nullptr ? nullptr : options.session->get();
    raw_options.attempts = options.attempts;
    raw_options.pause_ms = detail::milliseconds_option(options.pause);
    raw_options.request_timeout_ms = detail::milliseconds_option(options.request_timeout);
    dreamframe_player_t *player = nullptr;
    detail::check(dreamframe_player_start(url.c_str(), &raw_options, &player));
    raw_.reset(player);
  }

  /** Copies the newest picture into `target`, if there is one that was not taken; returns the number of earlier pictures. */
  std::optional<std::uint64_t> poll(const FrameViewMut &target) {
    std::uint64_t id = 0;
    return ready(dreamframe_player_poll(get(), target.raw(), &id), id);
  }

  /** Like `poll`, but waits for a picture. */
  std::optional<std::uint64_t> wait(std::chrono::milliseconds timeout, const FrameViewMut &target) {
    std::uint64_t id = 0;
    return ready(dreamframe_player_wait(get(), detail::milliseconds(timeout), target.raw(), &id), id);
  }

  /** Returns the width and height of the next picture, after the first one has arrived. */
  std::optional<std::pair<std::uint32_t, std::uint32_t>> size() const {
    std::pair<std::uint32_t, std::uint32_t> size;
    return ready(dreamframe_player_size(get(), &size.first, &size.second), size);
  }

  PeerState state() const {
    std::uint32_t state = 0;
    detail::check(dreamframe_player_state(get(), &state));
    return static_cast<PeerState>(state);
  }

  /** Waits until it is in `state`; throws if it ends in another one or `timeout` expires. */
  void wait_for(PeerState state, std::chrono::milliseconds timeout) {
    const auto number = static_cast<std::uint32_t>(state);
    detail::check(dreamframe_player_wait_for(get(), number, detail::milliseconds(timeout)));
  }

  /** Takes the oldest event, as JSON; waits for one up to `timeout`. */
  std::optional<std::string> next_event(std::chrono::milliseconds timeout = {}) {
    return detail::text_if_any(
        [&](char **json) { return dreamframe_player_next_event(get(), detail::milliseconds(timeout), json); });
  }

  ConnectionStats stats() const {
    ConnectionStats stats = DREAMFRAME_CONNECTION_STATS_INIT;
    detail::check(dreamframe_player_stats(get(), &stats));
    return stats;
  }

  /** Ends the connection, and waits for that; wakes threads that wait for a picture. */
  void stop() { detail::check(dreamframe_player_stop(get())); }

  /** Returns the C handle, which this object still owns. */
  dreamframe_player_t *get() const noexcept { return raw_.get(); }

private:
  template <class Value> static std::optional<Value> ready(dreamframe_status_t status, const Value &value) {
    return detail::check(status) == DREAMFRAME_OK ? std::optional<Value>(value) : std::nullopt;
  }

  std::unique_ptr<dreamframe_player_t, detail::FreePlayer> raw_;
};

/** Parameters, models and the state of one stream. Calls must be serialized. */
class Engine {
public:
  /** Loads the models and prepares the first frame. Slow. */
  explicit Engine(EngineOptions options = {}) : options_(std::make_shared<EngineOptions>(std::move(options))) {
    dreamframe_engine_t *engine = nullptr;
    dreamframe_options_t raw_options = described(*options_);
    detail::Hooks hooks(*options_);
    raw_options.hooks = hooks.release();
    detail::check(dreamframe_engine_create(&raw_options, &engine));
    raw_.reset(engine);
  }

  Engine(Engine &&) noexcept = default;

  /** Frees the previous engine first, so that its callbacks are not called again. */
  Engine &operator=(Engine &&other) noexcept {
    raw_ = std::move(other.raw_);
    options_ = std::move(other.options_);
    return *this;
  }

  /** Processes one frame and writes the picture of the frame `delay` calls ago into `target`, which has the engine's size. */
  PictureInfo process(const FrameView &frame, const FrameViewMut &target) {
    PictureInfo info = DREAMFRAME_PICTURE_INFO_INIT;
    detail::check(dreamframe_engine_process(get(), frame.raw(), target.raw(), &info));
    return info;
  }

  /**
   * Like `process`, for frame and picture in the memory of the device, which the host allocated: nothing is transferred to
   * the host.
   */
  PictureInfo process_device(const dreamframe_device_frame_t &frame, const dreamframe_device_frame_t &target) {
    PictureInfo info = DREAMFRAME_PICTURE_INFO_INIT;
    detail::check(dreamframe_engine_process_device(get(), &frame, &target, &info));
    return info;
  }

  /**
   * The `dreamframe_frame_memory_t` of the frames of `process_device`, 0 if the executor has none, and the index of the CUDA
   * device.
   */
  std::pair<std::uint32_t, std::uint32_t> frame_memory() const {
    std::pair<std::uint32_t, std::uint32_t> memory;
    detail::check(dreamframe_engine_frame_memory(get(), &memory.first, &memory.second));
    return memory;
  }

  /**
   * Sets the image of `external` processors: the control image of the ControlNet with this `model_id`; of all, if that is
   * empty.
   */
  void set_external_image(const FrameView &image, const std::string &controlnet = {}) {
    detail::check(dreamframe_engine_set_external_image(get(), detail::or_null(controlnet), image.raw()));
  }

  /** Removes the image that `set_external_image` set, if there is one. */
  void clear_external_image(const std::string &controlnet = {}) {
    detail::check(dreamframe_engine_clear_external_image(get(), detail::or_null(controlnet)));
  }

  /** Sets the style image of the IP-Adapter before the next frame. */
  void set_style_image(const FrameView &image) { detail::check(dreamframe_engine_set_style_image(get(), image.raw())); }

  /** Makes a picture from the prompt alone, and writes it into `target`, which has the engine's size. */
  PictureInfo text_to_image(const FrameViewMut &target) {
    PictureInfo info = DREAMFRAME_PICTURE_INFO_INIT;
    detail::check(dreamframe_engine_text_to_image(get(), target.raw(), &info));
    return info;
  }

  /** Changes parameters before the next frame. */
  Update update(const std::string &patch_json) {
    std::uint32_t cost = 0;
    std::string report =
        detail::text([&](char **out) { return dreamframe_engine_update(get(), patch_json.c_str(), &cost, out); });
    return {static_cast<Cost>(cost), std::move(report)};
  }

  /** Returns what an update would change, without applying it. */
  Update plan(const std::string &patch_json) const {
    std::uint32_t cost = 0;
    std::string report =
        detail::text([&](char **out) { return dreamframe_engine_plan(get(), patch_json.c_str(), &cost, out); });
    return {static_cast<Cost>(cost), std::move(report)};
  }

  /** Changes the prompt gradually over the given number of pictures; returns the report. */
  std::string transition(const std::string &transition_json) {
    return detail::text(
        [&](char **report) { return dreamframe_engine_transition(get(), transition_json.c_str(), report); });
  }

  /** Returns the parameters in use, as JSON. */
  std::string params() const {
    return detail::text([&](char **json) { return dreamframe_engine_params(get(), json); });
  }

  /** Returns a description of the engine, as JSON. */
  std::string info() const {
    return detail::text([&](char **json) { return dreamframe_engine_info(get(), json); });
  }

  /** Returns the width and height of the next picture. */
  std::pair<std::uint32_t, std::uint32_t> size() const {
    std::pair<std::uint32_t, std::uint32_t> size;
    detail::check(dreamframe_engine_size(get(), &size.first, &size.second));
    return size;
  }

  /** Returns how many frames after its frame a picture is returned. */
  std::uint32_t delay() const {
    std::uint32_t delay = 0;
    detail::check(dreamframe_engine_delay(get(), &delay));
    return delay;
  }

  /** Runs on its own thread, until the session is stopped; calls of this object throw meanwhile. */
  Session start(SessionOptions options = {}) { return Session(get(), options_, std::move(options)); }

  /** Runs as a session for publishers and viewers. Calls of this object throw until the server is stopped. */
  Server serve(const ServerOptions &options = {}) { return Server(get(), options_, options); }

  /** Returns the C handle, which this object still owns. */
  dreamframe_engine_t *get() const noexcept { return raw_.get(); }

private:
  static dreamframe_options_t described(EngineOptions &options) noexcept {
    dreamframe_options_t raw = DREAMFRAME_OPTIONS_INIT;
    raw.models = detail::or_null(options.models);
    raw.params_json = detail::or_null(options.params_json);
    raw.executor = detail::number(options.executor);
    raw.provider = detail::number(options.provider);
    raw.device_index = options.device_index;
    raw.onnxruntime = detail::or_null(options.onnxruntime);
    raw.cuda_graphs = options.cuda_graphs ? 1 : 0;
    raw.dtype = detail::number(options.dtype);
    raw.noise = detail::number(options.noise);
    raw.threads = options.threads;
    raw.fit = detail::number(options.fit);
    raw.output = detail::number(options.output);
    raw.flagged = detail::number(options.flagged);
    raw.control_images = detail::number(options.control_images);
    raw.lora_mode = detail::number(options.lora_mode);
    raw.batching = detail::number(options.batching);
    raw.batch_streams = detail::number(options.batch_streams);
    raw.batch_wait_ms = options.batch_wait_ms;
    raw.region_reuse = detail::number(options.region_reuse);
    raw.region_threshold = options.region_threshold;
    raw.log_level = detail::number(options.log_level);
    raw.vae = detail::or_null(options.vae);
    raw.ip_adapter = detail::or_null(options.ip_adapter);
    raw.packed_cache = detail::or_null(options.packed_cache);
    raw.calibration = detail::or_null(options.calibration);
    raw.log = options.log ? detail::Callbacks::log : nullptr;
    raw.progress = options.progress ? detail::Callbacks::progress : nullptr;
    raw.style = options.style ? detail::Callbacks::style : nullptr;
    raw.user_data = &options;
    return raw;
  }

  // In this order: the engine is freed before the callbacks, which a session shares.
  std::shared_ptr<EngineOptions> options_;
  std::unique_ptr<dreamframe_engine_t, detail::FreeEngine> raw_;
};

/** Returns Daydream's default parameters, as JSON with every field. */
inline std::string default_params() { return detail::text(dreamframe_params_defaults); }

/** Returns the parameters of the demo model, as JSON with every field. */
inline std::string demo_params() { return detail::text(dreamframe_params_demo); }

/** Returns parameters that suit a model: a short name such as `sdxs`, a repository that has one, or `demo`; as JSON. */
inline std::string params_for_model(const std::string &name) {
  return detail::text([&](char **json) { return dreamframe_params_for_model(name.c_str(), json); });
}

/** Returns the JSON Schema of the parameters. */
inline std::string params_schema() { return detail::text(dreamframe_params_schema); }

/** Validates parameters without an engine; returns them with every field, and notices, as JSON. */
inline std::string check_params(const std::string &params_json) {
  return detail::text([&](char **report) { return dreamframe_params_check(params_json.c_str(), report); });
}

/** Applies `patch_json` to `base_json`, or to the parameters of the demo model if that is empty; as JSON with every field. */
inline std::string merge_params(const std::string &base_json, const std::string &patch_json) {
  const char *base = detail::or_null(base_json);
  return detail::text([&](char **json) { return dreamframe_params_merge(base, patch_json.c_str(), json); });
}

/** Encodes an image file as a value of the parameter `ip_adapter_style_image_url`. */
inline std::string style_data_uri(const std::uint8_t *data, std::size_t len) {
  return detail::text([&](char **text) { return dreamframe_style_data_uri(data, len, text); });
}

/** Encodes pixels as a value of the parameter `ip_adapter_style_image_url`. */
inline std::string style_pixels_uri(const FrameView &image) {
  return detail::text([&](char **text) { return dreamframe_style_pixels_uri(image.raw(), text); });
}

/** Options of downloads: an empty value is that of the environment, as `dreamframe_fetch_options_t` describes them. */
struct FetchOptions {
  /** The address of the hub. */
  std::string endpoint;
  /** The folder of the cache. */
  std::string cache;
  /** The user's access token. */
  std::string token;
  /** Whether only models that are in the cache are returned, without a use of the network. */
  bool offline = false;

  /** Receives the progress: model, file, bytes downloaded, bytes of all files. Returning false or throwing cancels. */
  std::function<bool(std::string_view, std::string_view, std::uint64_t, std::uint64_t)> progress;
};

namespace detail {

inline std::int32_t fetch_progress(void *options, const char *model, const char *file, std::uint64_t done,
                                   std::uint64_t total) noexcept {
  try {
    return static_cast<const FetchOptions *>(options)->progress(model, file, done, total) ? 0 : 1;
  } catch (...) {
    return 1;
  }
}

inline dreamframe_fetch_options_t described(const FetchOptions &options) noexcept {
  dreamframe_fetch_options_t raw = DREAMFRAME_FETCH_OPTIONS_INIT;
  raw.endpoint = or_null(options.endpoint);
  raw.cache = or_null(options.cache);
  raw.token = or_null(options.token);
  raw.progress = options.progress ? fetch_progress : nullptr;
  raw.user_data = const_cast<FetchOptions *>(&options);
  raw.offline = options.offline ? 1 : 0;
  return raw;
}

} // namespace detail

/** Downloads a model from the Hugging Face hub into its cache; returns its path. Slow. */
inline std::string fetch_model(const std::string &id, const FetchOptions &options = {}) {
  const dreamframe_fetch_options_t raw = detail::described(options);
  return detail::text([&](char **path) { return dreamframe_models_fetch(id.c_str(), &raw, path); });
}

/** Downloads all models that parameters need; returns a list of them as JSON, with the errors of those that failed. Slow. */
inline std::string fetch_models_for(const std::string &params_json, const FetchOptions &options = {}) {
  const dreamframe_fetch_options_t raw = detail::described(options);
  return detail::text([&](char **models) { return dreamframe_models_fetch_for(params_json.c_str(), &raw, models); });
}

/** Returns the version of the library. */
inline std::string version() { return dreamframe_version(); }

/** Returns how the library was built, as JSON. */
inline std::string build_info() { return dreamframe_build_info(); }

} // namespace dreamframe

#endif // DREAMFRAME_HPP
