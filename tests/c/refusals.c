/* Every function, called wrongly in every way that C allows: an error each time, and outputs as they were. */
#include "expect.h"

#include <limits.h>
#include <math.h>

enum { SIDE = 64, LIMIT_MS = 120000 };

static uint8_t IN[SIDE * SIDE * 4], OUT[SIDE * SIDE * 4];

/* What outputs hold before a call that must not write them. */
#define UNTOUCHED 0x5a5a5a5au
static uint32_t NUMBER = UNTOUCHED, OTHER = UNTOUCHED;
static uint64_t LONG = UNTOUCHED;
static char *TEXT = NULL;

static void outputs_are_untouched(void) {
  EXPECT(NUMBER == UNTOUCHED && OTHER == UNTOUCHED && LONG == UNTOUCHED && TEXT == NULL);
}

/* Every function that takes an engine, with one that is none. */
static void no_engine(dreamframe_engine_t *engine) {
  const dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  dreamframe_picture_info_t info = DREAMFRAME_PICTURE_INFO_INIT;
  dreamframe_session_t *session = NULL;
  const char *prompts = "{\"target_prompts\": \"snow\"}";
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_process(engine, &frame, &room, &info));
  const dreamframe_device_frame_t on_device = rgba_on_device(IN, SIDE), device_room = rgba_on_device(OUT, SIDE);
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_process_device(engine, &on_device, &device_room, &info));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_frame_memory(engine, &NUMBER, &OTHER));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_update(engine, "{}", &NUMBER, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_plan(engine, "{}", &NUMBER, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_transition(engine, prompts, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_params(engine, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_size(engine, &NUMBER, &OTHER));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_delay(engine, &NUMBER));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_info(engine, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_set_external_image(engine, NULL, &frame));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_clear_external_image(engine, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_set_style_image(engine, &frame));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_text_to_image(engine, &room, &info));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_start(engine, NULL, &session));
  EXPECT(session == NULL && info.id == 0);
  outputs_are_untouched();
}

/* Every function that takes a session, with one that is none. */
static void no_session(dreamframe_session_t *session) {
  const dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  dreamframe_picture_info_t info = DREAMFRAME_PICTURE_INFO_INIT;
  dreamframe_stats_t stats = DREAMFRAME_STATS_INIT;
  bool running = true;
  REFUSED(INVALID_ARGUMENT, dreamframe_session_stop(session, LIMIT_MS));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_submit(session, &frame, &LONG));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_poll(session, &room, &info));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_wait(session, 1, &room, &info));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_size(session, &NUMBER, &OTHER));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_is_running(session, &running));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_update(session, "{}", &LONG, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_f32(session, "delta", 0.5f, &LONG));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_i64(session, "seed", 5, &LONG));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_bool(session, "skip_diffusion", true, &LONG));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_text(session, "prompt", "snow", &LONG));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_transition(session, "{\"target_prompts\": \"snow\"}", &LONG));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_params(session, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_plan(session, "{}", &NUMBER, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_wait_for(session, 1, 1, &NUMBER));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_next_event(session, 1, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_stats(session, &stats));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_stats_json(session, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_external_image(session, NULL, &frame));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_clear_external_image(session, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_style_image(session, &frame, &LONG));
  EXPECT(running && info.id == 0 && stats.submitted == 0);
  outputs_are_untouched();
}

