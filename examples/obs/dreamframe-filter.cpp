// An OBS video filter that restyles the frames of asynchronous sources (cameras, media, capture cards) with dreamframe.
//
// OBS calls `filter_video` on its video thread, which must not block: the filter submits the frame, takes the newest
// picture if there is one, and otherwise paints the last one over the frame. Loading and processing happen on other
// threads (see ../hosts/live.hpp). Until the first picture, frames pass unchanged, and so do frames in formats that the
// library does not support.

#include <obs-module.h>

#include <cmath>
#include <exception>
#include <string>

#include "../hosts/live.hpp"
#include "../hosts/wishes.hpp"
#include "paint.hpp"

OBS_DECLARE_MODULE()

namespace {

// Names of settings other than those of `hosts::fields`.
constexpr char json_name[] = "json";
constexpr char status_name[] = "status";

class Filter {
 public:
  // The whole frame is stretched to the stream's size, and its picture stretched back: nothing is cropped.
  Filter(obs_source_t *source, obs_data_t *settings) : source_(source), live_(dreamframe::Fit::Stretch) {
    update(settings);
    live_.step();  // starts loading
  }

  // May be called concurrently with `work`.
  void update(obs_data_t *settings) { live_.want(wishes(settings)); }

  // Paints over `frame`, if there is a picture for it.
  void work(obs_source_frame *frame) {
    live_.step();
    tell();
    hosts::Layout layout;
    if (!understood(*frame, layout)) return;
    live_.submit(view(*frame, layout));
    live_.poll(layout, picture_);
    // A picture in another format is from before the source changed; the next one will match.
    if (!picture_.pixels.empty() && picture_.layout == layout) painter_.paint(*picture_.view().raw(), view(*frame, layout));
  }

  hosts::Status status() const { return live_.status(); }

 private:
  static hosts::Wishes wishes(obs_data_t *settings) {
    const hosts::Settings all([settings](const hosts::Field &field) {
      const char *name = field.name.c_str();
      hosts::Given given;
      switch (field.kind) {
        case hosts::Kind::number: given.number = obs_data_get_double(settings, name); break;
        case hosts::Kind::integer: given.number = static_cast<double>(obs_data_get_int(settings, name)); break;
        case hosts::Kind::flag: given.number = obs_data_get_bool(settings, name) ? 1 : 0; break;
        default: given.text = obs_data_get_string(settings, name); break;
      }
      return given;
    });
    hosts::Wishes wishes = all.wishes();
    wishes.json = obs_data_get_string(settings, json_name);
    return wishes;
  }

  // Converts the frame's colour encoding to the library's; returns `false` if there is no equivalent.
  bool understood(const obs_source_frame &frame, hosts::Layout &layout) {
    switch (frame.format) {
      case VIDEO_FORMAT_I420: layout.format = dreamframe::PixelFormat::I420; break;
      case VIDEO_FORMAT_NV12: layout.format = dreamframe::PixelFormat::Nv12; break;
      case VIDEO_FORMAT_BGRA: layout.format = dreamframe::PixelFormat::Bgra8; break;
      default: return refuse(frame, "its format");
    }
    layout.origin = frame.flip ? dreamframe::Origin::BottomLeft : dreamframe::Origin::TopLeft;
    if (frame.format == VIDEO_FORMAT_BGRA) return true;
    layout.range = frame.full_range ? dreamframe::YuvRange::Full : dreamframe::YuvRange::Limited;
    // A frame has the coefficients of its matrix, but no name for it: the contribution of Cr to red identifies it. In
    // limited range, it is larger by 255/224.
    const double red_of_cr = frame.color_matrix[2] * (frame.full_range ? 1.0 : 224.0 / 255.0);
    if (std::abs(red_of_cr - 1.5748) < 0.01 || red_of_cr == 0) {  // no matrix: the host's default
      layout.matrix = dreamframe::YuvMatrix::Bt709;
    } else if (std::abs(red_of_cr - 1.402) < 0.01) {
      layout.matrix = dreamframe::YuvMatrix::Bt601;
    } else {
      return refuse(frame, "its colour matrix");
    }
    return true;
  }

  // Logs once for each format that its frames pass unchanged.
  bool refuse(const obs_source_frame &frame, const char *what) {
    if (refused_ != frame.format) {
      refused_ = frame.format;
      log(LOG_WARNING, "frames pass unchanged: " + std::string(what) + " (format " + std::to_string(frame.format) +
                           ") is not one of I420, NV12 and BGRA, in BT.601 or BT.709");
    }
    return false;
  }

  static dreamframe_frame_t view(const obs_source_frame &frame, const hosts::Layout &layout) {
    dreamframe_frame_t view = hosts::described(layout, frame.width, frame.height);
    for (size_t plane = 0; plane < 3; ++plane) {
      view.planes[plane] = frame.data[plane];
      view.strides[plane] = frame.linesize[plane];
    }
    view.timestamp_ns = frame.timestamp;
    return view;
  }

  // Logs changes of the session's state.
  void tell() {
    const hosts::Status status = live_.status();
    if (status.error != told_.error && !status.error.empty()) log(LOG_ERROR, status.error);
    if (status.warning != told_.warning && !status.warning.empty()) log(LOG_WARNING, status.warning);
    told_ = status;
  }

  void log(int level, const std::string &text) {
    blog(level, "[dreamframe] %s: %s", obs_source_get_name(source_), text.c_str());
  }

