/* Creates and frees so many engines beside one that stays, whose weights they share, then starts and frees so many sessions
 * of that one:
 *
 *   cycles ENGINES SESSIONS [KIB]
 *
 * and fails where memory grows by more than KIB; under a tool that keeps what was freed that is left out. The first tenth
 * is left to the allocator to settle in.
 */
#include "expect.h"

#include <malloc.h>

enum { SIDE = 64, LIMIT_MS = 120000 };

/* Bytes that this process has allocated; what it has in memory also depends on what the allocator keeps. */
static size_t allocated(void) {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

static uint8_t IN[SIDE * SIDE * 4], OUT[SIDE * SIDE * 4];

/* Every tenth one gets a frame, here as below. */
static void engine(unsigned index, dreamframe_engine_t *unused) {
  (void)unused;
  memset(IN, (int)index, sizeof IN);
  const dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  dreamframe_engine_t *engine = engine_on(1, SIDE);
  if (index % 10 == 0) {
    OK(dreamframe_engine_process(engine, &frame, &room, NULL));
  }
  REFUSED(INVALID_PARAMS, dreamframe_engine_update(engine, "{\"delta\": -1}", NULL, NULL));
  dreamframe_engine_free(engine);
}

static void session(unsigned index, dreamframe_engine_t *engine) {
  const dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  dreamframe_session_t *session = NULL;
  OK(dreamframe_session_start(engine, NULL, &session));
  if (index % 10 == 0) {
    OK(dreamframe_session_submit(session, &frame, NULL));
    OK(dreamframe_session_wait(session, LIMIT_MS, &room, NULL));
  }
  OK(dreamframe_session_stop(session, LIMIT_MS));
  dreamframe_session_free(session);
}

/* Runs `cycle` so many times; gives the bytes by which memory has grown since a tenth of them. */
static size_t repeat(void (*cycle)(unsigned, dreamframe_engine_t *), const char *count_text, dreamframe_engine_t *shared) {
  const unsigned count = (unsigned)strtoul(count_text, NULL, 10);
  size_t settled = 0;
  for (unsigned index = 0; index < count; index++) {
    cycle(index, shared);
    if (index == count / 10) {
      settled = allocated();
    }
  }
  const size_t end = allocated();
  printf("%u cycles: %zu KiB after a tenth, %zu KiB at the end\n", count, settled / 1024, end / 1024);
  return end > settled ? end - settled : 0;
}

int main(int argc, char **argv) {
  EXPECT(argc >= 3);
  dreamframe_engine_t *shared = engine_on(1, SIDE);
  const size_t by_engines = repeat(engine, argv[1], NULL);
  const size_t by_sessions = repeat(session, argv[2], shared);
  dreamframe_engine_free(shared);
  const size_t most = argc > 3 ? strtoul(argv[3], NULL, 10) * 1024 : SIZE_MAX;
  EXPECT(by_engines <= most && by_sessions <= most);
  return 0;
}
