// A dreamframe session for a host whose calls must not block.
//
// The model is loaded on a separate thread, and frames are processed on the session's. Every function here returns
// immediately, except the destructor, which waits until loading has stopped and the current frame is done. Parameters
// may be set as often as the host likes: if nothing changed, this costs a comparison.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
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
#include "picture.hpp"
#include "style_image.hpp"
#include "wishes.hpp"

namespace hosts {

// Processes frames in the memory of a device with an engine on a thread of its own, in place of a session.
class Loop {
 public:
  virtual ~Loop() = default;
  // Changes parameters before the next frame.
  virtual void update(std::string patch_json) = 0;
  // Begins a gradual change of the prompt with the next frame.
  virtual void transition(std::string transition_json) = 0;
  // Returns the error of an update or a frame that was finished since the last call, empty if there was none.
  virtual std::optional<std::string> next_outcome() = 0;
  virtual dreamframe::Stats stats() const = 0;
};

// Returns the loop for an engine; none if the engine has no memory for the host's frames, which then come by a session.
using MakeLoop = std::function<std::unique_ptr<Loop>(dreamframe::Engine &)>;

// What an image besides the frames is for: the control image of `external` processors, or the style image.
enum class ImageUse { none, control, style };

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
    const bool image = style_image_.follow(wishes_.style_image);
    if (news && (!begun_ || !(wishes_.models == models_ && wishes_.hardware == hardware_) || state == State::failed)) {
      ask_to_load();
    } else if (state == State::running) {
      if (news || image || !caught_up_) send();
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

  // Gives the session an image besides the frames, of one plane, unless it is the one that it has.
  void give_image(ImageUse use, const dreamframe_frame_t &image) {
    if (state() != State::running || !session_) return;
    const size_t size = image.strides[0] * image.height;
    const bool same = given_.use == use && given_.width == image.width && given_.height == image.height &&
                      given_.format == image.format && given_.pixels.size() == size &&
                      std::equal(given_.pixels.begin(), given_.pixels.end(), image.planes[0]);
    if (same) return;
    if (given_.use != use) take_image_back();
    given_ = {use, image.width, image.height, image.format, {image.planes[0], image.planes[0] + size}};
    image_refused_ = refusal([&] {
      const dreamframe::FrameView view(image);
      if (use == ImageUse::control) session_->set_external_image(view);
      if (use == ImageUse::style) session_->set_style_image(view);
    });
    warn();
  }

  // Removes the image that `give_image` gave, if there is one.
  void take_image_back() {
    if (given_.use == ImageUse::none || state() != State::running || !session_) return;
    image_refused_ = refusal([&] {
      if (given_.use == ImageUse::control) session_->clear_external_image();
      if (given_.use == ImageUse::style) session_->set(style_image_name, style_image_.value());
    });
    given_ = {};
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
        {"interpolated", count(stats.interpolated)},
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
    for (std::string *trouble : troubles()) trouble->clear();
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
    Values wanted = wishes_.values;
    if (style_image_.is_known()) wanted[style_image_name] = json_text(style_image_.value());
    // Kept until the transition to the new one has begun.
    const std::string prompt = std::exchange(wanted["prompt"], sent_.values["prompt"]);
    const std::string transition = prompt == wanted["prompt"] ? "" : transition_to(prompt);
    if (transition.empty()) wanted["prompt"] = prompt;
    const std::string patch = object(wanted, sent_.values);
    parameters_refused_ = patch.empty() ? "" : refusal([&] { update(patch); });
    if (parameters_refused_.empty()) sent_.values = wanted;
    transition_refused_ = transition.empty() ? "" : refusal([&] { begin(transition); });
    if (!transition.empty() && transition_refused_.empty()) sent_.values["prompt"] = prompt;
    const bool more = wishes_.json != sent_.json && !wishes_.json.empty();
    json_refused_ = more ? refusal([&] { update(wishes_.json); }) : "";
    if (json_refused_.empty()) sent_.json = wishes_.json;
    warn();
  }

  // Describes a gradual change to the prompt as JSON; empty if it is to change at once: without a duration, before the
  // first picture, and after an error, when everything is sent again.
  std::string transition_to(const std::string &prompt_json) const {
    constexpr double most = 10000;
    const double per_second = loop_ ? loop_->stats().computed_per_second : session_->stats().computed_per_second;
    const double pictures = std::min(std::round(wishes_.transition.seconds * per_second), most);
    if (!(pictures > 1) || sent_.values.at("prompt").empty()) return {};
    return "{\"target_prompts\":" + prompt_json + ",\"num_steps\":" + json_number(pictures) +
           ",\"temporal_interpolation_method\":" + json_text(wishes_.transition.method) + "}";
  }

  void begin(const std::string &transition) {
    if (loop_) {
      loop_->transition(transition);
    } else {
      session_->transition(transition);
    }
  }

  // A loop reports a rejected change later, by `next_outcome`.
  void update(const std::string &patch) {
    if (loop_) {
      loop_->update(patch);
    } else if (session_->update(patch).report.find("\"changes\":[]") != std::string::npos) {
      told_.clear();  // no event follows: what was rejected before is taken back
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
    const std::string image = style_image_.error();
    const std::vector<std::string *> refused = troubles();
    std::vector<const std::string *> parts(refused.begin(), refused.end());
    parts.push_back(&image);
    for (const std::string *part : parts) {
      if (!part->empty()) warning += (warning.empty() ? "" : "; ") + *part;
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    status_.warning = std::move(warning);
  }

  // The reasons for a warning; empty texts for none.
  std::vector<std::string *> troubles() {
    return {&parameters_refused_, &transition_refused_, &json_refused_,
            &frame_refused_,      &image_refused_,      &told_};
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
    const auto &[folder, id, vae, ip_adapter] = wishes.models;
    const std::string model = folder.empty() ? "demo" : id;
    dreamframe::EngineOptions options;
    options.models = folder.empty() ? "demo" : folder;
    options.vae = vae;
    options.ip_adapter = ip_adapter;
    options.params_json = object(wishes.values, {});
    if (!model.empty()) options.params_json.replace(0, 1, "{\"model_id\":" + json_text(model) + ",");
    options.fit = fit_;
    options.output = wishes.depth;
    options.progress = [this](std::string_view, uint64_t, uint64_t) { return !give_up_; };
    options.dtype = wishes.hardware.dtype;
    options.executor = wishes.hardware.executor;
    options.provider = wishes.hardware.provider;
    options.device_index = wishes.hardware.device_index;
    options.onnxruntime = wishes.hardware.onnxruntime;
    engine_.emplace(std::move(options));
    sent_.values = wishes.values;
    sent_.json.clear();  // sent as the first update
    given_ = {};
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
    for (const auto &[name, value] : values) {
      const auto before = but.find(name);
      if (before != but.end() && before->second == value) continue;
      json += (json.empty() ? "{" : ",") + json_text(name) + ":" + value;
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
  struct {
    ImageUse use = ImageUse::none;
    uint32_t width = 0, height = 0, format = 0;
    std::vector<uint8_t> pixels;
  } given_;  // the session's current image besides the frames

  // Used by the frames' thread.
  Wishes wishes_;
  Models models_;  // loaded or loading
  Hardware hardware_;
  bool begun_ = false;
  bool caught_up_ = false;  // everything was sent once after loading
  Picture spare_;           // buffer for the next picture
  StyleImage style_image_;
  std::string parameters_refused_, transition_refused_, json_refused_, frame_refused_, image_refused_, told_;

  std::thread loader_;  // last member: it uses all of the above
};

}  // namespace hosts
