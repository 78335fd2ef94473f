/* Serves the demo model over the network: WHIP publishers send frames, WHEP viewers receive pictures.
 * Each line typed is the next prompt; the end of the input stops the server.
 *
 *   cc serve.c $(pkg-config --cflags --libs dreamframe) -o serve       (a library with the feature `transport`)
 *   ./serve 127.0.0.1:8080
 */
#include "example.h"

#include <string.h>

enum { LIMIT_MS = 60000, LINE = 1024 };

static void say(const char *what, char *text) {
  printf("%s %s\n", what, text);
  dreamframe_string_free(text);
}

int main(int argc, char **argv) {
  dreamframe_engine_t *engine = NULL;
  check(dreamframe_engine_create(NULL, &engine));
  dreamframe_server_options_t options = DREAMFRAME_SERVER_OPTIONS_INIT;
  options.address = argc > 1 ? argv[1] : NULL;
  options.token = argc > 2 ? argv[2] : NULL; /* needed where other machines reach the address */
  dreamframe_server_t *server = NULL;
  check(dreamframe_server_start(engine, &options, &server));

  char *url = NULL;
  check(dreamframe_server_whip_url(server, &url));
  say("publish to", url);
  check(dreamframe_server_whep_url(server, &url));
  say("watch", url);
  fflush(stdout);

  dreamframe_session_t *session = NULL;
  check(dreamframe_server_session(server, &session));
  char line[LINE];
  while (fgets(line, sizeof line, stdin) != NULL) {
    line[strcspn(line, "\n")] = '\0';
    /* Rejected parameters change nothing; the stream continues. */
    if (dreamframe_session_set_text(session, "prompt", line, NULL) != DREAMFRAME_OK) {
      fprintf(stderr, "%s\n", dreamframe_last_error());
    }
    uint32_t viewers = 0;
    check(dreamframe_server_viewers(server, &viewers));
    printf("%u watch\n", (unsigned)viewers);
    fflush(stdout);
  }

  dreamframe_session_free(session);
  check(dreamframe_server_stop(server, LIMIT_MS)); /* the engine could go on */
  dreamframe_server_free(server);
  dreamframe_engine_free(engine);
  return 0;
}
