/**
 * dreamframe for C++17: the classes `Engine`, `Session`, `Server`, `Publisher` and `Player` over `dreamframe.h`, which
 * has the whole documentation.
 *
 * Only this header is needed, beside that one and either library. What it adds to C:
 *
 * - objects are moved, not copied, and freed by their destructors;
 * - a call that fails throws `dreamframe::Error`, which has the status; nothing has changed then;
 * - texts are `std::string`, callbacks are `std::function`, and pixels lie in any container of bytes.
 *
 * Names, threads and ownership are those of the functions of the same name.
 */
#ifndef DREAMFRAME_HPP
#define DREAMFRAME_HPP

#include "dreamframe.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
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

enum class Executor : std::uint32_t { Cpu = DREAMFRAME_EXECUTOR_CPU, Reference = DREAMFRAME_EXECUTOR_REFERENCE };

enum class Dtype : std::uint32_t {
  F32 = DREAMFRAME_DTYPE_F32,
  Bf16 = DREAMFRAME_DTYPE_BF16,
  Int8 = DREAMFRAME_DTYPE_INT8,
  F16 = DREAMFRAME_DTYPE_F16,
};

enum class CfgType : std::uint32_t {
  None = DREAMFRAME_CFG_TYPE_NONE,
  Self = DREAMFRAME_CFG_TYPE_SELF,
  Full = DREAMFRAME_CFG_TYPE_FULL,
  Initialize = DREAMFRAME_CFG_TYPE_INITIALIZE,
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

/** How far a publisher or a player is. */
enum class PeerState : std::uint32_t {
  Connecting = DREAMFRAME_PEER_STATE_CONNECTING,
  Connected = DREAMFRAME_PEER_STATE_CONNECTED,
  Disconnected = DREAMFRAME_PEER_STATE_DISCONNECTED,
  Failed = DREAMFRAME_PEER_STATE_FAILED,
  Closed = DREAMFRAME_PEER_STATE_CLOSED,
};

/** What a call died of: the text is that of `dreamframe_last_error()`. */
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

/** What is behind the classes; not for use outside this header. */
namespace detail {

/** Throws where `status` is an error. */
inline dreamframe_status_t check(dreamframe_status_t status) {
  if (status < 0) {
    throw Error(status);
  }
  return status;
}

struct FreeString {
  void operator()(char *text) const noexcept { dreamframe_string_free(text); }
};

/** The text that `call` gives. */
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

/** The text that `call` gives, if there is one. */
template <class Call> std::optional<std::string> text_if_any(Call &&call) {
  char *raw = nullptr;
  check(std::forward<Call>(call)(&raw));
  const std::unique_ptr<char, FreeString> owned(raw);
  return raw == nullptr ? std::nullopt : std::optional<std::string>(raw);
}

inline std::uint64_t milliseconds(std::chrono::milliseconds time) noexcept {
  return time.count() < 0 ? 0 : static_cast<std::uint64_t>(time.count());
}

/** The same as an option, where more than 49 days are as many. */
inline std::uint32_t milliseconds_option(std::chrono::milliseconds time) noexcept {
  constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
  const std::uint64_t count = milliseconds(time);
  return static_cast<std::uint32_t>(count < most ? count : most);
}

} // namespace detail

/** What there is to say of a picture besides its pixels. */
using PictureInfo = dreamframe_picture_info_t;

/** What a session has done so far, in numbers. */
using Stats = dreamframe_stats_t;

/** What a publisher or a player has done, in numbers. */
using ConnectionStats = dreamframe_connection_stats_t;

namespace detail {

/** Any type of bytes as the one that C has. */
template <class Byte> auto bytes(Byte *pixels) noexcept {
  static_assert(sizeof(Byte) == 1, "pixels are bytes");
  return reinterpret_cast<std::conditional_t<std::is_const_v<Byte>, const std::uint8_t, std::uint8_t> *>(pixels);
}

/** Pixels in memory that somebody else owns; `Self` says what may be done to them. */
template <class Self> class Pixels {
public:
  /** Pixels that are described in C, with planes and strides of their own. */
  explicit Pixels(const dreamframe_frame_t &raw) noexcept : raw_(raw) {}

  /** Says which row comes first in memory; the top one, if not told. */
  Self &origin(Origin origin) noexcept {
    raw_.origin = static_cast<std::uint32_t>(origin);
    return self();
  }

  /** Says what the numbers of NV12 and I420 mean; BT.709 in limited range, if not told. */
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

/** A frame on its way in: pixels that are only read. */
class FrameView : public detail::Pixels<FrameView> {
public:
  using Pixels::Pixels;

  /** Pixels without gaps, in a container of bytes such as a vector, an array or a span; it must stay where it is. */
  template <class Bytes>
  FrameView(PixelFormat format, std::uint32_t width, std::uint32_t height, const Bytes &pixels)
      : Pixels(format, width, height, const_cast<std::uint8_t *>(detail::bytes(std::data(pixels))), std::size(pixels)) {}

  /** Marks the frame with what comes back with its picture. */
  FrameView &stamp(std::chrono::nanoseconds timestamp, std::uint64_t user_tag = 0) noexcept {
    raw_.timestamp_ns = static_cast<std::uint64_t>(timestamp.count());
    raw_.user_tag = user_tag;
    return *this;
  }
};

/** Room for a picture: pixels that are written. */
class FrameViewMut : public detail::Pixels<FrameViewMut> {
public:
  using Pixels::Pixels;

  /** Pixels without gaps, in a container of bytes such as a vector, an array or a span; it must stay where it is. */
  template <class Bytes>
  FrameViewMut(PixelFormat format, std::uint32_t width, std::uint32_t height, Bytes &&pixels)
      : Pixels(format, width, height, detail::bytes(std::data(pixels)), std::size(pixels)) {}
};

/** Where a `style` callback puts its answer. */
class Reply {
public:
  explicit Reply(dreamframe_reply_t *raw) noexcept : raw_(raw) {}

  /** Answers with the bytes of an image file. */
  void bytes(const std::uint8_t *data, std::size_t len) { detail::check(dreamframe_reply_bytes(raw_, data, len)); }

  /** Answers with the embedding of a face. */
  void floats(const float *data, std::size_t len) { detail::check(dreamframe_reply_floats(raw_, data, len)); }

  /** Answers that there is nothing, and why. */
  void error(const std::string &message) { detail::check(dreamframe_reply_error(raw_, message.c_str())); }

private:
  dreamframe_reply_t *raw_;
};

/** What a host chooses once, when it creates an engine: what is left out has the library's default. */
struct EngineOptions {
  /** A folder, or `"demo"`. */
  std::string models;
  /** The first parameters as JSON; those of the demo model, if empty. */
  std::string params_json;
  std::optional<Executor> executor;
  std::optional<Dtype> dtype;
  std::optional<CfgType> cfg_type;
  std::optional<Noise> noise;
  /** All of the machine's, if 0. */
  std::uint32_t threads = 0;
  std::optional<Fit> fit;
  std::optional<PixelFormat> output;
  std::optional<Flagged> flagged;
  std::optional<ControlImages> control_images;
  std::optional<LogLevel> log_level;
  std::string vae;
  std::string ip_adapter;
  std::string packed_cache;
  std::string calibration;

  /** Takes lines of the log: level, target, message. What it throws is lost. */
  std::function<void(LogLevel, std::string_view, std::string_view)> log;
  /** Hears how loading goes: component, done, total. Loading goes on if it returns true; if it throws, it stops. */
  std::function<bool(std::string_view, std::uint64_t, std::uint64_t)> progress;
  /** Brings style images: what is wanted, its source, where the answer goes. If it throws, there is no answer. */
  std::function<void(dreamframe_style_t, std::string_view, Reply)> style;
};

/** What a host chooses when it starts a session. */
struct SessionOptions {
  /** Takes pictures on the session's thread as soon as they are ready. What it throws is lost. */
  std::function<void(const dreamframe_frame_t *, const PictureInfo &)> on_picture;
  std::optional<FailedFrame> failed_frame;
};

namespace detail {

/** What C calls: no exception goes through it. */
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

/** What an update changes. */
struct Update {
  Cost cost;
  /** Cost, changes and notices as JSON. */
  std::string report;
};

/** The number of an update, by which it is waited for. */
struct Ticket {
  std::uint64_t version;
  /** Version, cost, changes and notices as JSON; empty where a single value was set, and for a transition. */
  std::string report;
};

/** An engine on its own thread. All but moving and destroying it may be done on any threads at the same time. */
class Session {
public:
  Session(Session &&) noexcept = default;

  /** Frees the session that was here first: only then are its callbacks called no more. */
  Session &operator=(Session &&other) noexcept {
    raw_ = std::move(other.raw_);
    options_ = std::move(other.options_);
    engine_options_ = std::move(other.engine_options_);
    return *this;
  }

  /** Hands a frame over and returns at once; gives the number by which a picture will name it. */
  std::uint64_t submit(const FrameView &frame) {
    std::uint64_t id = 0;
    detail::check(dreamframe_session_submit(get(), frame.raw(), &id));
    return id;
  }

  /** Copies the newest picture into `room`, if there is one that nobody has taken. */
  std::optional<PictureInfo> poll(const FrameViewMut &room) {
    PictureInfo info = DREAMFRAME_PICTURE_INFO_INIT;
    return ready(dreamframe_session_poll(get(), room.raw(), &info), info);
  }

  /** As `poll`, but waits for a picture. */
  std::optional<PictureInfo> wait(std::chrono::milliseconds timeout, const FrameViewMut &room) {
    PictureInfo info = DREAMFRAME_PICTURE_INFO_INIT;
    return ready(dreamframe_session_wait(get(), detail::milliseconds(timeout), room.raw(), &info), info);
  }

  /** Gives the width and height of the next picture. */
  std::pair<std::uint32_t, std::uint32_t> size() const {
    std::pair<std::uint32_t, std::uint32_t> size;
    detail::check(dreamframe_session_size(get(), &size.first, &size.second));
    return size;
  }

  /** Changes parameters while frames go on. */
  Ticket update(const std::string &patch_json) {
    Ticket ticket{};
    ticket.report = detail::text([&](char **report) {
      return dreamframe_session_update(get(), patch_json.c_str(), &ticket.version, report);
    });
    return ticket;
  }

  /** Changes one parameter: a number, a switch or a text. */
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

  /** Changes the prompt little by little, over so many of the next pictures. */
  Ticket transition(const std::string &transition_json) {
    Ticket ticket{};
    detail::check(dreamframe_session_transition(get(), transition_json.c_str(), &ticket.version));
    return ticket;
  }

  /** Says what an update would change; nothing has changed. */
  Update plan(const std::string &patch_json) const {
    std::uint32_t cost = 0;
    std::string report =
        detail::text([&](char **out) { return dreamframe_session_plan(get(), patch_json.c_str(), &cost, out); });
    return {static_cast<Cost>(cost), std::move(report)};
  }

  /** Waits until an update has ended; throws what it was rejected for. */
  Outcome wait_for(const Ticket &ticket, std::chrono::milliseconds timeout) {
    std::uint32_t outcome = 0;
    detail::check(dreamframe_session_wait_for(get(), ticket.version, detail::milliseconds(timeout), &outcome));
    return static_cast<Outcome>(outcome);
  }

  /** Gives the parameters last accepted, as JSON. */
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

  /** Takes the oldest event that nobody has taken, as JSON; waits for one up to `timeout`. */
  std::optional<std::string> next_event(std::chrono::milliseconds timeout = {}) {
    return detail::text_if_any(
        [&](char **json) { return dreamframe_session_next_event(get(), detail::milliseconds(timeout), json); });
  }

  bool is_running() const {
    bool running = false;
    detail::check(dreamframe_session_is_running(get(), &running));
    return running;
  }

  /** Ends the session and gives the engine back; never from `on_picture`. Its pictures can still be polled. */
  void stop(std::chrono::milliseconds timeout) {
    detail::check(dreamframe_session_stop(get(), detail::milliseconds(timeout)));
  }

  /** The session in C, which stays this one's. */
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

  // In this order: the session goes first, and calls them no more.
  std::shared_ptr<EngineOptions> engine_options_;
  std::unique_ptr<SessionOptions> options_;
  std::unique_ptr<dreamframe_session_t, detail::FreeSession> raw_;
};

/** How connections reach the network: what is empty or 0 has the library's default. */
struct NetworkOptions {
  /** The IP addresses to receive at, with commas between them. */
  std::string bind;
  /** The IP address to tell peers first, where a NAT maps it to this machine port by port. */
  std::string public_ip;
  /** STUN and TURN servers, in the form that browsers take. */
  std::string ice_servers_json;
  /** The UDP ports to use, from the first to the last. */
  std::uint32_t first_port = 0;
  std::uint32_t last_port = 0;
  std::chrono::milliseconds connect_timeout{};
};

/** What a host chooses when it starts a server: what is empty or 0 has the library's default. */
struct ServerOptions {
  /** Where to listen; port 0 leaves the choice to the system. */
  std::string address;
  /** What publishers and viewers must know; needed where other machines reach the address. */
  std::string token;
  std::string public_url;
  NetworkOptions network;
  std::uint32_t max_viewers = 0;
  /** In bits a second. */
  std::uint32_t bitrate = 0;
  /** In pictures a second. */
  float frame_rate = 0;
  std::chrono::milliseconds key_frame_interval{};
  /** The origins whose pages may use a server without a token, with commas between them. */
  std::string allow_origins;
};

/** What a host chooses when it starts a publisher: what is empty or 0 has the library's default. */
struct PublisherOptions {
  std::string token;
  NetworkOptions network;
  /** After how many attempts in a row that failed it gives up; never, if 0. */
  std::uint32_t attempts = 0;
  std::chrono::milliseconds pause{};
  std::chrono::milliseconds request_timeout{};
  /** In bits a second. */
  std::uint32_t bitrate = 0;
  /** In pictures a second. */
  float frame_rate = 0;
  std::chrono::milliseconds key_frame_interval{};
};

/** What a host chooses when it starts a player: what is empty or 0 has the library's default. */
struct PlayerOptions {
  std::string token;
  NetworkOptions network;
  /** The session that the pictures are submitted to, which may go before the player; if null, they are polled. */
  const Session *session = nullptr;
  /** After how many attempts in a row that failed it gives up; never, if 0. */
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
  return raw;
}

} // namespace detail

/** A session that others publish to and watch. All but moving and destroying it may be done on any threads. */
class Server {
public:
  Server(Server &&) noexcept = default;

  /** Frees the server that was here first: only then are the callbacks of its engine called no more. */
  Server &operator=(Server &&other) noexcept {
    raw_ = std::move(other.raw_);
    engine_options_ = std::move(other.engine_options_);
    return *this;
  }

  /** Gives the address to publish to. */
  std::string whip_url() const {
    return detail::text([&](char **url) { return dreamframe_server_whip_url(get(), url); });
  }

  /** Gives the address to watch. */
  std::string whep_url() const {
    return detail::text([&](char **url) { return dreamframe_server_whep_url(get(), url); });
  }

  /** Gives the TCP port that it listens at. */
  std::uint16_t port() const {
    std::uint32_t port = 0;
    detail::check(dreamframe_server_port(get(), &port));
    return static_cast<std::uint16_t>(port);
  }

  /** Gives its session, which only the server ends: for parameters, events, figures, frames, and pictures to poll. */
  Session session() const {
    dreamframe_session_t *session = nullptr;
    detail::check(dreamframe_server_session(get(), &session));
    return Session(session, engine_options_);
  }

  /** Tells how many watch. */
  std::uint32_t viewers() const {
    std::uint32_t viewers = 0;
    detail::check(dreamframe_server_viewers(get(), &viewers));
    return viewers;
  }

  /** Tells whether somebody publishes. */
  bool is_publishing() const {
    bool publishing = false;
    detail::check(dreamframe_server_is_publishing(get(), &publishing));
    return publishing;
  }

  /** Ends all connections and the session, and gives the engine back; never from a callback. */
  void stop(std::chrono::milliseconds timeout) {
    detail::check(dreamframe_server_stop(get(), detail::milliseconds(timeout)));
  }

  /** The server in C, which stays this one's. */
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

  // In this order: the server goes first, and calls them no more.
  std::shared_ptr<EngineOptions> engine_options_;
  std::unique_ptr<dreamframe_server_t, detail::FreeServer> raw_;
};

/** Sends pictures of the host to a WHIP server. All but moving and destroying it may be done on any threads. */
class Publisher {
public:
  /** Begins to connect, and returns at once. */
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

  /** Shows a picture, and returns at once. */
  void show(const FrameView &picture) { detail::check(dreamframe_publisher_show(get(), picture.raw())); }

  PeerState state() const {
    std::uint32_t state = 0;
    detail::check(dreamframe_publisher_state(get(), &state));
    return static_cast<PeerState>(state);
  }

  /** Waits until it is in `state`; throws where it ends in another one or `timeout` is over. */
  void wait_for(PeerState state, std::chrono::milliseconds timeout) {
    const auto number = static_cast<std::uint32_t>(state);
    detail::check(dreamframe_publisher_wait_for(get(), number, detail::milliseconds(timeout)));
  }

  /** Gives the address at which this can be watched, once the server has said one. */
  std::optional<std::string> playback_url() const {
    return detail::text_if_any([&](char **url) { return dreamframe_publisher_playback_url(get(), url); });
  }

  /** Takes the oldest event that nobody has taken, as JSON; waits for one up to `timeout`. */
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

  /** The publisher in C, which stays this one's. */
  dreamframe_publisher_t *get() const noexcept { return raw_.get(); }

private:
  std::unique_ptr<dreamframe_publisher_t, detail::FreePublisher> raw_;
};

/** Brings the pictures of a WHEP server. All but moving and destroying it may be done on any threads. */
class Player {
public:
  /** Begins to connect, and returns at once. */
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

  /** Copies the newest picture into `room`, if there is one that nobody has taken; gives how many came before it. */
  std::optional<std::uint64_t> poll(const FrameViewMut &room) {
    std::uint64_t id = 0;
    return ready(dreamframe_player_poll(get(), room.raw(), &id), id);
  }

  /** As `poll`, but waits for a picture. */
  std::optional<std::uint64_t> wait(std::chrono::milliseconds timeout, const FrameViewMut &room) {
    std::uint64_t id = 0;
    return ready(dreamframe_player_wait(get(), detail::milliseconds(timeout), room.raw(), &id), id);
  }

  /** Gives the width and height of the next picture, once there was one. */
  std::optional<std::pair<std::uint32_t, std::uint32_t>> size() const {
    std::pair<std::uint32_t, std::uint32_t> size;
    return ready(dreamframe_player_size(get(), &size.first, &size.second), size);
  }

  PeerState state() const {
    std::uint32_t state = 0;
    detail::check(dreamframe_player_state(get(), &state));
    return static_cast<PeerState>(state);
  }

  /** Waits until it is in `state`; throws where it ends in another one or `timeout` is over. */
  void wait_for(PeerState state, std::chrono::milliseconds timeout) {
    const auto number = static_cast<std::uint32_t>(state);
    detail::check(dreamframe_player_wait_for(get(), number, detail::milliseconds(timeout)));
  }

  /** Takes the oldest event that nobody has taken, as JSON; waits for one up to `timeout`. */
  std::optional<std::string> next_event(std::chrono::milliseconds timeout = {}) {
    return detail::text_if_any(
        [&](char **json) { return dreamframe_player_next_event(get(), detail::milliseconds(timeout), json); });
  }

  ConnectionStats stats() const {
    ConnectionStats stats = DREAMFRAME_CONNECTION_STATS_INIT;
    detail::check(dreamframe_player_stats(get(), &stats));
    return stats;
  }

  /** Ends the connection, and waits for that; who waits for a picture hears of it. */
  void stop() { detail::check(dreamframe_player_stop(get())); }

  /** The player in C, which stays this one's. */
  dreamframe_player_t *get() const noexcept { return raw_.get(); }

private:
  template <class Value> static std::optional<Value> ready(dreamframe_status_t status, const Value &value) {
    return detail::check(status) == DREAMFRAME_OK ? std::optional<Value>(value) : std::nullopt;
  }

  std::unique_ptr<dreamframe_player_t, detail::FreePlayer> raw_;
};

/** Parameters, models and the state of one stream: a frame in, a picture out. One call at a time. */
class Engine {
public:
  /** Loads the models and gets everything ready for the first frame. Slow. */
  explicit Engine(EngineOptions options = {}) : options_(std::make_shared<EngineOptions>(std::move(options))) {
    dreamframe_engine_t *engine = nullptr;
    const dreamframe_options_t raw_options = described(*options_);
    detail::check(dreamframe_engine_create(&raw_options, &engine));
    raw_.reset(engine);
  }

  Engine(Engine &&) noexcept = default;

  /** Frees the engine that was here first: only then are its callbacks called no more. */
  Engine &operator=(Engine &&other) noexcept {
    raw_ = std::move(other.raw_);
    options_ = std::move(other.options_);
    return *this;
  }

  /** Works on one frame and writes the picture of the frame `delay` calls ago into `room`, which has the engine's size. */
  PictureInfo process(const FrameView &frame, const FrameViewMut &room) {
    PictureInfo info = DREAMFRAME_PICTURE_INFO_INIT;
    detail::check(dreamframe_engine_process(get(), frame.raw(), room.raw(), &info));
    return info;
  }

  /** Changes parameters before the next frame. */
  Update update(const std::string &patch_json) {
    std::uint32_t cost = 0;
    std::string report =
        detail::text([&](char **out) { return dreamframe_engine_update(get(), patch_json.c_str(), &cost, out); });
    return {static_cast<Cost>(cost), std::move(report)};
  }

  /** Says what an update would change; nothing has changed. */
  Update plan(const std::string &patch_json) const {
    std::uint32_t cost = 0;
    std::string report =
        detail::text([&](char **out) { return dreamframe_engine_plan(get(), patch_json.c_str(), &cost, out); });
    return {static_cast<Cost>(cost), std::move(report)};
  }

  /** Changes the prompt little by little, over so many of the next pictures; gives the report. */
  std::string transition(const std::string &transition_json) {
    return detail::text(
        [&](char **report) { return dreamframe_engine_transition(get(), transition_json.c_str(), report); });
  }

  /** Gives the parameters in use, as JSON. */
  std::string params() const {
    return detail::text([&](char **json) { return dreamframe_engine_params(get(), json); });
  }

  /** Tells what the engine is made of, as JSON. */
  std::string info() const {
    return detail::text([&](char **json) { return dreamframe_engine_info(get(), json); });
  }

  /** Gives the width and height of the next picture. */
  std::pair<std::uint32_t, std::uint32_t> size() const {
    std::pair<std::uint32_t, std::uint32_t> size;
    detail::check(dreamframe_engine_size(get(), &size.first, &size.second));
    return size;
  }

  /** Gives how many frames later than its frame a picture comes out. */
  std::uint32_t delay() const {
    std::uint32_t delay = 0;
    detail::check(dreamframe_engine_delay(get(), &delay));
    return delay;
  }

  /** Goes on on a thread of its own, until the session is stopped; calls of this object throw until then. */
  Session start(SessionOptions options = {}) { return Session(get(), options_, std::move(options)); }

  /** Goes on as a session that others publish to and watch. Calls of this object throw until the server is stopped. */
  Server serve(const ServerOptions &options = {}) { return Server(get(), options_, options); }

  /** The engine in C, which stays this one's. */
  dreamframe_engine_t *get() const noexcept { return raw_.get(); }

private:
  static dreamframe_options_t described(EngineOptions &options) noexcept {
    dreamframe_options_t raw = DREAMFRAME_OPTIONS_INIT;
    raw.models = detail::or_null(options.models);
    raw.params_json = detail::or_null(options.params_json);
    raw.executor = detail::number(options.executor);
    raw.dtype = detail::number(options.dtype);
    raw.cfg_type = detail::number(options.cfg_type);
    raw.noise = detail::number(options.noise);
    raw.threads = options.threads;
    raw.fit = detail::number(options.fit);
    raw.output = detail::number(options.output);
    raw.flagged = detail::number(options.flagged);
    raw.control_images = detail::number(options.control_images);
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

  // In this order: the engine goes first, and calls them no more. A session has its share.
  std::shared_ptr<EngineOptions> options_;
  std::unique_ptr<dreamframe_engine_t, detail::FreeEngine> raw_;
};

/** Gives Daydream's default parameters, as JSON with every field. */
inline std::string default_params() { return detail::text(dreamframe_params_defaults); }

/** Gives the parameters of the demo model, as JSON with every field. */
inline std::string demo_params() { return detail::text(dreamframe_params_demo); }

/** Gives the JSON Schema of the parameters. */
inline std::string params_schema() { return detail::text(dreamframe_params_schema); }

/** Checks parameters without an engine; gives them with every field, and notices, as JSON. */
inline std::string check_params(const std::string &params_json) {
  return detail::text([&](char **report) { return dreamframe_params_check(params_json.c_str(), report); });
}

/** Puts `patch_json` over `base_json`, or over the parameters of the demo model if that is empty; as JSON with every field. */
inline std::string merge_params(const std::string &base_json, const std::string &patch_json) {
  const char *base = detail::or_null(base_json);
  return detail::text([&](char **json) { return dreamframe_params_merge(base, patch_json.c_str(), json); });
}

/** Writes the bytes of an image file as a text for the parameter `ip_adapter_style_image_url`. */
inline std::string style_data_uri(const std::uint8_t *data, std::size_t len) {
  return detail::text([&](char **text) { return dreamframe_style_data_uri(data, len, text); });
}

/** Gives the version of the library. */
inline std::string version() { return dreamframe_version(); }

/** Tells how the library was built, as JSON. */
inline std::string build_info() { return dreamframe_build_info(); }

} // namespace dreamframe

#endif // DREAMFRAME_HPP
