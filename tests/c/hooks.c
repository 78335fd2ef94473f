/* Processors and a safety checker in C, and images besides frames. */
#include "expect.h"

enum { SIDE = 64, LIMIT_MS = 120000 };

static uint8_t IN[SIDE * SIDE * 4], OUT[SIDE * SIDE * 4];

/* What the host keeps for its processor; one for each engine. */
typedef struct {
  int destroyed;
} host_t;

typedef struct {
  float gain;
  int frames;
} amplifier_t;

static float gain_of(const char *settings_json) {
  const char *found = strstr(settings_json, "\"sharpen_intensity\":");
  return found == NULL ? 1.0f : strtof(found + strlen("\"sharpen_intensity\":"), NULL);
}

static void *amplifier_start(void *user_data, const char *settings_json) {
  EXPECT(((host_t *)user_data)->destroyed == 0);
  amplifier_t *amplifier = malloc(sizeof *amplifier);
  EXPECT(amplifier != NULL);
  amplifier->gain = gain_of(settings_json);
  amplifier->frames = 0;
  return amplifier;
}

static int32_t amplifier_run(void *instance, const dreamframe_processor_call_t *call) {
  amplifier_t *amplifier = instance;
  const size_t count = (size_t)call->width * call->height * call->channels;
  EXPECT(call->struct_size >= sizeof *call && call->channels == 3);
  EXPECT(call->output_width == call->width && call->output_height == call->height && call->output_channels == 3);
  EXPECT((call->previous == NULL) == (call->previous_width == 0));
  if (amplifier->gain > 4.0f) {
    snprintf(call->message, call->message_size, "gain: got %g, expected at most 4", amplifier->gain);
    return DREAMFRAME_ERROR_INVALID_ARGUMENT;
  }
  for (size_t i = 0; i < count; i++) {
    call->output[i] = call->input[i] * amplifier->gain;
  }
  amplifier->frames++;
  return DREAMFRAME_OK;
}

static void amplifier_configure(void *instance, const char *settings_json) {
  ((amplifier_t *)instance)->gain = gain_of(settings_json);
}

static void amplifier_reset(void *instance) { ((amplifier_t *)instance)->frames = 0; }

static void amplifier_stop(void *instance) { free(instance); }

static void host_destroy(void *user_data) { ((host_t *)user_data)->destroyed++; }

/* Pictures are as unsafe as they are bright. */
static int32_t brightness(void *user_data, const dreamframe_safety_call_t *call, float *out_score) {
  const size_t count = (size_t)call->width * call->height * 3;
  float sum = 0;
  for (size_t i = 0; i < count; i++) {
    sum += call->picture[i];
  }
  *out_score = sum / (float)count;
  EXPECT(((host_t *)user_data)->destroyed == 0);
  return DREAMFRAME_OK;
}

#define CHAIN(gain)                                                                                                    \
  "\"image_preprocessing\": {\"processors\": [{\"type\": \"sharpen\", \"params\": {\"sharpen_intensity\": " gain "}}]}"

static dreamframe_engine_t *engine_of(host_t *host, host_t *checker_host, const char *params) {
  dreamframe_processor_t amplifier = DREAMFRAME_PROCESSOR_INIT;
  amplifier.name = "sharpen";
  amplifier.user_data = host;
  amplifier.start = amplifier_start;
  amplifier.run = amplifier_run;
  amplifier.configure = amplifier_configure;
  amplifier.reset = amplifier_reset;
  amplifier.stop = amplifier_stop;
  amplifier.destroy = host_destroy;
  const dreamframe_processor_t *const processors[] = {&amplifier};
  dreamframe_safety_checker_t checker = DREAMFRAME_SAFETY_CHECKER_INIT;
  checker.user_data = checker_host;
  checker.score = brightness;
  checker.destroy = host_destroy;
  dreamframe_hooks_t hooks = DREAMFRAME_HOOKS_INIT;
  hooks.processors = processors;
  hooks.processor_count = 1;
  hooks.safety_checker = &checker;
  dreamframe_options_t options = DREAMFRAME_OPTIONS_INIT;
  options.hooks = &hooks;
  options.threads = 1;
  options.dtype = DREAMFRAME_DTYPE_F32;
  char *merged = NULL;
  OK(dreamframe_params_merge(NULL, params, &merged));
  options.params_json = merged;
  dreamframe_engine_t *engine = NULL;
  OK(dreamframe_engine_create(&options, &engine));
  dreamframe_string_free(merged);
  return engine;
}

