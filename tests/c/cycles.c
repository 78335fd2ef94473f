/* Creates and frees engines and sessions so many times, and fails where memory grows:
 *
 *   cycles COUNT [KIB]
 *
 * where KIB is by how much memory may grow; under a tool that keeps what was freed it is left out.
 * Every tenth cycle has a session. The first tenth of the cycles is left to the allocator to settle in.
 */
#include "expect.h"

#include <unistd.h>

enum { SIDE = 64, LIMIT_MS = 120000 };

/* Bytes of this process in memory. */
static size_t resident(void) {
  size_t total = 0, pages = 0;
  FILE *file = fopen("/proc/self/statm", "r");
  EXPECT(file != NULL && fscanf(file, "%zu %zu", &total, &pages) == 2);
  fclose(file);
  return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void cycle(unsigned index) {
  static uint8_t in[SIDE * SIDE * 4], out[SIDE * SIDE * 4];
  memset(in, (int)index, sizeof in);
  const dreamframe_frame_t frame = rgba(in, SIDE), room = rgba(out, SIDE);
  dreamframe_engine_t *engine = engine_on(1, SIDE);
  REFUSED(INVALID_PARAMS, dreamframe_engine_update(engine, "{\"delta\": -1}", NULL, NULL));
  if (index % 10 == 0) {
    dreamframe_session_t *session = NULL;
    OK(dreamframe_session_start(engine, NULL, &session));
    OK(dreamframe_session_submit(session, &frame, NULL));
    OK(dreamframe_session_wait(session, LIMIT_MS, &room, NULL));
    if (index % 20 == 0) {
      OK(dreamframe_session_stop(session, LIMIT_MS));
    }
    dreamframe_session_free(session);
  } else {
    OK(dreamframe_engine_process(engine, &frame, &room, NULL));
  }
  dreamframe_engine_free(engine);
}

int main(int argc, char **argv) {
  EXPECT(argc >= 2);
  const unsigned count = (unsigned)strtoul(argv[1], NULL, 10);
  size_t settled = 0;
  for (unsigned index = 0; index < count; index++) {
    cycle(index);
    if (index == count / 10) {
      settled = resident();
    }
  }
  const size_t end = resident();
  printf("%u cycles: %zu KiB after a tenth, %zu KiB at the end\n", count, settled / 1024, end / 1024);
  EXPECT(argc < 3 || end < settled + strtoul(argv[2], NULL, 10) * 1024);
  return 0;
}