  obs_source_t *source_;
  hosts::Live live_;
  hosts::Picture picture_;  // the last one
  Painter painter_;
  hosts::Status told_;
  video_format refused_ = VIDEO_FORMAT_NONE;
};

// --- Callbacks of the host. No exception may escape from them. ---

const char *get_name(void *) { return "dreamframe"; }

void *create(obs_data_t *settings, obs_source_t *source) {
  try {
    return new Filter(source, settings);
  } catch (const std::exception &failure) {
    blog(LOG_ERROR, "[dreamframe] cannot create the filter: %s", failure.what());
    return nullptr;
  }
}

void destroy(void *data) { delete static_cast<Filter *>(data); }

void update(void *data, obs_data_t *settings) {
  try {
    static_cast<Filter *>(data)->update(settings);
  } catch (const std::exception &failure) {
    blog(LOG_ERROR, "[dreamframe] cannot change parameters: %s", failure.what());
  }
}

obs_source_frame *filter_video(void *data, obs_source_frame *frame) {
  try {
    static_cast<Filter *>(data)->work(frame);
  } catch (const std::exception &failure) {
    blog(LOG_ERROR, "[dreamframe] cannot work on a frame: %s", failure.what());
  }
  return frame;
}

void get_defaults(obs_data_t *settings) {
  for (const hosts::Field &field : hosts::fields()) {
    const char *name = field.name.c_str();
    switch (field.kind) {
      case hosts::Kind::number: obs_data_set_default_double(settings, name, field.number); break;
      case hosts::Kind::integer: obs_data_set_default_int(settings, name, static_cast<long long>(field.number)); break;
      case hosts::Kind::flag: obs_data_set_default_bool(settings, name, field.number != 0); break;
      default: obs_data_set_default_string(settings, name, field.text.c_str()); break;
    }
  }
  obs_data_set_default_string(settings, json_name, "");
}

void add_list(obs_properties_t *properties, const hosts::Field &field, obs_combo_type type) {
  obs_property_t *list =
      obs_properties_add_list(properties, field.name.c_str(), field.label.c_str(), type, OBS_COMBO_FORMAT_STRING);
  for (const char *choice : field.choices) obs_property_list_add_string(list, choice, choice);
}

void add_property(obs_properties_t *properties, const hosts::Field &field) {
  const int least = static_cast<int>(field.slider_min), most = static_cast<int>(field.slider_max);
  const char *name = field.name.c_str(), *label = field.label.c_str();
  const char *images = "Images (*.png *.jpg *.jpeg *.webp)";
  switch (field.kind) {
    case hosts::Kind::text:
    case hosts::Kind::integers: obs_properties_add_text(properties, name, label, OBS_TEXT_DEFAULT); break;
    case hosts::Kind::number: obs_properties_add_float_slider(properties, name, label, least, most, 0.01); break;
    case hosts::Kind::integer: obs_properties_add_int(properties, name, label, least, most, 1); break;
    case hosts::Kind::flag: obs_properties_add_bool(properties, name, label); break;
    case hosts::Kind::choice: add_list(properties, field, OBS_COMBO_TYPE_LIST); break;
    case hosts::Kind::suggestion: add_list(properties, field, OBS_COMBO_TYPE_EDITABLE); break;
    case hosts::Kind::file: obs_properties_add_path(properties, name, label, OBS_PATH_FILE, images, nullptr); break;
    case hosts::Kind::folder:
      obs_properties_add_path(properties, name, label, OBS_PATH_DIRECTORY, nullptr, nullptr);
      break;
  }
}

// Adds the fields, in a group for each page but the first.
void add_properties(obs_properties_t *properties) {
  obs_properties_t *group = properties;
  std::string page = hosts::main_page;
  for (const hosts::Field &field : hosts::fields()) {
    if (page != field.page) {
      page = field.page;
      group = obs_properties_create();
      obs_properties_add_group(properties, ("group " + page).c_str(), field.page, OBS_GROUP_NORMAL, group);
    }
    add_property(group, field);
  }
}

// `data` is null if the host asks before the filter exists.
obs_properties_t *get_properties(void *data) {
  obs_properties_t *properties = obs_properties_create();
  add_properties(properties);
  obs_property_t *json = obs_properties_add_text(properties, json_name, "More Parameters (JSON)", OBS_TEXT_MULTILINE);
  obs_property_set_long_description(json, "An object with any of dreamframe's parameters, such as {\"delta\": 0.5}");
  if (data) {
    const hosts::Status status = static_cast<Filter *>(data)->status();
    obs_property_t *shown =
        obs_properties_add_text(properties, status_name, status.summary().c_str(), OBS_TEXT_INFO);
    if (!status.error.empty()) {
      obs_property_text_set_info_type(shown, OBS_TEXT_INFO_ERROR);
    } else if (!status.warning.empty()) {
      obs_property_text_set_info_type(shown, OBS_TEXT_INFO_WARNING);
    }
  }
  return properties;
}

}  // namespace

MODULE_EXPORT const char *obs_module_description(void) { return "Restyles video with dreamframe"; }

MODULE_EXPORT bool obs_module_load(void) {
  obs_source_info info = {};
  info.id = "dreamframe_filter";
  info.type = OBS_SOURCE_TYPE_FILTER;
  info.output_flags = OBS_SOURCE_ASYNC_VIDEO;
  info.get_name = get_name;
  info.create = create;
  info.destroy = destroy;
  info.update = update;
  info.get_defaults = get_defaults;
  info.get_properties = get_properties;
  info.filter_video = filter_video;
  obs_register_source(&info);
  return true;
}