static void a_processor_of_the_host_runs_and_is_destroyed(void) {
  host_t host = {0}, checker_host = {0};
  dreamframe_engine_t *engine =
      engine_of(&host, &checker_host, "{\"width\": 64, \"height\": 64, \"skip_diffusion\": true, " CHAIN("2.0") "}");
  dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  memset(IN, 40, sizeof IN);
  OK(dreamframe_engine_process(engine, &frame, &room, NULL));
  EXPECT(OUT[0] == 80);
  OK(dreamframe_engine_update(engine, "{" CHAIN("3.0") "}", NULL, NULL));
  OK(dreamframe_engine_process(engine, &frame, &room, NULL));
  EXPECT(OUT[0] == 120);
  OK(dreamframe_engine_update(engine, "{" CHAIN("5.0") "}", NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_process(engine, &frame, &room, NULL));
  EXPECT(strstr(dreamframe_last_error(), "gain: got 5, expected at most 4") != NULL);

  /* In a session, on its own thread. */
  OK(dreamframe_engine_update(engine, "{" CHAIN("1.0") "}", NULL, NULL));
  dreamframe_session_t *session = NULL;
  OK(dreamframe_session_start(engine, NULL, &session));
  OK(dreamframe_session_submit(session, &frame, NULL));
  OK(dreamframe_session_wait(session, LIMIT_MS, &room, NULL));
  EXPECT(OUT[0] == 40);
  dreamframe_session_free(session);
  dreamframe_engine_free(engine);
  EXPECT(host.destroyed == 1 && checker_host.destroyed == 1);
}

static void a_safety_checker_of_the_host_flags_pictures(void) {
  host_t host = {0}, checker_host = {0};
  dreamframe_engine_t *engine = engine_of(
      &host, &checker_host,
      "{\"width\": 64, \"height\": 64, \"use_safety_checker\": true, \"safety_checker_threshold\": 0.0}");
  dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  dreamframe_picture_info_t info = DREAMFRAME_PICTURE_INFO_INIT;
  OK(dreamframe_engine_process(engine, &frame, &room, &info));
  EXPECT(info.kind == DREAMFRAME_PICTURE_KIND_FLAGGED && OUT[0] == 0);
  OK(dreamframe_engine_update(engine, "{\"safety_checker_threshold\": 1.0}", NULL, NULL));
  OK(dreamframe_engine_process(engine, &frame, &room, &info));
  EXPECT(info.kind == DREAMFRAME_PICTURE_KIND_NEW);
  dreamframe_engine_free(engine);
  EXPECT(host.destroyed == 1 && checker_host.destroyed == 1);
}

static void images_besides_frames_count_until_they_are_cleared(void) {
  dreamframe_engine_t *engine = engine_on(1, SIDE);
  OK(dreamframe_engine_update(engine,
                              "{\"skip_diffusion\": true, \"image_preprocessing\": {\"processors\": [{\"type\": "
                              "\"external\"}]}}",
                              NULL, NULL));
  static uint8_t second[8 * 8 * 4];
  memset(second, 200, sizeof second);
  memset(IN, 40, sizeof IN);
  dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE), image = rgba(second, 8);
  OK(dreamframe_engine_set_external_image(engine, NULL, &image));
  OK(dreamframe_engine_set_external_image(engine, "a/controlnet", &image));
  OK(dreamframe_engine_process(engine, &frame, &room, NULL));
  EXPECT(OUT[0] == 200);
  OK(dreamframe_engine_clear_external_image(engine, NULL));
  OK(dreamframe_engine_process(engine, &frame, &room, NULL));
  EXPECT(OUT[0] == 40);
  OK(dreamframe_engine_set_style_image(engine, &image));

  dreamframe_session_t *session = NULL;
  OK(dreamframe_session_start(engine, NULL, &session));
  OK(dreamframe_session_set_external_image(session, NULL, &image));
  OK(dreamframe_session_submit(session, &frame, NULL));
  OK(dreamframe_session_wait(session, LIMIT_MS, &room, NULL));
  EXPECT(OUT[0] == 200);
  OK(dreamframe_session_clear_external_image(session, NULL));
  uint64_t version = 0;
  memset(second, 100, sizeof second);
  OK(dreamframe_session_set_style_image(session, &image, &version));
  EXPECT(version == 1);
  char *uri = NULL;
  OK(dreamframe_style_pixels_uri(&image, &uri));
  EXPECT(strncmp(uri, "data:image/png;base64,", 22) == 0);
  dreamframe_string_free(uri);
  dreamframe_session_free(session);
  dreamframe_engine_free(engine);
}

int main(void) {
  a_processor_of_the_host_runs_and_is_destroyed();
  a_safety_checker_of_the_host_flags_pictures();
  images_besides_frames_count_until_they_are_cleared();
  return 0;
}
