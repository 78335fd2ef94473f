/* Works on frames out of a file, and writes the pictures to another one, as they are in memory:
 *
 *   pictures engine|session SIDE FRAMES.rgba PICTURES.rgba
 *
 * The prompt changes before the fourth frame.
 */
#include "expect.h"

enum { CHANGE = 3, LIMIT_MS = 120000 };

static void with_engine(dreamframe_engine_t *engine, unsigned index, const dreamframe_frame_t *frame,
                        const dreamframe_frame_t *room) {
  if (index == CHANGE) {
    OK(dreamframe_engine_update(engine, "{\"prompt\": \"moonlit night\"}", NULL, NULL));
  }
  OK(dreamframe_engine_process(engine, frame, room, NULL));
}

static void with_session(dreamframe_session_t *session, unsigned index, const dreamframe_frame_t *frame,
                         const dreamframe_frame_t *room) {
  if (index == CHANGE) {
    uint64_t version = 0;
    OK(dreamframe_session_set_text(session, "prompt", "moonlit night", &version));
    OK(dreamframe_session_wait_for(session, version, LIMIT_MS, NULL));
  }
  uint64_t id = 0;
  OK(dreamframe_session_submit(session, frame, &id));
  dreamframe_picture_info_t info = DREAMFRAME_PICTURE_INFO_INIT;
  do {
    OK(dreamframe_session_wait(session, LIMIT_MS, room, &info));
  } while (info.id != id);
}

int main(int argc, char **argv) {
  EXPECT(argc == 5);
  const int threaded = strcmp(argv[1], "session") == 0;
  const uint32_t side = (uint32_t)strtoul(argv[2], NULL, 10);
  const size_t len = (size_t)side * side * 4;
  FILE *frames = fopen(argv[3], "rb"), *pictures = fopen(argv[4], "wb");
  uint8_t *in = malloc(len), *out = malloc(len);
  EXPECT(frames != NULL && pictures != NULL && in != NULL && out != NULL);

  dreamframe_engine_t *engine = engine_on(2, side);
  dreamframe_session_t *session = NULL;
  if (threaded) {
    OK(dreamframe_session_start(engine, NULL, &session));
  }
  const dreamframe_frame_t frame = rgba(in, side), room = rgba(out, side);
  for (unsigned index = 0; fread(in, 1, len, frames) == len; index++) {
    if (threaded) {
      with_session(session, index, &frame, &room);
    } else {
      with_engine(engine, index, &frame, &room);
    }
    EXPECT(fwrite(out, 1, len, pictures) == len);
  }
  dreamframe_session_free(session);
  dreamframe_engine_free(engine);
  EXPECT(fclose(frames) == 0 && fclose(pictures) == 0);
  free(in);
  free(out);
  return 0;
}
