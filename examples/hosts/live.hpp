// A dreamframe session for a host whose calls must not block.
//
// The model is loaded on a separate thread, and frames are processed on the session's. Every function here returns
// immediately, except the destructor, which waits until loading has stopped and the current frame is done. Parameters
// may be set as often as the host likes: if nothing changed, this costs a comparison.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "dreamframe.hpp"
#include "fields.hpp"
#include "picture.hpp"

namespace hosts {

// The source of models.
struct Models {
  std::string folder;  // one or several models; empty for the demo model in the library
  std::string id;      // the model to use; empty for the library's default
  std::string vae;     // the autoencoder: auto, tiny, full, an id or a folder; empty for auto

  bool operator==(const Models &other) const {
    return folder == other.folder && id == other.id && vae == other.vae;
  }
};

// What networks run on; the library's default if empty.
struct Hardware {
  std::optional<dreamframe::Executor> executor;
  std::optional<dreamframe::Provider> provider;
  uint32_t device_index = 0;
  std::string onnxruntime;

  bool operator==(const Hardware &other) const {
    return executor == other.executor && provider == other.provider && device_index == other.device_index &&
           onnxruntime == other.onnxruntime;
  }
};

// Processes frames in the memory of a device with an engine on a thread of its own, in place of a session.
class Loop {
 public:
  virtual ~Loop() = default;
  // Changes parameters before the next frame.
  virtual void update(std::string patch_json) = 0;
  // Returns the error of an update or a frame that was finished since the last call, empty if there was none.
  virtual std::optional<std::string> next_outcome() = 0;
  virtual dreamframe::Stats stats() const = 0;
};

// Returns the loop for an engine; none if the engine has no memory for the host's frames, which then come by a session.
using MakeLoop = std::function<std::unique_ptr<Loop>(dreamframe::Engine &)>;

// The host's parameters.
struct Wishes {
  Models models;
  Hardware hardware;
  Values values;     // of all `fields`
  std::string json;  // an object with more parameters; may be empty
  dreamframe::PixelFormat depth = dreamframe::PixelFormat::Rgba8;  // of pictures before they are fetched

  // A change of `depth` alone does not load the model again.
  bool operator==(const Wishes &other) const {
    return models == other.models && hardware == other.hardware && values == other.values && json == other.json;
  }
};

enum class State { loading, running, failed };

// One statistic of a session.
struct Fact {
  const char *name;
  double value;
};

// The state, for the user.
struct Status {
  State state = State::loading;
  std::string error;    // why there are no pictures
  std::string warning;  // a rejected change or an error that did not stop the pictures

