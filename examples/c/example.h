/* What the examples share: what becomes of an error, and pictures as PPM files (P6, 8 bits), which need no library. */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <dreamframe.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program with the library's own words where a call failed. */
static inline void check(dreamframe_status_t status) {
  if (status < 0) {
    fprintf(stderr, "%s: %s\n", dreamframe_status_name(status), dreamframe_last_error());
    exit(EXIT_FAILURE);
  }
}

static inline void fail(const char *path, const char *why) {
  fprintf(stderr, "%s: %s\n", path, why);
  exit(EXIT_FAILURE);
}

/* Pixels of three bytes (red, green, blue), top row first. */
typedef struct image {
  uint32_t width;
  uint32_t height;
  size_t len;      /* in bytes */
  uint8_t *pixels; /* to be freed by whoever has the image */
} image_t;

/* A black image. */
static inline image_t image_new(uint32_t width, uint32_t height) {
  image_t image = {width, height, (size_t)width * height * 3, NULL};
  image.pixels = calloc(image.len, 1);
  if (image.pixels == NULL) {
    fail("image", "no memory, or no pixels");
  }
  return image;
}

/* The image as the library sees it: the pixels stay where they are. */
static inline dreamframe_frame_t image_frame(image_t image) {
  dreamframe_frame_t frame = DREAMFRAME_FRAME_INIT;
  check(dreamframe_frame_packed(DREAMFRAME_PIXEL_FORMAT_RGB8, image.width, image.height, image.pixels, image.len, &frame));
  return frame;
}

static inline image_t image_read(const char *path) {
  FILE *file = fopen(path, "rb");
  uint32_t width = 0, height = 0;
  if (file == NULL || fscanf(file, "P6 %5u %5u 255", &width, &height) != 2 || fgetc(file) == EOF) {
    fail(path, "cannot be read as a PPM file (P6, 8 bits, no comments)");
  }
  image_t image = image_new(width, height);
  if (fread(image.pixels, 1, image.len, file) != image.len) {
    fail(path, "ends before its pixels do");
  }
  fclose(file);
  return image;
}

static inline void image_write(image_t image, const char *path) {
  FILE *file = fopen(path, "wb");
  if (file == NULL || fprintf(file, "P6\n%u %u\n255\n", image.width, image.height) < 0 ||
      fwrite(image.pixels, 1, image.len, file) != image.len || fclose(file) != 0) {
    fail(path, "cannot be written");
  }
}

#endif
