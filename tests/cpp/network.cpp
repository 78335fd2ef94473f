// Servers, publishers and players as classes: a frame goes from one through the other to the third. A library without the
// feature `transport` says so.

#include "expect.hpp"

#include <type_traits>
#include <vector>

using namespace std::chrono_literals;
using dreamframe::Engine, dreamframe::FrameView, dreamframe::FrameViewMut, dreamframe::PeerState, dreamframe::PixelFormat;
using dreamframe::Player, dreamframe::Publisher, dreamframe::Server, dreamframe::Session;

namespace {

constexpr std::uint32_t SIDE = 64;
constexpr std::uint8_t SHADE = 180;
constexpr std::chrono::milliseconds LIMIT = 120s, PACE = 40ms;

/// An engine whose pictures are its frames.
Engine mirror() {
  dreamframe::EngineOptions options;
  options.dtype = dreamframe::Dtype::F32;
  options.threads = 1;
  options.params_json = dreamframe::merge_params("", R"({"width": 64, "height": 64, "skip_diffusion": true})");
  return Engine(std::move(options));
}

dreamframe::NetworkOptions loopback() {
  dreamframe::NetworkOptions network;
  network.bind = "127.0.0.1";
  return network;
}

dreamframe::ServerOptions any_port() {
  dreamframe::ServerOptions options;
  options.address = "127.0.0.1:0";
  options.network = loopback();
  return options;
}

template <class Options> Options options() {
  Options options;
  options.network = loopback();
  options.pause = 50ms;
  return options;
}

void nothing_is_copied() {
  static_assert(std::is_nothrow_move_constructible_v<Server> && std::is_nothrow_move_assignable_v<Server>);
  static_assert(std::is_nothrow_move_constructible_v<Publisher> && std::is_nothrow_move_assignable_v<Publisher>);
  static_assert(std::is_nothrow_move_constructible_v<Player> && std::is_nothrow_move_assignable_v<Player>);
  static_assert(!std::is_copy_constructible_v<Server> && !std::is_copy_constructible_v<Publisher>);
  static_assert(!std::is_copy_constructible_v<Player>);
}

void a_library_without_the_feature_says_so() {
  Engine engine = mirror();
  expect(thrown([&] { engine.serve(); }) == DREAMFRAME_ERROR_UNSUPPORTED, "no server");
  expect(thrown([] { Publisher("http://127.0.0.1:1/"); }) == DREAMFRAME_ERROR_UNSUPPORTED, "no publisher");
  expect(thrown([] { Player("http://127.0.0.1:1/"); }) == DREAMFRAME_ERROR_UNSUPPORTED, "no player");
  expect(engine.size() == std::pair(SIDE, SIDE), "the engine goes on");
}

void published_pictures_reach_a_player() {
  Engine engine = mirror();
  Server server = engine.serve(any_port());
  expect(thrown([&] { engine.size(); }) == DREAMFRAME_ERROR_INVALID_ARGUMENT, "the engine is in the server");
  Publisher publisher(server.whip_url(), options<dreamframe::PublisherOptions>());
  Player player(server.whep_url(), options<dreamframe::PlayerOptions>());
  const std::vector<std::uint8_t> in(SIDE * SIDE * 4, SHADE);
  std::vector<std::uint8_t> out(SIDE * SIDE * 4);
  const FrameView frame(PixelFormat::Rgba8, SIDE, SIDE, in);
  const FrameViewMut room(PixelFormat::Rgba8, SIDE, SIDE, out);
  int waits = LIMIT / PACE;
  for (; waits > 0 && std::abs(out[0] - SHADE) > 12; --waits) {
    publisher.show(frame);
    player.wait(PACE, room);
  }
  expect(waits > 0, "the published shade comes");
  // Pictures may come before a peer has reported its state.
  publisher.wait_for(PeerState::Connected, LIMIT);
  player.wait_for(PeerState::Connected, LIMIT);
  expect(player.state() == PeerState::Connected && publisher.state() == PeerState::Connected, "both are connected");
  expect(player.size() == std::pair(SIDE, SIDE), "the player knows the size");
  expect(publisher.playback_url() == server.whep_url(), "the publisher knows where to watch");
  expect(publisher.next_event(LIMIT).has_value() && player.next_event(LIMIT).has_value(), "both tell what happened");
  expect(publisher.stats().packets > 0 && player.stats().packets > 0, "and what was done");
  expect(server.viewers() == 1 && server.is_publishing() && server.port() != 0, "the server knows both");

  Session session = server.session();
  const auto ticket = session.set("seed", 5);
  expect(session.wait_for(ticket, LIMIT) == dreamframe::Outcome::Applied, "its session takes parameters");
  expect(thrown([&] { session.stop(LIMIT); }) == DREAMFRAME_ERROR_INVALID_ARGUMENT, "and ends with its server only");
  Server moved = std::move(server);
  moved.stop(LIMIT);
  expect(!session.is_running() && engine.size() == std::pair(SIDE, SIDE), "the engine is back");
  player.stop();
  expect(player.state() == PeerState::Closed, "the player has ended");
}

void player_passes_pictures_to_a_session() {
  Server server = mirror().serve(any_port());
  Session source = server.session(), session = mirror().start();
  auto player_options = options<dreamframe::PlayerOptions>();
  player_options.session = &session;
  const Player player(server.whep_url(), player_options);
  const std::vector<std::uint8_t> in(SIDE * SIDE * 4, SHADE);
  std::vector<std::uint8_t> out(SIDE * SIDE * 4);
  int waits = LIMIT / PACE;
  for (; waits > 0 && std::abs(out[0] - SHADE) > 12; --waits) {
    source.submit(FrameView(PixelFormat::Rgba8, SIDE, SIDE, in));
    session.wait(PACE, FrameViewMut(PixelFormat::Rgba8, SIDE, SIDE, out));
  }
  expect(waits > 0, "a frame goes through both");
}

} // namespace

int main() {
  nothing_is_copied();
  if (dreamframe::build_info().find("\"transport\"") == std::string::npos) {
    a_library_without_the_feature_says_so();
    return 0;
  }
  published_pictures_reach_a_player();
  player_passes_pictures_to_a_session();
  return 0;
}
