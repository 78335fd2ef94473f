/*
 * As much of libobs as this filter uses, to compile and test it where OBS is not installed.
 *
 * Written for this project from facts in OBS Studio's documentation (docs.obsproject.com: "Source API Reference",
 * "Settings API Reference", "Properties API Reference", "Module API Reference", "Core API Reference") and checked
 * against libobs 29.0.2: names, the order of members up to the last one used, values of constants. Structures and
 * functions have the host's layout, so a filter built with this header can be loaded by OBS 28 and later on 64-bit
 * systems; all the same, use the host's own headers where there are any (`-DOBS_SDK=...`).
 *
 * Nothing here is called by the filter with more than what stands here, and nothing else may be assumed of the types
 * that are only declared.
 */
#ifndef DREAMFRAME_OBS_INTERFACE_H
#define DREAMFRAME_OBS_INTERFACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

/* Settings of a source (obs-data.h). */

typedef struct obs_data obs_data_t;

const char *obs_data_get_string(obs_data_t *data, const char *name);
long long obs_data_get_int(obs_data_t *data, const char *name);
double obs_data_get_double(obs_data_t *data, const char *name);
bool obs_data_get_bool(obs_data_t *data, const char *name);
void obs_data_set_default_string(obs_data_t *data, const char *name, const char *value);
void obs_data_set_default_int(obs_data_t *data, const char *name, long long value);
void obs_data_set_default_double(obs_data_t *data, const char *name, double value);
void obs_data_set_default_bool(obs_data_t *data, const char *name, bool value);

/* What a user sees of them (obs-properties.h). */

typedef struct obs_properties obs_properties_t;
typedef struct obs_property obs_property_t;

enum obs_path_type { OBS_PATH_FILE = 0, OBS_PATH_FILE_SAVE = 1, OBS_PATH_DIRECTORY = 2 };
enum obs_text_type { OBS_TEXT_DEFAULT = 0, OBS_TEXT_PASSWORD = 1, OBS_TEXT_MULTILINE = 2, OBS_TEXT_INFO = 3 };
enum obs_combo_type { OBS_COMBO_TYPE_EDITABLE = 1, OBS_COMBO_TYPE_LIST = 2 };
enum obs_combo_format { OBS_COMBO_FORMAT_STRING = 3 };
enum obs_group_type { OBS_GROUP_NORMAL = 1 };
enum obs_text_info_type { OBS_TEXT_INFO_NORMAL = 0, OBS_TEXT_INFO_WARNING = 1, OBS_TEXT_INFO_ERROR = 2 };

obs_properties_t *obs_properties_create(void);
obs_property_t *obs_properties_add_bool(obs_properties_t *props, const char *name, const char *description);
obs_property_t *obs_properties_add_int(obs_properties_t *props, const char *name, const char *description, int min,
                                       int max, int step);
obs_property_t *obs_properties_add_float_slider(obs_properties_t *props, const char *name, const char *description,
                                                double min, double max, double step);
obs_property_t *obs_properties_add_text(obs_properties_t *props, const char *name, const char *description,
                                        enum obs_text_type type);
obs_property_t *obs_properties_add_path(obs_properties_t *props, const char *name, const char *description,
                                        enum obs_path_type type, const char *filter, const char *default_path);
obs_property_t *obs_properties_add_list(obs_properties_t *props, const char *name, const char *description,
                                        enum obs_combo_type type, enum obs_combo_format format);
size_t obs_property_list_add_string(obs_property_t *property, const char *name, const char *value);
/* Takes the group: it is freed with the properties. */
obs_property_t *obs_properties_add_group(obs_properties_t *props, const char *name, const char *description,
                                         enum obs_group_type type, obs_properties_t *group);
void obs_property_text_set_info_type(obs_property_t *property, enum obs_text_info_type type);
void obs_property_set_long_description(obs_property_t *property, const char *text);

/* Frames in memory (obs.h, media-io/video-io.h). */

#define MAX_AV_PLANES 8

