/* Leaks on purpose, and without the library: a tool that does not find this finds nothing. */
#include <stdlib.h>

static void *volatile place;

int main(void) {
  place = malloc(1000);
  place = NULL;
  return 0;
}
