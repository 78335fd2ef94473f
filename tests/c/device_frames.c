/* Pictures of frames in the memory of ONNX Runtime's provider `cpu` are those of frames in host memory:
 *
 *   device_frames LIBRARY
 */
#include "expect.h"

enum { SIDE = 64, STRIDE = SIDE * 4 + 20, PADDING = 0xa5 };

static uint8_t IN[SIDE * SIDE * 4], OUT[SIDE * SIDE * 4], DEVICE_OUT[SIDE * STRIDE];

int main(int argc, char **argv) {
  EXPECT(argc == 2);
  for (size_t index = 0; index < sizeof IN; index++) {
    IN[index] = (uint8_t)(index * 7 % 251);
  }
  dreamframe_options_t options = DREAMFRAME_OPTIONS_INIT;
  options.executor = DREAMFRAME_EXECUTOR_ONNX;
  options.provider = DREAMFRAME_PROVIDER_CPU;
  options.onnxruntime = argv[1];
  options.threads = 1;
  dreamframe_engine_t *host = engine_new(options, SIDE), *device = engine_new(options, SIDE);
  uint32_t memory = 0, index = 1;
  OK(dreamframe_engine_frame_memory(device, &memory, &index));
  EXPECT(memory == DREAMFRAME_FRAME_MEMORY_HOST && index == 0);

  const dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  const dreamframe_device_frame_t on_device = rgba_on_device(IN, SIDE);
  dreamframe_device_frame_t target = rgba_on_device(DEVICE_OUT, SIDE);
  target.stride = STRIDE;
  for (int time = 0; time < 3; time++) {
    memset(DEVICE_OUT, PADDING, sizeof DEVICE_OUT);
    dreamframe_picture_info_t expected = DREAMFRAME_PICTURE_INFO_INIT, found = DREAMFRAME_PICTURE_INFO_INIT;
    OK(dreamframe_engine_process(host, &frame, &room, &expected));
    OK(dreamframe_engine_process_device(device, &on_device, &target, &found));
    EXPECT(found.id == expected.id && found.kind == expected.kind && found.width == SIDE);
    for (size_t row = 0; row < SIDE; row++) {
      const uint8_t *written = DEVICE_OUT + row * STRIDE;
      EXPECT(memcmp(written, OUT + row * SIDE * 4, SIDE * 4) == 0);
      for (size_t byte = SIDE * 4; byte < STRIDE; byte++) {
        EXPECT(written[byte] == PADDING);
      }
    }
  }
  target.memory = DREAMFRAME_FRAME_MEMORY_CUDA;
  REFUSED(INVALID_ARGUMENT, dreamframe_engine_process_device(device, &on_device, &target, NULL));
  dreamframe_engine_free(host);
  dreamframe_engine_free(device);
  return 0;
}
