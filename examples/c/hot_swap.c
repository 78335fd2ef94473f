/* Changes parameters while frames are processed: each picture is written with the latest prompt.
 *
 *   cc hot_swap.c $(pkg-config --cflags --libs dreamframe) -o hot_swap
 *   ./hot_swap in.ppm out-folder          (the folder must exist)
 */
#include "example.h"

static const char *const PATCHES[] = {
    "{\"prompt\": \"moonlit night\"}",
    "{\"prompt\": [[\"golden sunset\", 0.5], [\"blueprint\", 0.5]]}",
    "{\"t_index_list\": [36, 41, 46], \"seed\": 5}",
};

int main(int argc, char **argv) {
  if (argc != 3) {
    fail("usage", "hot_swap IN.ppm FOLDER");
  }
  dreamframe_engine_t *engine = NULL;
  check(dreamframe_engine_create(NULL, &engine));
  uint32_t width = 0, height = 0;
  check(dreamframe_engine_size(engine, &width, &height));
  image_t in = image_read(argv[1]), out = image_new(width, height);
  dreamframe_frame_t frame = image_frame(in), room = image_frame(out);

  for (size_t index = 0; index < sizeof PATCHES / sizeof *PATCHES; index++) {
    /* Invalid values are rejected as a whole, with every violation, and the stream continues unchanged. */
    char *report = NULL;
    check(dreamframe_engine_update(engine, PATCHES[index], NULL, &report));

    /* A picture is made from the frame `delay` calls ago, so after this many calls pictures fully reflect the parameters. */
    uint32_t delay = 0;
    check(dreamframe_engine_delay(engine, &delay));
    for (uint32_t call = 0; call <= delay; call++) {
      check(dreamframe_engine_process(engine, &frame, &room, NULL));
    }
    char path[4096];
    snprintf(path, sizeof path, "%s/%zu.ppm", argv[2], index);
    image_write(out, path);
    fprintf(stderr, "%s: %s\n", path, report);
    dreamframe_string_free(report);
  }

  free(in.pixels);
  free(out.pixels);
  dreamframe_engine_free(engine);
  return 0;
}
