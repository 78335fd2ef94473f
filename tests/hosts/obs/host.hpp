// A stub of OBS: the functions that the filter calls, frames, and a source that calls its filter as the real host does:
// settings are applied on the video thread, filters are made on the one of the user interface and destroyed on a third.
#pragma once

#include <dlfcn.h>
#include <obs-module.h>

#include <algorithm>
#include <cstdarg>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "../check.hpp"

// --- What the host gives plug-ins ---

struct obs_data {
  std::map<std::string, std::string> texts, default_texts;
  std::map<std::string, double> numbers, default_numbers;
};

struct obs_property {
  std::string name, description;
  int kind = 0;
  obs_text_info_type info = OBS_TEXT_INFO_NORMAL;
  std::vector<std::string> choices;
  std::shared_ptr<obs_properties> group;
};

struct obs_properties {
  std::vector<std::unique_ptr<obs_property>> all;
};

struct obs_source {
  std::string name;
};

namespace stub {

inline std::vector<obs_source_info> registered;
inline std::mutex log_lock;
inline std::vector<std::pair<int, std::string>> logged;

inline size_t logged_with(const std::string &part) {
  const std::lock_guard<std::mutex> lock(log_lock);
  return size_t(std::count_if(logged.begin(), logged.end(),
                              [&](const auto &line) { return line.second.find(part) != std::string::npos; }));
}

inline obs_property *add(obs_properties *properties, int kind, const char *name, const char *description) {
  CHECK(name && description, "a property without a name or a description");
  for (const auto &property : properties->all) CHECK(property->name != name, "two properties %s", name);
  properties->all.push_back(std::make_unique<obs_property>(obs_property{name, description, kind, {}, {}, nullptr}));
  return properties->all.back().get();
}

template <class Map>
auto found(const Map &set, const Map &defaults, const char *name) -> typename Map::mapped_type {
  const auto value = set.find(name);
  if (value != set.end()) return value->second;
  const auto usual = defaults.find(name);
  CHECK(usual != defaults.end(), "setting %s has no default", name);
  return usual->second;
}

}  // namespace stub

extern "C" {
EXPORT const char *obs_data_get_string(obs_data_t *data, const char *name) {
  const auto set = data->texts.find(name);
  if (set != data->texts.end()) return set->second.c_str();
  const auto usual = data->default_texts.find(name);
  CHECK(usual != data->default_texts.end(), "setting %s has no default", name);
  return usual->second.c_str();
}
EXPORT long long obs_data_get_int(obs_data_t *data, const char *name) {
  return static_cast<long long>(stub::found(data->numbers, data->default_numbers, name));
}
EXPORT double obs_data_get_double(obs_data_t *data, const char *name) {
  return stub::found(data->numbers, data->default_numbers, name);
}
EXPORT bool obs_data_get_bool(obs_data_t *data, const char *name) {
  return stub::found(data->numbers, data->default_numbers, name) != 0;
}
EXPORT void obs_data_set_default_string(obs_data_t *data, const char *name, const char *value) {
  data->default_texts[name] = value;
}
EXPORT void obs_data_set_default_int(obs_data_t *data, const char *name, long long value) {
  data->default_numbers[name] = double(value);
}
EXPORT void obs_data_set_default_double(obs_data_t *data, const char *name, double value) {
  data->default_numbers[name] = value;
}
EXPORT void obs_data_set_default_bool(obs_data_t *data, const char *name, bool value) {
  data->default_numbers[name] = value;
}

EXPORT obs_properties_t *obs_properties_create(void) { return new obs_properties; }
EXPORT obs_property_t *obs_properties_add_bool(obs_properties_t *p, const char *name, const char *text) {
  return stub::add(p, 0, name, text);
}
EXPORT obs_property_t *obs_properties_add_int(obs_properties_t *p, const char *name, const char *text, int min, int max,
                                              int step) {
  CHECK(min < max && step > 0, "%s: %d..%d by %d", name, min, max, step);
  return stub::add(p, 1, name, text);
}
EXPORT obs_property_t *obs_properties_add_float_slider(obs_properties_t *p, const char *name, const char *text,
                                                       double min, double max, double step) {
  CHECK(min < max && step > 0, "%s: %g..%g by %g", name, min, max, step);
  return stub::add(p, 2, name, text);
}
EXPORT obs_property_t *obs_properties_add_text(obs_properties_t *p, const char *name, const char *text,
                                               obs_text_type type) {
  return stub::add(p, 10 + int(type), name, text);
}
EXPORT obs_property_t *obs_properties_add_path(obs_properties_t *p, const char *name, const char *text,
                                               obs_path_type type, const char *, const char *) {
  return stub::add(p, 20 + int(type), name, text);
}
EXPORT obs_property_t *obs_properties_add_list(obs_properties_t *p, const char *name, const char *text,
                                               obs_combo_type type, obs_combo_format format) {
  CHECK(format == OBS_COMBO_FORMAT_STRING, "%s: format %d", name, int(format));
  return stub::add(p, 30 + int(type), name, text);
}
EXPORT size_t obs_property_list_add_string(obs_property_t *property, const char *name, const char *value) {
  CHECK(property->kind >= 30 && name && value, "%s is no list", property->name.c_str());
  property->choices.push_back(value);
  return property->choices.size() - 1;
}
EXPORT obs_property_t *obs_properties_add_group(obs_properties_t *p, const char *name, const char *text,
                                                obs_group_type type, obs_properties_t *group) {
  CHECK(group && group != p, "%s is no group", name);
  obs_property_t *added = stub::add(p, 40 + int(type), name, text);
  added->group.reset(group);
  return added;
}
EXPORT void obs_property_text_set_info_type(obs_property_t *property, obs_text_info_type type) {
  CHECK(property->kind == 10 + int(OBS_TEXT_INFO), "%s is no information", property->name.c_str());
  property->info = type;
}
EXPORT void obs_property_set_long_description(obs_property_t *property, const char *text) {
  CHECK(property && text, "a description without a text");
}

EXPORT void obs_register_source_s(const obs_source_info *info, size_t size) {
  CHECK(size == sizeof(obs_source_info), "a structure of %zu bytes", size);
  stub::registered.push_back(*info);
}
EXPORT const char *obs_source_get_name(const obs_source_t *source) { return source->name.c_str(); }
EXPORT void blog(int level, const char *format, ...) {
  char line[4096];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(line, sizeof(line), format, arguments);
  va_end(arguments);
  const std::lock_guard<std::mutex> lock(stub::log_lock);
  stub::logged.emplace_back(level, line);
}
}