/* The formats with a name here are those the filter knows; the host has more. */
enum video_format {
  VIDEO_FORMAT_NONE = 0,
  VIDEO_FORMAT_I420 = 1,
  VIDEO_FORMAT_NV12 = 2,
  VIDEO_FORMAT_YUY2 = 4,
  VIDEO_FORMAT_BGRA = 7,
};

struct obs_source_frame {
  uint8_t *data[MAX_AV_PLANES];
  uint32_t linesize[MAX_AV_PLANES];
  uint32_t width;
  uint32_t height;
  uint64_t timestamp; /* nanoseconds */

  enum video_format format;
  float color_matrix[16]; /* from Y, Cb, Cr and 1 to red, green, blue: four rows of four */
  bool full_range;
  uint16_t max_luminance;
  float color_range_min[3];
  float color_range_max[3];
  bool flip; /* the bottom row comes first */
  uint8_t flags;
  uint8_t trc;

  volatile long refs; /* the host's own */
  bool prev_frame;
};

/* Sources (obs-source.h). */

typedef struct obs_source obs_source_t;

enum obs_source_type { OBS_SOURCE_TYPE_INPUT = 0, OBS_SOURCE_TYPE_FILTER = 1 };

#define OBS_SOURCE_VIDEO (1 << 0)
#define OBS_SOURCE_ASYNC (1 << 2)
#define OBS_SOURCE_ASYNC_VIDEO (OBS_SOURCE_ASYNC | OBS_SOURCE_VIDEO)

/* A prefix of the host's structure: it is registered together with its size, and what is missing counts as absent. */
struct obs_source_info {
  const char *id;
  enum obs_source_type type;
  uint32_t output_flags;
  const char *(*get_name)(void *type_data);
  void *(*create)(obs_data_t *settings, obs_source_t *source);
  void (*destroy)(void *data);
  uint32_t (*get_width)(void *data);
  uint32_t (*get_height)(void *data);
  void (*get_defaults)(obs_data_t *settings);
  obs_properties_t *(*get_properties)(void *data);
  void (*update)(void *data, obs_data_t *settings);
  void (*activate)(void *data);
  void (*deactivate)(void *data);
  void (*show)(void *data);
  void (*hide)(void *data);
  void (*video_tick)(void *data, float seconds);
  void (*video_render)(void *data, void *effect);
  struct obs_source_frame *(*filter_video)(void *data, struct obs_source_frame *frame);
};

void obs_register_source_s(const struct obs_source_info *info, size_t size);
#define obs_register_source(info) obs_register_source_s(info, sizeof(struct obs_source_info))
const char *obs_source_get_name(const obs_source_t *source);

/* Logging (util/base.h). */

enum { LOG_ERROR = 100, LOG_WARNING = 200, LOG_INFO = 300, LOG_DEBUG = 400 };
void blog(int log_level, const char *format, ...);

/* Modules (obs-module.h): the functions by which the host finds its way into one. */

typedef struct obs_module obs_module_t;

#define LIBOBS_API_VER ((uint32_t)28 << 24) /* major, minor, patch: the oldest host that a module is for */

#ifdef __cplusplus
#define MODULE_EXPORT extern "C" EXPORT
#else
#define MODULE_EXPORT EXPORT
#endif

#define OBS_DECLARE_MODULE()                                                                                           \
  static obs_module_t *this_module;                                                                                    \
  MODULE_EXPORT void obs_module_set_pointer(obs_module_t *module);                                                     \
  void obs_module_set_pointer(obs_module_t *module) { this_module = module; }                                          \
  MODULE_EXPORT obs_module_t *obs_current_module(void);                                                                \
  obs_module_t *obs_current_module(void) { return this_module; }                                                       \
  MODULE_EXPORT uint32_t obs_module_ver(void);                                                                         \
  uint32_t obs_module_ver(void) { return LIBOBS_API_VER; }

MODULE_EXPORT bool obs_module_load(void);
MODULE_EXPORT const char *obs_module_description(void);

#ifdef __cplusplus
}
#endif

#endif
