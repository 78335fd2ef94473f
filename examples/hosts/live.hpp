// A dreamframe session for a host whose calls must not wait.
//
// The model is loaded on a thread of its own, and frames are worked on by the session's. Every function here returns at
// once, but for the destructor, which waits until loading has stopped and the frame that is worked on is done. Parameters
// are told as often as the host likes: what did not change costs a comparison.
#pragma once

#include <atomic>
#include <condition_variable>
#include <exception>
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

// Where models come from.
struct Models {
  std::string folder;  // with a model, or with several; empty for the demo model in the library
  std::string id;      // which of several; empty for the library's default

  bool operator==(const Models &other) const { return folder == other.folder && id == other.id; }
};

// What the host's parameters say.
struct Wishes {
  Models models;
  Values values;     // of all `fields`
  std::string json;  // an object with more parameters; may be empty
  dreamframe::PixelFormat depth = dreamframe::PixelFormat::Rgba8;  // in which pictures are kept until they are fetched

  // Another depth alone is no reason to load the model again.
  bool operator==(const Wishes &other) const {
    return models == other.models && values == other.values && json == other.json;
  }
};

enum class State { loading, running, failed };

// A number that a session tells of itself.
struct Fact {
  const char *name;
  double value;
};

// How it stands, for the user.
struct Status {
  State state = State::loading;
  std::string error;    // why there are no pictures
  std::string warning;  // what was refused or went wrong, while pictures go on

  std::string summary() const {
    if (state == State::failed) return "failed: " + error;
    if (state == State::loading) return "loading";
    return warning.empty() ? "running" : "running, but: " + warning;
  }
};

class Live {
 public:
  explicit Live(dreamframe::Fit fit) : fit_(fit), loader_([this] { load_when_asked(); }) {}
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

  // Says what the parameters shall be. Any thread.
  void want(Wishes wishes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (wished_ && *wished_ == wishes) return;
    wished_ = std::move(wishes);
    news_ = true;
  }

  // Says how it stands. Any thread.
  Status status() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return status_;
  }

  // The rest is for one thread at a time, the one that has the frames.

  // Does what is due: has the model loaded, sends parameters that changed, hears what the session tells.
  void step() {
    const bool news = take_news();
    const State state = this->state();
    if (news && (!begun_ || !(wishes_.models == models_) || state == State::failed)) {
      ask_to_load();
    } else if (state == State::running) {
      if (news || !caught_up_) send();
      hear();
    }
  }

  // Has the model loaded once more, as after its files were replaced.
  void load_again() {
    if (take_news() || begun_) ask_to_load();
  }

  // Hands a frame over, if there is a session. Its pixels are copied.
  void submit(const dreamframe_frame_t &frame) {
    if (state() != State::running) return;
    std::string refused = refusal([&] { session_->submit(dreamframe::FrameView(frame)); });
    if (refused == frame_refused_) return;
    frame_refused_ = std::move(refused);
    warn();
  }

  // Replaces `picture` by the newest one in the layout asked for; tells whether there was one.
  bool poll(const Layout &layout, Picture &picture) {
    if (state() != State::running) return false;
    try {
      const auto [width, height] = session_->size();
      spare_.width = width;
      spare_.height = height;
      spare_.layout = layout;
      spare_.pixels.resize(packed_bytes(layout.format, width, height));
      if (!session_->poll(spare_.view())) return false;
    } catch (const dreamframe::Error &) {
      return false;  // a picture of another size came in this moment, and stays; or the session has ended, see `hear`
    }
    std::swap(picture, spare_);
    return true;
  }

  // Says what the session has done, in numbers; always the same names in the same order.
  std::vector<Fact> facts() const {
    const bool running = state() == State::running;
    dreamframe::Stats stats = DREAMFRAME_STATS_INIT;
    if (running) stats = session_->stats();
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
    for (std::string *trouble : {&parameters_refused_, &json_refused_, &frame_refused_, &told_}) trouble->clear();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      status_ = {};
      request_ = wishes_;
      give_up_ = true;  // on a load that goes on
    }
    asked_.notify_one();
  }

  // Sends the parameters that the session does not have yet. What is refused stays to be sent, with the next change: it
  // may be right then.
  void send() {
    caught_up_ = true;
    const std::string patch = object(wishes_.values, sent_.values);
    parameters_refused_ = patch.empty() ? "" : refusal([&] { session_->update(patch); });
    if (parameters_refused_.empty()) sent_.values = wishes_.values;
    const bool more = wishes_.json != sent_.json && !wishes_.json.empty();
    json_refused_ = more ? refusal([&] { session_->update(wishes_.json); }) : "";
    if (json_refused_.empty()) sent_.json = wishes_.json;
    warn();
  }

  // Takes in what has happened: `told_` is what went wrong and was not put right.
  void hear() {
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

  // The text of the event's error, with its escapes.
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

  // On the loading thread, which has the session for itself while the state is `loading`.
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
      if (!give_up_) status_ = std::move(status);  // otherwise the next request is there
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
    status.state = session_ ? State::running : State::failed;
    return status;
  }

  void open(const Wishes &wishes) {
    const auto &[folder, id] = wishes.models;
    const std::string model = folder.empty() ? "demo" : id;
    dreamframe::EngineOptions options;
    options.models = folder.empty() ? "demo" : folder;
    options.params_json = object(wishes.values, {});
    if (!model.empty()) options.params_json.replace(0, 1, "{\"model_id\":" + json_text(model) + ",");
    options.fit = fit_;
    options.output = wishes.depth;
    options.progress = [this](std::string_view, uint64_t, uint64_t) { return !give_up_; };
    engine_.emplace(std::move(options));
    sent_.values = wishes.values;
    sent_.json.clear();  // comes on top, as the first update
    session_.emplace(engine_->start());
  }

  // Waits for the frame that is worked on.
  void close() {
    session_.reset();
    engine_.reset();
  }

  // What was refused and why; empty where it was not.
  template <class Call>
  static std::string refusal(Call &&call) {
    try {
      call();
      return {};
    } catch (const dreamframe::Error &error) {
      return error.what();
    }
  }

  // Writes those values that differ from the ones in `but` as a JSON object; empty where none does.
  static std::string object(const Values &values, const Values &but) {
    std::string json;
    for (size_t i = 0; i < fields.size(); ++i) {
      if (values[i] == but[i]) continue;
      json += (json.empty() ? "{" : ",") + json_text(fields[i].name) + ":" + values[i];
    }
    return json.empty() ? json : json + "}";
  }

  const dreamframe::Fit fit_;

  // Between threads.
  mutable std::mutex mutex_;
  std::condition_variable asked_;
  std::optional<Wishes> wished_;   // by the host
  bool news_ = false;              // `wished_` was not taken yet
  std::optional<Wishes> request_;  // to load
  bool ended_ = false;
  Status status_;
  std::atomic<bool> give_up_{false};

  // Of the loading thread while the state is `loading`, then of the frames' thread.
  std::optional<dreamframe::Engine> engine_;
  std::optional<dreamframe::Session> session_;
  Wishes sent_;  // what the session has

  // Of the frames' thread.
  Wishes wishes_;
  Models models_;  // what was loaded, or is
  bool begun_ = false;
  bool caught_up_ = false;  // everything was sent once since loading
  Picture spare_;           // what the next picture is written to
  std::string parameters_refused_, json_refused_, frame_refused_, told_;

  std::thread loader_;  // last: it uses all of the above
};

}  // namespace hosts