  std::string summary() const {
    if (state == State::failed) return "failed: " + error;
    if (state == State::loading) return "loading";
    return warning.empty() ? "running" : "running, but: " + warning;
  }
};

class Live {
 public:
  explicit Live(dreamframe::Fit fit, MakeLoop make_loop = {})
      : fit_(fit), make_loop_(std::move(make_loop)), loader_([this] { load_when_asked(); }) {}
  Live(const Live &) = delete;
  Live &operator=(const Live &) = delete;
  ~Live() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ended_ = give_up_ = true;
    }
    asked_.notify_one();
    loader_.join();
  }

  // Sets the parameters. Thread-safe.
  void want(Wishes wishes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (wished_ && *wished_ == wishes) return;
    wished_ = std::move(wishes);
    news_ = true;
  }

  // Returns the state. Thread-safe.
  Status status() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return status_;
  }

  // The other functions are for the thread that has the frames.

  // Does pending work: starts loading the model, sends changed parameters, handles the session's events.
  void step() {
    const bool news = take_news();
    const State state = this->state();
    if (news && (!begun_ || !(wishes_.models == models_ && wishes_.hardware == hardware_) || state == State::failed)) {
      ask_to_load();
    } else if (state == State::running) {
      if (news || !caught_up_) send();
      hear();
    }
  }

  // Loads the model again, for example after its files were replaced.
  void load_again() {
    if (take_news() || begun_) ask_to_load();
  }

  // Returns the loop, if the model is loaded and frames are processed by one.
  Loop *loop() const { return state() == State::running ? loop_.get() : nullptr; }

  // Submits a copy of a frame, if there is a session.
  void submit(const dreamframe_frame_t &frame) {
    if (state() != State::running || !session_) return;
    std::string refused = refusal([&] { session_->submit(dreamframe::FrameView(frame)); });
    if (refused == frame_refused_) return;
    frame_refused_ = std::move(refused);
    warn();
  }

  // Replaces `picture` by the newest one in the requested layout; returns whether there was one.
  bool poll(const Layout &layout, Picture &picture) {
    if (state() != State::running || !session_) return false;
    try {
      const auto [width, height] = session_->size();
      spare_.width = width;
      spare_.height = height;
      spare_.layout = layout;
      spare_.pixels.resize(packed_bytes(layout.format, width, height));
      if (!session_->poll(spare_.view())) return false;
    } catch (const dreamframe::Error &) {
      return false;  // the size has just changed, and the picture is kept; or the session has ended, see `hear`
    }
    std::swap(picture, spare_);
    return true;
  }

  // Returns statistics of the session; always the same names in the same order.
  std::vector<Fact> facts() const {
    const bool running = state() == State::running;
    dreamframe::Stats stats = DREAMFRAME_STATS_INIT;
    if (running) stats = loop_ ? loop_->stats() : session_->stats();
    const auto count = [](uint64_t number) { return static_cast<double>(number); };
    return {
        {"running", running ? 1.0 : 0.0},
        {"submitted", count(stats.submitted)},
        {"dropped", count(stats.dropped)},
        {"computed", count(stats.computed)},
        {"skipped", count(stats.skipped)},
        {"repeated", count(stats.repeated)},
        {"failed", count(stats.failed)},
        {"unseen", count(stats.unseen)},
        {"submitted_per_second", stats.submitted_per_second},
        {"computed_per_second", stats.computed_per_second},
        {"frame_median_us", stats.frame_median_us},
        {"desired_version", count(stats.desired_version)},
        {"active_version", count(stats.active_version)},
    };
  }

 private:
  State state() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return status_.state;
  }

  bool take_news() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!std::exchange(news_, false)) return false;
    wishes_ = *wished_;
    return true;
  }

  void ask_to_load() {
    begun_ = true;
    caught_up_ = false;
    models_ = wishes_.models;
    hardware_ = wishes_.hardware;
    for (std::string *trouble : {&parameters_refused_, &json_refused_, &frame_refused_, &told_}) trouble->clear();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      status_ = {};
      request_ = wishes_;
      give_up_ = true;  // a load in progress
    }
    asked_.notify_one();
  }

  // Sends changed parameters. Rejected ones are sent again with the next change, since they may then be valid.
  void send() {
    caught_up_ = true;
    const std::string patch = object(wishes_.values, sent_.values);
    parameters_refused_ = patch.empty() ? "" : refusal([&] { update(patch); });
    if (parameters_refused_.empty()) sent_.values = wishes_.values;
    const bool more = wishes_.json != sent_.json && !wishes_.json.empty();
    json_refused_ = more ? refusal([&] { update(wishes_.json); }) : "";
    if (json_refused_.empty()) sent_.json = wishes_.json;
    warn();
  }

  // A loop reports a rejected change later, by `next_outcome`.
  void update(const std::string &patch) {
    if (loop_) {
      loop_->update(patch);
    } else {
      session_->update(patch);
    }
  }

  // Handles events: `told_` is the last error that was not resolved.
  void hear() {
    while (loop_) {
      std::optional<std::string> outcome = loop_->next_outcome();
      if (!outcome) return;
      told_ = std::move(*outcome);
      if (!told_.empty()) {
        // Everything is sent again with the next change, since what was rejected may then be valid.
        sent_.values = {};
        sent_.json.clear();
      }
      warn();
    }
    while (const std::optional<std::string> event = session_->next_event()) {
      const auto is = [&](const char *type) { return event->find(std::string("\"type\":\"") + type) != event->npos; };
      if (is("update_rejected") || is("degraded") || is("stopped")) {
        told_ = message(*event);
      } else if (is("update_applied") || is("recovered")) {
        told_.clear();
      } else {
        continue;
      }
      warn();
    }
  }

  // Returns the text of the event's error, with JSON escapes.
  static std::string message(const std::string &event) {
    const std::string key = "\"message\":\"";
    const size_t start = event.find(key);
    if (start == event.npos) return "the session has ended";
    size_t end = start + key.size();
    while (end < event.size() && event[end] != '"') end += event[end] == '\\' ? 2 : 1;
    return event.substr(start + key.size(), end - start - key.size());
  }

  void warn() {
    std::string warning;
    for (const std::string *part : {&parameters_refused_, &json_refused_, &frame_refused_, &told_}) {
      if (!part->empty()) warning += (warning.empty() ? "" : "; ") + *part;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    status_.warning = std::move(warning);
  }

  // Runs on the loading thread, which has exclusive access to the session while the state is `loading`.
  void load_when_asked() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      asked_.wait(lock, [this] { return ended_ || request_; });
      if (ended_) break;
      const Wishes wishes = std::move(*request_);
      request_.reset();
      give_up_ = false;
      lock.unlock();
      Status status = load(wishes);
      lock.lock();
      if (!give_up_) status_ = std::move(status);  // otherwise there is a new request
    }
    lock.unlock();
    close();
  }

  Status load(const Wishes &wishes) {
    Status status;
    try {
      close();
      open(wishes);
    } catch (const std::exception &failure) {
      status.error = failure.what();
    }
    status.state = session_ || loop_ ? State::running : State::failed;
    return status;
  }

  void open(const Wishes &wishes) {
    const auto &[folder, id, vae] = wishes.models;
    const std::string model = folder.empty() ? "demo" : id;
    dreamframe::EngineOptions options;
    options.models = folder.empty() ? "demo" : folder;
    options.vae = vae;
    options.params_json = object(wishes.values, {});
    if (!model.empty()) options.params_json.replace(0, 1, "{\"model_id\":" + json_text(model) + ",");
    options.fit = fit_;
    options.output = wishes.depth;
    options.progress = [this](std::string_view, uint64_t, uint64_t) { return !give_up_; };
    options.executor = wishes.hardware.executor;
    options.provider = wishes.hardware.provider;
    options.device_index = wishes.hardware.device_index;
    options.onnxruntime = wishes.hardware.onnxruntime;
    engine_.emplace(std::move(options));
    sent_.values = wishes.values;
    sent_.json.clear();  // sent as the first update
    if (make_loop_) loop_ = make_loop_(*engine_);
    if (!loop_) session_.emplace(engine_->start());
  }

  // Waits for the current frame.
  void close() {
    loop_.reset();
    session_.reset();
    engine_.reset();
  }

  // The rejected value and the reason; empty if none was rejected.
  template <class Call>
  static std::string refusal(Call &&call) {
    try {
      call();
      return {};
    } catch (const dreamframe::Error &error) {
      return error.what();
    }
  }

  // Writes the values that differ from those in `but` as a JSON object; empty if none differs.
  static std::string object(const Values &values, const Values &but) {
    std::string json;
    for (size_t i = 0; i < fields.size(); ++i) {
      if (values[i] == but[i]) continue;
      json += (json.empty() ? "{" : ",") + json_text(fields[i].name) + ":" + values[i];
    }
    return json.empty() ? json : json + "}";
  }

  const dreamframe::Fit fit_;
  const MakeLoop make_loop_;

  // Shared between threads.
  mutable std::mutex mutex_;
  std::condition_variable asked_;
  std::optional<Wishes> wished_;   // set by the host
  bool news_ = false;              // `wished_` has not been read yet
  std::optional<Wishes> request_;  // to load
  bool ended_ = false;
  Status status_;
  std::atomic<bool> give_up_{false};

  // Used by the loading thread while the state is `loading`, then by the frames' thread.
  std::optional<dreamframe::Engine> engine_;
  std::optional<dreamframe::Session> session_;
  std::unique_ptr<Loop> loop_;  // in place of the session
  Wishes sent_;  // the session's current values

  // Used by the frames' thread.
  Wishes wishes_;
  Models models_;  // loaded or loading
  Hardware hardware_;
  bool begun_ = false;
  bool caught_up_ = false;  // everything was sent once after loading
  Picture spare_;           // buffer for the next picture
  std::string parameters_refused_, json_refused_, frame_refused_, told_;

  std::thread loader_;  // last member: it uses all of the above
};

}  // namespace hosts
