/* What the C tests share: a condition that must hold, and a small engine. */
#ifndef EXPECT_H
#define EXPECT_H

#include <dreamframe.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECT(condition)                                                                                              \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "%s:%d: %s (last error: %s)\n", __FILE__, __LINE__, #condition, dreamframe_last_error());        \
      exit(EXIT_FAILURE);                                                                                              \
    }                                                                                                                  \
  } while (0)

#define OK(call) EXPECT((call) == DREAMFRAME_OK)

/* The call is refused with this status, and the library says why. */
#define REFUSED(error, call)                                                                                           \
  do {                                                                                                                 \
    EXPECT((call) == DREAMFRAME_ERROR_##error);                                                                        \
    EXPECT(strlen(dreamframe_last_error()) > 0);                                                                       \
    EXPECT(strstr(dreamframe_last_error_json(), "\"message\"") != NULL);                                               \
  } while (0)

/* An engine of the demo model for pictures of `side` x `side`. */
static inline dreamframe_engine_t *engine_new(dreamframe_options_t options, uint32_t side) {
  char patch[64], *params = NULL;
  snprintf(patch, sizeof patch, "{\"width\": %u, \"height\": %u}", side, side);
  OK(dreamframe_params_merge(NULL, patch, &params));
  options.params_json = params;
  options.dtype = DREAMFRAME_DTYPE_F32;
  dreamframe_engine_t *engine = NULL;
  OK(dreamframe_engine_create(&options, &engine));
  dreamframe_string_free(params);
  return engine;
}

/* The same, on so many threads. */
static inline dreamframe_engine_t *engine_on(uint32_t threads, uint32_t side) {
  dreamframe_options_t options = DREAMFRAME_OPTIONS_INIT;
  options.threads = threads;
  return engine_new(options, side);
}

/* `side` x `side` RGBA pixels at `pixels`. */
static inline dreamframe_frame_t rgba(uint8_t *pixels, uint32_t side) {
  dreamframe_frame_t frame = DREAMFRAME_FRAME_INIT;
  OK(dreamframe_frame_packed(DREAMFRAME_PIXEL_FORMAT_RGBA8, side, side, pixels, (size_t)side * side * 4, &frame));
  return frame;
}

/* The same pixels, as a frame in the memory of the provider `cpu`. */
static inline dreamframe_device_frame_t rgba_on_device(uint8_t *pixels, uint32_t side) {
  dreamframe_device_frame_t frame = DREAMFRAME_DEVICE_FRAME_INIT;
  frame.width = frame.height = side;
  frame.format = DREAMFRAME_PIXEL_FORMAT_RGBA8;
  frame.memory = DREAMFRAME_FRAME_MEMORY_HOST;
  frame.address = pixels;
  frame.stride = (size_t)side * 4;
  return frame;
}

#endif
