/* Runs an engine on its own thread: a moving pattern is submitted at 30 frames per second while the prompt changes.
 * The result is written as one sheet, with frames above their pictures.
 *
 *   cc session.c $(pkg-config --cflags --libs dreamframe) -lm -o session
 *   ./session sheet.ppm
 */
#include "example.h"

#ifdef _WIN32
#include <windows.h>
#endif

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

enum { SIDE = 256, LIMIT_MS = 60000, FRAME_MS = 1000 / 30 };

static const char *const PROMPTS[] = {"ink line art", "a blueprint", "cyberpunk city, neon lights", "stained glass window"};
enum { PROMPT_COUNT = sizeof PROMPTS / sizeof *PROMPTS };

/* Draws a disc that moves in a circle on a gradient. */
static void pattern(image_t image, unsigned index) {
  const float centre_x = SIDE * (0.5f + 0.3f * cosf((float)index * 0.05f));
  const float centre_y = SIDE * (0.5f + 0.3f * sinf((float)index * 0.05f));
  for (int y = 0; y < SIDE; y++) {
    for (int x = 0; x < SIDE; x++) {
      const int inside = hypotf((float)x - centre_x, (float)y - centre_y) < SIDE * 0.15f;
      uint8_t *pixel = image.pixels + 3 * (y * SIDE + x);
      pixel[0] = (uint8_t)(inside ? 240 : x / 2);
      pixel[1] = (uint8_t)(inside ? 210 : 40 + y / 2);
      pixel[2] = inside ? 60 : 120;
    }
  }
}

static int64_t now_ms(void) {
#ifdef _WIN32
  LARGE_INTEGER now, per_second;
  QueryPerformanceCounter(&now);
  QueryPerformanceFrequency(&per_second);
  return now.QuadPart / per_second.QuadPart * 1000 + now.QuadPart % per_second.QuadPart * 1000 / per_second.QuadPart;
#else
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
#endif
}

/* Submits a frame, and takes pictures until the next frame is due. */
static void feed(dreamframe_session_t *session, image_t in, image_t out) {
  const dreamframe_frame_t frame = image_frame(in), room = image_frame(out);
  const int64_t next = now_ms() + FRAME_MS;
  check(dreamframe_session_submit(session, &frame, NULL));
  for (int64_t left = FRAME_MS; left > 0; left = next - now_ms()) {
    check(dreamframe_session_wait(session, (uint64_t)left, &room, NULL));
  }
}

/* Copies `image` into the sheet, at `column` and `row` in units of images. */
static void place(image_t sheet, image_t image, unsigned column, unsigned row) {
  for (size_t y = 0; y < SIDE; y++) {
    memcpy(sheet.pixels + 3 * ((row * SIDE + y) * sheet.width + column * SIDE), image.pixels + 3 * y * SIDE, 3 * SIDE);
  }
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fail("usage", "session OUT.ppm [FRAMES_PER_PROMPT]");
  }
  const unsigned frames = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 30;

  char *params = NULL;
  check(dreamframe_params_merge(NULL, "{\"width\": 256, \"height\": 256}", &params));
  dreamframe_options_t options = DREAMFRAME_OPTIONS_INIT;
  options.params_json = params;
  dreamframe_engine_t *engine = NULL;
  check(dreamframe_engine_create(&options, &engine));
  dreamframe_string_free(params);
  dreamframe_session_t *session = NULL;
  check(dreamframe_session_start(engine, NULL, &session));

  image_t in = image_new(SIDE, SIDE), out = image_new(SIDE, SIDE), sheet = image_new(SIDE * PROMPT_COUNT, SIDE * 2);
  for (unsigned column = 0; column < PROMPT_COUNT; column++) {
    /* Validated now, prepared in the background, applied between two frames. */
    uint64_t version = 0;
    check(dreamframe_session_set_text(session, "prompt", PROMPTS[column], &version));
    for (unsigned index = 0; index < frames; index++) {
      pattern(in, column * frames + index);
      feed(session, in, out);
    }
    check(dreamframe_session_wait_for(session, version, LIMIT_MS, NULL));

    pattern(in, (column + 1) * frames);
    const dreamframe_frame_t frame = image_frame(in), room = image_frame(out);
    dreamframe_picture_info_t info = DREAMFRAME_PICTURE_INFO_INIT;
    while (info.version < version) {
      check(dreamframe_session_submit(session, &frame, NULL));
      check(dreamframe_session_wait(session, LIMIT_MS, &room, &info));
    }
    place(sheet, in, column, 0);
    place(sheet, out, column, 1);
  }
  image_write(sheet, argv[1]);

  dreamframe_stats_t stats = DREAMFRAME_STATS_INIT;
  check(dreamframe_session_stats(session, &stats));
  fprintf(stderr, "%" PRIu64 " frames in, %" PRIu64 " restyled, %" PRIu64 " dropped\n", stats.submitted, stats.computed,
          stats.dropped);
  char *event = NULL;
  while (dreamframe_session_next_event(session, 0, &event) == DREAMFRAME_OK) {
    if (strstr(event, "update_applied") == NULL) {
      fprintf(stderr, "%s\n", event);
    }
    dreamframe_string_free(event);
  }
  check(dreamframe_session_stop(session, LIMIT_MS));
  dreamframe_session_free(session);
  dreamframe_engine_free(engine);
  free(in.pixels);
  free(out.pixels);
  free(sheet.pixels);
  return 0;
}