/* NULL where something must be. */
static void null(dreamframe_engine_t *engine, dreamframe_session_t *session) {
  const dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  dreamframe_frame_t described = DREAMFRAME_FRAME_INIT;
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_create(NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_process(engine, NULL, &room, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_process(engine, &frame, NULL, NULL));
  const dreamframe_device_frame_t on_device = rgba_on_device(IN, SIDE);
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_process_device(engine, NULL, &on_device, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_process_device(engine, &on_device, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_frame_memory(engine, NULL, &OTHER));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_frame_memory(engine, &NUMBER, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_update(engine, NULL, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_plan(engine, NULL, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_transition(engine, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_params(engine, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_size(engine, NULL, &OTHER));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_size(engine, &NUMBER, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_delay(engine, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_info(engine, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_text_to_image(engine, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_start(engine, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_submit(session, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_poll(session, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_wait(session, 1, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_size(session, NULL, &OTHER));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_size(session, &NUMBER, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_is_running(session, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_update(session, NULL, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_f32(session, NULL, 0.5f, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_i64(session, NULL, 5, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_bool(session, NULL, true, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_text(session, NULL, "snow", NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_text(session, "prompt", NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_transition(session, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_params(session, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_plan(session, NULL, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_next_event(session, 0, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_stats(session, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_stats_json(session, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_frame_packed(DREAMFRAME_PIXEL_FORMAT_RGBA8, SIDE, SIDE, NULL, sizeof IN, &described));
  REFUSED(INVALID_ARGUMENT, dreamframe_frame_packed(DREAMFRAME_PIXEL_FORMAT_RGBA8, SIDE, SIDE, IN, sizeof IN, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_params_defaults(NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_params_demo(NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_params_for_model(NULL, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_params_for_model("sdxs", NULL));
  REFUSED(INVALID_PARAMS, dreamframe_params_for_model("unknown", &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_params_schema(NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_params_check(NULL, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_params_merge(NULL, NULL, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_params_merge(NULL, "{}", NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_style_data_uri(NULL, 1, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_style_data_uri(IN, sizeof IN, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_set_external_image(engine, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_set_external_image(engine, "", &frame));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_set_external_image(engine, "\xff", &frame));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_clear_external_image(engine, "\xff"));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_set_style_image(engine, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_external_image(session, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_style_image(session, NULL, &LONG));
  REFUSED(INVALID_ARGUMENT, dreamframe_style_pixels_uri(NULL, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_style_pixels_uri(&frame, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_reply_bytes(NULL, IN, 1));
  REFUSED(INVALID_ARGUMENT, dreamframe_reply_floats(NULL, NULL, 1));
  REFUSED(INVALID_ARGUMENT, dreamframe_reply_error(NULL, "why"));
  EXPECT(described.planes[0] == NULL);
  outputs_are_untouched();
  dreamframe_engine_free(NULL);
  dreamframe_session_free(NULL);
  dreamframe_string_free(NULL);
}

/* Sizes that no version of a struct had. */
static void struct_sizes(dreamframe_engine_t *engine, dreamframe_session_t *session) {
  const size_t sizes[] = {0, 1, sizeof(size_t), SIZE_MAX / 2, SIZE_MAX};
  for (size_t index = 0; index < sizeof sizes / sizeof *sizes; index++) {
    const size_t size = sizes[index];
    dreamframe_engine_t *other = NULL;
    dreamframe_session_t *another = NULL;
    dreamframe_options_t options = DREAMFRAME_OPTIONS_INIT;
    dreamframe_session_options_t session_options = DREAMFRAME_SESSION_OPTIONS_INIT;
    dreamframe_frame_t frame = rgba(IN, SIDE), good = rgba(OUT, SIDE);
    dreamframe_picture_info_t info = DREAMFRAME_PICTURE_INFO_INIT;
    dreamframe_stats_t stats = DREAMFRAME_STATS_INIT;
    options.struct_size = session_options.struct_size = frame.struct_size = info.struct_size = stats.struct_size = size;
    REFUSED(INVALID_ARGUMENT, dreamframe_engine_create(&options, &other));
    REFUSED(INVALID_ARGUMENT, dreamframe_session_start(engine, &session_options, &another));
    REFUSED(INVALID_ARGUMENT, dreamframe_engine_process(engine, &frame, &good, NULL));
    REFUSED(INVALID_ARGUMENT, dreamframe_engine_process(engine, &good, &frame, NULL));
    REFUSED(INVALID_ARGUMENT, dreamframe_session_submit(session, &frame, NULL));
    REFUSED(INVALID_ARGUMENT, dreamframe_session_poll(session, &frame, NULL));
    REFUSED(INVALID_ARGUMENT, dreamframe_session_poll(session, &good, &info));
    REFUSED(INVALID_ARGUMENT, dreamframe_session_wait(session, 1, &frame, NULL));
    REFUSED(INVALID_ARGUMENT, dreamframe_session_wait(session, 1, &good, &info));
    REFUSED(INVALID_ARGUMENT, dreamframe_session_stats(session, &stats));
    REFUSED(INVALID_ARGUMENT, dreamframe_frame_packed(DREAMFRAME_PIXEL_FORMAT_RGBA8, 1, 1, IN, 4, &frame));
    EXPECT(other == NULL && another == NULL && info.struct_size == size && stats.struct_size == size);
  }

  /* A header of the future: its fields may be there, as long as nothing is asked of them. */
  struct {
    dreamframe_frame_t frame;
    uint64_t field;
  } newer = {rgba(IN, SIDE), 0};
  newer.frame.struct_size = sizeof newer;
  OK(dreamframe_session_submit(session, &newer.frame, NULL));
  newer.field = 1;
  REFUSED(INVALID_ARGUMENT, dreamframe_session_submit(session, &newer.frame, NULL));
}

/* One field of a good frame, set to something that cannot be. */
#define BAD(field, value)                                                                                              \
  do {                                                                                                                 \
    dreamframe_frame_t bad = rgba(IN, SIDE), good = rgba(OUT, SIDE);                                                   \
    bad.field = (value);                                                                                               \
    REFUSED(INVALID_FRAME, dreamframe_engine_process(engine, &bad, &good, NULL));                                      \
    REFUSED(INVALID_FRAME, dreamframe_session_submit(session, &bad, &LONG));                                           \
    REFUSED(INVALID_FRAME, dreamframe_engine_set_external_image(engine, NULL, &bad));                                  \
    REFUSED(INVALID_FRAME, dreamframe_session_set_style_image(session, &bad, &LONG));                                  \
    good = rgba(IN, SIDE), bad = rgba(OUT, SIDE);                                                                      \
    bad.field = (value);                                                                                               \
    REFUSED(INVALID_FRAME, dreamframe_engine_process(engine, &good, &bad, NULL));                                      \
    REFUSED(INVALID_FRAME, dreamframe_engine_text_to_image(engine, &bad, NULL));                                       \
    REFUSED(INVALID_FRAME, dreamframe_session_poll(session, &bad, NULL));                                              \
    REFUSED(INVALID_FRAME, dreamframe_session_wait(session, 1, &bad, NULL));                                           \
    outputs_are_untouched();                                                                                           \
  } while (0)

/* Sizes, formats, planes and strides that cannot be. `engine` is none that the session has. */
static void frames(dreamframe_engine_t *engine, dreamframe_session_t *session) {
  BAD(width, 0);
  BAD(height, 0);
  BAD(width, UINT32_MAX);
  BAD(height, UINT32_MAX);
  BAD(height, 8193);
  BAD(format, 0);
  BAD(format, UINT32_MAX);
  BAD(origin, 3);
  BAD(matrix, UINT32_MAX);
  BAD(range, 3);
  BAD(planes[0], NULL);
  BAD(strides[0], 0);
  BAD(strides[0], SIDE * 4 - 1);
  BAD(strides[0], SIZE_MAX);
  BAD(strides[0], SIZE_MAX / SIDE);
  BAD(planes[0], (uint8_t *)UINTPTR_MAX);

  dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE / 2);
  REFUSED(INVALID_FRAME, dreamframe_engine_process(engine, &frame, &room, NULL));
  room = rgba(IN, SIDE);
  REFUSED(INVALID_FRAME, dreamframe_engine_process(engine, &frame, &room, NULL));
  room.planes[0] += 1;
  room.height -= 1;
  REFUSED(INVALID_FRAME, dreamframe_engine_process(engine, &frame, &room, NULL));
  frame.format = DREAMFRAME_PIXEL_FORMAT_NV12; /* without its second plane */
  REFUSED(INVALID_FRAME, dreamframe_session_submit(session, &frame, NULL));

  dreamframe_frame_t described = DREAMFRAME_FRAME_INIT;
  const uint32_t rgba8 = DREAMFRAME_PIXEL_FORMAT_RGBA8;
  REFUSED(INVALID_FRAME, dreamframe_frame_packed(0, SIDE, SIDE, IN, sizeof IN, &described));
  REFUSED(INVALID_FRAME, dreamframe_frame_packed(99, SIDE, SIDE, IN, sizeof IN, &described));
  REFUSED(INVALID_FRAME, dreamframe_frame_packed(rgba8, 0, SIDE, IN, sizeof IN, &described));
  REFUSED(INVALID_FRAME, dreamframe_frame_packed(rgba8, SIDE, SIDE, IN, sizeof IN - 1, &described));
  REFUSED(INVALID_ARGUMENT, dreamframe_frame_packed(rgba8, SIDE, SIDE, IN, SIZE_MAX, &described));
  EXPECT(described.planes[0] == NULL && described.width == 0);
}

/* One field of a good frame on a device, set to something that cannot be. */
#define BAD_ON_DEVICE(error, field, value)                                                                             \
  do {                                                                                                                 \
    dreamframe_device_frame_t bad = rgba_on_device(IN, SIDE), good = rgba_on_device(OUT, SIDE);                        \
    bad.field = (value);                                                                                               \
    REFUSED(error, dreamframe_engine_process_device(engine, &bad, &good, NULL));                                       \
    REFUSED(error, dreamframe_engine_process_device(engine, &good, &bad, NULL));                                       \
  } while (0)

static void device_frames(dreamframe_engine_t *engine) {
  uint32_t memory = UNTOUCHED, device = UNTOUCHED;
  OK(dreamframe_engine_frame_memory(engine, &memory, &device));
  EXPECT(memory == 0 && device == 0);
  BAD_ON_DEVICE(INVALID_ARGUMENT, struct_size, 0);
  BAD_ON_DEVICE(INVALID_ARGUMENT, struct_size, SIZE_MAX);
  BAD_ON_DEVICE(INVALID_FRAME, width, 0);
  BAD_ON_DEVICE(INVALID_FRAME, height, 8193);
  BAD_ON_DEVICE(INVALID_FRAME, format, 0);
  BAD_ON_DEVICE(INVALID_FRAME, format, DREAMFRAME_PIXEL_FORMAT_NV12);
  BAD_ON_DEVICE(INVALID_FRAME, origin, 3);
  BAD_ON_DEVICE(INVALID_FRAME, memory, 0);
  BAD_ON_DEVICE(INVALID_FRAME, memory, UINT32_MAX);
  BAD_ON_DEVICE(INVALID_FRAME, device, 1);
  BAD_ON_DEVICE(INVALID_FRAME, address, NULL);
  BAD_ON_DEVICE(INVALID_FRAME, address, (void *)UINTPTR_MAX);
  BAD_ON_DEVICE(INVALID_FRAME, stride, SIDE * 4 - 1);
  BAD_ON_DEVICE(INVALID_FRAME, stride, SIZE_MAX);
  /* The executor `cpu` has no device: nothing is read there. */
  BAD_ON_DEVICE(UNSUPPORTED, origin, DREAMFRAME_ORIGIN_BOTTOM_LEFT);
  BAD_ON_DEVICE(UNSUPPORTED, memory, DREAMFRAME_FRAME_MEMORY_CUDA);
  EXPECT(strstr(dreamframe_last_error(), "executor cpu") != NULL);
}

/* Options and parameters that cannot be. */
#define BAD_OPTION(field, value)                                                                                       \
  do {                                                                                                                 \
    dreamframe_options_t options = DREAMFRAME_OPTIONS_INIT;                                                            \
    options.field = (value);                                                                                           \
    EXPECT(dreamframe_engine_create(&options, &engine) < 0 && engine == NULL);                                         \
  } while (0)

static void options(void) {
  dreamframe_engine_t *engine = NULL;
  BAD_OPTION(executor, 99);
  BAD_OPTION(provider, 99);
  BAD_OPTION(onnxruntime, "\xff\xfe");
  BAD_OPTION(dtype, 99);
  BAD_OPTION(noise, 99);
  BAD_OPTION(fit, 99);
  BAD_OPTION(output, 99);
  BAD_OPTION(flagged, 99);
  BAD_OPTION(control_images, 99);
  BAD_OPTION(lora_mode, 99);
  BAD_OPTION(log_level, 99);
  BAD_OPTION(models, "\xff\xfe");
  BAD_OPTION(params_json, "");
  BAD_OPTION(params_json, "[]");
  BAD_OPTION(params_json, "{\"no_such_field\": 1}");
  BAD_OPTION(vae, "no/such-model");
  BAD_OPTION(calibration, "no such file");
  dreamframe_options_t options = DREAMFRAME_OPTIONS_INIT;
  options.models = "no such folder";
  options.params_json = "{\"model_id\": \"no/such-model\"}";
  REFUSED(NOT_FOUND, dreamframe_engine_create(&options, &engine));
  EXPECT(engine == NULL);
}

/* Downloads that cannot begin. */
static void models(void) {
  dreamframe_fetch_options_t options = DREAMFRAME_FETCH_OPTIONS_INIT;
  options.cache = "no such folder";
  options.offline = 1;
  REFUSED(INVALID_ARGUMENT, dreamframe_models_fetch(NULL, &options, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_models_fetch("\xff", &options, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_models_fetch("some/model", &options, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_models_fetch_for(NULL, &options, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_models_fetch_for("{}", &options, NULL));
  if (strstr(dreamframe_build_info(), "\"hub\"") == NULL) {
    REFUSED(UNSUPPORTED, dreamframe_models_fetch("some/model", &options, &TEXT));
    REFUSED(UNSUPPORTED, dreamframe_models_fetch_for("{}", &options, &TEXT));
    EXPECT(strstr(dreamframe_last_error(), "feature `hub`") != NULL);
  } else {
    REFUSED(INVALID_ARGUMENT, dreamframe_models_fetch("../outside", &options, &TEXT));
    REFUSED(NOT_FOUND, dreamframe_models_fetch("some/model", &options, &TEXT));
    REFUSED(INVALID_PARAMS, dreamframe_models_fetch_for("{\"delta\": -1}", &options, &TEXT));
    options.endpoint = "ftp://127.0.0.1";
    REFUSED(INVALID_ARGUMENT, dreamframe_models_fetch("some/model", &options, &TEXT));
  }
  options.offline = 2;
  REFUSED(INVALID_ARGUMENT, dreamframe_models_fetch("some/model", &options, &TEXT));
  options.struct_size = 1;
  REFUSED(INVALID_ARGUMENT, dreamframe_models_fetch("some/model", &options, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_models_fetch_for("{}", &options, &TEXT));
  outputs_are_untouched();
}

static void parameters(dreamframe_engine_t *engine, dreamframe_session_t *session) {
  const char *const patches[] = {"", "nonsense", "[]", "{\"no_such_field\": 1}", "{\"delta\": -1}", "{\"prompt\": 5}"};
  for (size_t index = 0; index < sizeof patches / sizeof *patches; index++) {
    REFUSED(INVALID_PARAMS, dreamframe_engine_update(engine, patches[index], &NUMBER, &TEXT));
    REFUSED(INVALID_PARAMS, dreamframe_engine_plan(engine, patches[index], &NUMBER, &TEXT));
    REFUSED(INVALID_PARAMS, dreamframe_session_update(session, patches[index], &LONG, &TEXT));
    REFUSED(INVALID_PARAMS, dreamframe_session_plan(session, patches[index], &NUMBER, &TEXT));
    REFUSED(INVALID_PARAMS, dreamframe_params_check(patches[index], &TEXT));
    REFUSED(INVALID_PARAMS, dreamframe_params_merge(NULL, patches[index], &TEXT));
    REFUSED(INVALID_PARAMS, dreamframe_params_merge(patches[index], "{}", &TEXT));
  }
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_update(engine, "\xff", NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_transition(engine, "[]", &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_transition(session, "[]", &LONG));
  REFUSED(INVALID_PARAMS, dreamframe_session_set_f32(session, "delta", -1.0f, &LONG));
  REFUSED(INVALID_ARGUMENT, dreamframe_session_set_f32(session, "delta", NAN, &LONG));
  REFUSED(INVALID_PARAMS, dreamframe_session_set_f32(session, "no_such_field", 1.0f, &LONG));
  REFUSED(INVALID_PARAMS, dreamframe_session_set_f32(session, "prompt", 1.0f, &LONG));
  REFUSED(INVALID_PARAMS, dreamframe_session_set_i64(session, "num_inference_steps", INT64_MIN, &LONG));
  REFUSED(INVALID_PARAMS, dreamframe_session_set_bool(session, "delta", true, &LONG));
  REFUSED(INVALID_PARAMS, dreamframe_session_set_text(session, "delta", "much", &LONG));
  REFUSED(INVALID_PARAMS, dreamframe_session_set_f32(session, "ip_adapter.no_such_field", 1.0f, &LONG));
  outputs_are_untouched();

  /* Every violation at once, and nothing has changed. */
  char *before = NULL, *after = NULL;
  OK(dreamframe_engine_params(engine, &before));
  REFUSED(INVALID_PARAMS, dreamframe_engine_update(engine, "{\"delta\": -1, \"width\": 5, \"seed\": 3}", NULL, NULL));
  EXPECT(strstr(dreamframe_last_error_json(), "\"delta\"") != NULL);
  EXPECT(strstr(dreamframe_last_error_json(), "\"width\"") != NULL);
  OK(dreamframe_engine_params(engine, &after));
  EXPECT(strcmp(before, after) == 0);
  dreamframe_string_free(before);
  dreamframe_string_free(after);
}

static void names(void) {
  EXPECT(strcmp(dreamframe_status_name(DREAMFRAME_OK), "ok") == 0);
  EXPECT(strcmp(dreamframe_status_name(DREAMFRAME_ERROR_INVALID_FRAME), "invalid_frame") == 0);
  EXPECT(strcmp(dreamframe_status_name(INT_MIN), "unknown") == 0);
  EXPECT(strcmp(dreamframe_version(), DREAMFRAME_VERSION) == 0);
  EXPECT(dreamframe_abi_version() == DREAMFRAME_ABI_VERSION);
  EXPECT(strstr(dreamframe_build_info(), dreamframe_version()) != NULL);
}

int main(void) {
  EXPECT(strcmp(dreamframe_last_error(), "") == 0 && strcmp(dreamframe_last_error_json(), "") == 0);
  names();
  options();
  models();
  dreamframe_engine_t *engine = engine_on(1, SIDE), *lent = engine_on(1, SIDE);
  dreamframe_session_t *session = NULL;
  OK(dreamframe_session_start(lent, NULL, &session));
  null(engine, session);
  struct_sizes(engine, session);
  frames(engine, session);
  device_frames(engine);
  parameters(engine, session);

  /* Objects of neither kind, and of the other one. */
  no_engine(NULL);
  no_engine((dreamframe_engine_t *)session);
  no_engine((dreamframe_engine_t *)(void *)IN);
  no_session(NULL);
  no_session((dreamframe_session_t *)engine);
  no_session((dreamframe_session_t *)UINTPTR_MAX);
  /* An engine that is in a session. */
  no_engine(lent);

  OK(dreamframe_session_stop(session, LIMIT_MS));
  dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  dreamframe_status_t status = DREAMFRAME_OK;
  while (status == DREAMFRAME_OK) {
    status = dreamframe_session_poll(session, &room, NULL);
  }
  EXPECT(status == DREAMFRAME_ERROR_CLOSED);
  REFUSED(CLOSED, dreamframe_session_submit(session, &frame, &LONG));
  REFUSED(CLOSED, dreamframe_session_wait(session, 1, &room, NULL));
  REFUSED(CLOSED, dreamframe_session_update(session, "{\"delta\": 0.5}", &LONG, &TEXT));
  REFUSED(CLOSED, dreamframe_session_set_external_image(session, NULL, &frame));
  REFUSED(CLOSED, dreamframe_session_clear_external_image(session, NULL));
  REFUSED(CLOSED, dreamframe_session_set_style_image(session, &frame, &LONG));
  REFUSED(CLOSED, dreamframe_session_stop(session, LIMIT_MS));
  outputs_are_untouched();
  OK(dreamframe_engine_process(lent, &frame, &room, NULL)); /* the engine is back, and goes on */

  /* After free, as often as one likes. */
  for (int time = 0; time < 2; time++) {
    dreamframe_session_free(session);
    dreamframe_engine_free(lent);
    dreamframe_engine_free(engine);
    no_session(session);
    no_engine(lent);
    no_engine(engine);
  }
  char *text = NULL;
  OK(dreamframe_params_demo(&text));
  dreamframe_string_free(text);
  dreamframe_string_free(text);
  dreamframe_string_free((char *)IN);
  return 0;
}
