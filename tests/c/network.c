/* Servers, publishers and players: every function called wrongly, and, where the library has the feature `transport`, a frame
 * that goes from a publisher through a server to a player. */
#include "expect.h"

enum { SIDE = 64, LIMIT_MS = 120000, PACE_MS = 40, SHADE = 180 };

static uint8_t IN[SIDE * SIDE * 4], OUT[SIDE * SIDE * 4];

/* What outputs hold before a call that must not write them. */
#define UNTOUCHED 0x5a5a5a5au
static uint32_t NUMBER = UNTOUCHED, OTHER = UNTOUCHED;
static uint64_t LONG = UNTOUCHED;
static char *TEXT = NULL;

/* Every function that takes one of the objects, with one that is none. */
static void no_objects(void *none) {
  const dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  dreamframe_connection_stats_t stats = DREAMFRAME_CONNECTION_STATS_INIT;
  dreamframe_session_t *session = NULL;
  bool publishing = true;
  REFUSED(INVALID_ARGUMENT, dreamframe_server_stop(none, LIMIT_MS));
  REFUSED(INVALID_ARGUMENT, dreamframe_server_whip_url(none, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_server_whep_url(none, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_server_port(none, &NUMBER));
  REFUSED(INVALID_ARGUMENT, dreamframe_server_session(none, &session));
  REFUSED(INVALID_ARGUMENT, dreamframe_server_viewers(none, &NUMBER));
  REFUSED(INVALID_ARGUMENT, dreamframe_server_is_publishing(none, &publishing));
  REFUSED(INVALID_ARGUMENT, dreamframe_publisher_show(none, &frame));
  REFUSED(INVALID_ARGUMENT, dreamframe_publisher_state(none, &NUMBER));
  REFUSED(INVALID_ARGUMENT, dreamframe_publisher_wait_for(none, DREAMFRAME_PEER_STATE_CONNECTED, 1));
  REFUSED(INVALID_ARGUMENT, dreamframe_publisher_playback_url(none, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_publisher_next_event(none, 1, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_publisher_stats(none, &stats));
  REFUSED(INVALID_ARGUMENT, dreamframe_publisher_stop(none));
  REFUSED(INVALID_ARGUMENT, dreamframe_player_poll(none, &room, &LONG));
  REFUSED(INVALID_ARGUMENT, dreamframe_player_wait(none, 1, &room, &LONG));
  REFUSED(INVALID_ARGUMENT, dreamframe_player_size(none, &NUMBER, &OTHER));
  REFUSED(INVALID_ARGUMENT, dreamframe_player_state(none, &NUMBER));
  REFUSED(INVALID_ARGUMENT, dreamframe_player_wait_for(none, DREAMFRAME_PEER_STATE_CONNECTED, 1));
  REFUSED(INVALID_ARGUMENT, dreamframe_player_next_event(none, 1, &TEXT));
  REFUSED(INVALID_ARGUMENT, dreamframe_player_stats(none, &stats));
  REFUSED(INVALID_ARGUMENT, dreamframe_player_stop(none));
  EXPECT(publishing && session == NULL && stats.bytes == 0 && TEXT == NULL);
  EXPECT(NUMBER == UNTOUCHED && OTHER == UNTOUCHED && LONG == UNTOUCHED);
  dreamframe_server_free(none);
  dreamframe_publisher_free(none);
  dreamframe_player_free(none);
}

/* Options and addresses that cannot be, whatever was built in. */
static void starts(dreamframe_engine_t *engine) {
  const char *url = "http://127.0.0.1:1/";
  dreamframe_server_t *server = NULL;
  dreamframe_publisher_t *publisher = NULL;
  dreamframe_player_t *player = NULL;
  REFUSED(INVALID_ARGUMENT, dreamframe_server_start(engine, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_server_start(NULL, NULL, &server));
  REFUSED(INVALID_ARGUMENT, dreamframe_publisher_start(NULL, NULL, &publisher));
  REFUSED(INVALID_ARGUMENT, dreamframe_publisher_start(url, NULL, NULL));
  REFUSED(INVALID_ARGUMENT, dreamframe_player_start(NULL, NULL, &player));
  REFUSED(INVALID_ARGUMENT, dreamframe_player_start(url, NULL, NULL));
  dreamframe_server_options_t server_options = DREAMFRAME_SERVER_OPTIONS_INIT;
  dreamframe_publisher_options_t publisher_options = DREAMFRAME_PUBLISHER_OPTIONS_INIT;
  dreamframe_player_options_t player_options = DREAMFRAME_PLAYER_OPTIONS_INIT;
  server_options.struct_size = publisher_options.struct_size = player_options.struct_size = 1;
  REFUSED(INVALID_ARGUMENT, dreamframe_server_start(engine, &server_options, &server));
  REFUSED(INVALID_ARGUMENT, dreamframe_publisher_start(url, &publisher_options, &publisher));
  REFUSED(INVALID_ARGUMENT, dreamframe_player_start(url, &player_options, &player));
  EXPECT(server == NULL && publisher == NULL && player == NULL);
}

/* A library without the feature says so, and the engine goes on. */
static void without(dreamframe_engine_t *engine) {
  const dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  dreamframe_server_t *server = NULL;
  dreamframe_publisher_t *publisher = NULL;
  dreamframe_player_t *player = NULL;
  REFUSED(UNSUPPORTED, dreamframe_server_start(engine, NULL, &server));
  REFUSED(UNSUPPORTED, dreamframe_publisher_start("http://127.0.0.1:1/", NULL, &publisher));
  REFUSED(UNSUPPORTED, dreamframe_player_start("http://127.0.0.1:1/", NULL, &player));
  EXPECT(strstr(dreamframe_last_error(), "transport") != NULL);
  EXPECT(server == NULL && publisher == NULL && player == NULL);
  OK(dreamframe_engine_process(engine, &frame, &room, NULL));
}

static void loopback(dreamframe_engine_t *engine) {
  OK(dreamframe_engine_update(engine, "{\"skip_diffusion\": true}", NULL, NULL));
  dreamframe_network_options_t network = DREAMFRAME_NETWORK_OPTIONS_INIT;
  network.bind = "127.0.0.1";
  dreamframe_server_options_t server_options = DREAMFRAME_SERVER_OPTIONS_INIT;
  server_options.address = "127.0.0.1:0";
  server_options.network = &network;
  dreamframe_server_t *server = NULL;
  OK(dreamframe_server_start(engine, &server_options, &server));
  char *whip = NULL, *whep = NULL;
  OK(dreamframe_server_whip_url(server, &whip));
  OK(dreamframe_server_whep_url(server, &whep));

  dreamframe_publisher_options_t publisher_options = DREAMFRAME_PUBLISHER_OPTIONS_INIT;
  publisher_options.network = &network;
  dreamframe_publisher_t *publisher = NULL;
  OK(dreamframe_publisher_start(whip, &publisher_options, &publisher));
  OK(dreamframe_publisher_wait_for(publisher, DREAMFRAME_PEER_STATE_CONNECTED, LIMIT_MS));
  dreamframe_player_options_t player_options = DREAMFRAME_PLAYER_OPTIONS_INIT;
  player_options.network = &network;
  dreamframe_player_t *player = NULL;
  OK(dreamframe_player_start(whep, &player_options, &player));

  memset(IN, SHADE, sizeof IN);
  const dreamframe_frame_t frame = rgba(IN, SIDE), room = rgba(OUT, SIDE);
  unsigned waits = LIMIT_MS / PACE_MS;
  for (; waits > 0 && abs((int)OUT[0] - SHADE) > 12; waits--) {
    OK(dreamframe_publisher_show(publisher, &frame));
    EXPECT(dreamframe_player_wait(player, PACE_MS, &room, NULL) >= 0);
  }
  EXPECT(waits > 0);

  OK(dreamframe_server_stop(server, LIMIT_MS));
  OK(dreamframe_engine_process(engine, &frame, &room, NULL));
  dreamframe_string_free(whip);
  dreamframe_string_free(whep);
  dreamframe_player_free(player);
  dreamframe_publisher_free(publisher);
  dreamframe_server_free(server);
  no_objects(player);
  no_objects(publisher);
  no_objects(server);
}

int main(void) {
  dreamframe_engine_t *engine = engine_on(1, SIDE);
  no_objects(NULL);
  no_objects(engine);
  no_objects(IN);
  no_objects((void *)UINTPTR_MAX);
  starts(engine);
  if (strstr(dreamframe_build_info(), "\"transport\"") != NULL) {
    loopback(engine);
  } else {
    without(engine);
  }
  dreamframe_engine_free(engine);
  return 0;
}
