/* Restyles one picture file.
 *
 *   cc hello.c $(pkg-config --cflags --libs dreamframe) -o hello
 *   ./hello in.ppm out.ppm '{"prompt": "stained glass window"}'
 */
#include "example.h"

int main(int argc, char **argv) {
  if (argc < 3) {
    fail("usage", "hello IN.ppm OUT.ppm [PARAMETERS]");
  }
  dreamframe_engine_t *engine = NULL;
  check(dreamframe_engine_create(NULL, &engine)); /* the demo model, with its own parameters */
  if (argc > 3) {
    check(dreamframe_engine_update(engine, argv[3], NULL, NULL));
  }

  uint32_t width = 0, height = 0;
  check(dreamframe_engine_size(engine, &width, &height));
  image_t in = image_read(argv[1]), out = image_new(width, height);
  dreamframe_frame_t frame = image_frame(in), room = image_frame(out);
  check(dreamframe_engine_process(engine, &frame, &room, NULL));
  image_write(out, argv[2]);

  free(in.pixels);
  free(out.pixels);
  dreamframe_engine_free(engine);
  return 0;
}