namespace stub {

// --- The plug-in's file ---

class Module {
 public:
  explicit Module(const char *path) : handle_(dlopen(path, RTLD_NOW | RTLD_LOCAL)) {
    CHECK(handle_, "%s", dlerror());
    void (*set_pointer)(obs_module_t *);
    uint32_t (*version)();
    bool (*load)();
    find("obs_module_set_pointer", set_pointer);
    find("obs_module_ver", version);
    find("obs_module_load", load);
    set_pointer(reinterpret_cast<obs_module_t *>(this));
    CHECK(version() >> 24 >= 28, "for host %u", version() >> 24);
    CHECK(load(), "the module does not load");
    CHECK(registered.size() == 1, "%zu sources", registered.size());
    const obs_source_info &info = registered[0];
    CHECK(info.type == OBS_SOURCE_TYPE_FILTER && info.output_flags == OBS_SOURCE_ASYNC_VIDEO, "no filter of such video");
    CHECK(info.id && info.get_name && info.get_name(nullptr) && info.create && info.destroy && info.filter_video,
          "what a filter must have");
    CHECK(!info.video_render && !info.get_width, "what a filter of asynchronous video must not have");
  }
  ~Module() { CHECK(dlclose(handle_) == 0, "%s", dlerror()); }

 private:
  template <class Function>
  void find(const char *name, Function &function) {
    void *symbol = dlsym(handle_, name);
    CHECK(symbol, "%s", dlerror());
    std::memcpy(&function, &symbol, sizeof(symbol));
  }
  void *handle_;
};

// A filter on a source. Its functions are those of the video thread but for the first and the last.
class Filter {
 public:
  explicit Filter(const char *name = "camera") {
    source_.name = name;
    registered[0].get_defaults(&settings);
  }
  Filter(const Filter &) = delete;
  ~Filter() { destroy(); }

  // Settings may be changed before; afterwards `update` tells the filter.
  void create() {
    std::thread([&] { data_ = registered[0].create(&settings, &source_); }).join();
    CHECK(data_, "no filter");
  }
  void destroy() {
    if (data_) std::thread([&] { registered[0].destroy(data_); }).join();
    data_ = nullptr;
  }
  void update() { registered[0].update(data_, &settings); }
  void pass(obs_source_frame *frame) {
    registered_frame_ = registered[0].filter_video(data_, frame);
    CHECK(registered_frame_ == frame, "another frame than the host's");
  }

  // What a user sees of it, by name, in groups too.
  std::map<std::string, obs_property> properties() const {
    const std::unique_ptr<obs_properties> made(registered[0].get_properties(data_));
    std::map<std::string, obs_property> all;
    collect(*made, all);
    return all;
  }

  obs_data settings;

 private:
  static void collect(obs_properties &properties, std::map<std::string, obs_property> &all) {
    for (auto &property : properties.all) {
      if (property->group) collect(*property->group, all);
      const std::string name = property->name;
      CHECK(all.emplace(name, std::move(*property)).second, "two properties %s", name.c_str());
    }
  }

  obs_source source_;
  void *data_ = nullptr;
  obs_source_frame *registered_frame_ = nullptr;
};

}  // namespace stub
