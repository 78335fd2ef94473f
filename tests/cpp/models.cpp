// Downloads from a hub on this machine, which has one LoRA:
//
//   models ENDPOINT CACHE REPOSITORY

#include "expect.hpp"

#include <fstream>
#include <vector>

namespace {

std::string hub, repository;

dreamframe::FetchOptions into(const std::string &cache) {
  dreamframe::FetchOptions options;
  options.endpoint = hub;
  options.cache = cache;
  return options;
}

void a_cancelled_download_is_not_a_model(const std::string &cache) {
  int calls = 0;
  // A folder for each, since the next download continues what this one has.
  dreamframe::FetchOptions options = into(cache + "/first");
  options.progress = [&](std::string_view, std::string_view, std::uint64_t, std::uint64_t) { return ++calls, false; };
  expect(thrown([&] { dreamframe::fetch_model(repository, options); }) == DREAMFRAME_ERROR_CANCELLED, "by false");
  expect(calls == 1, "the callback is not called again");
  options.cache = cache + "/second";
  options.progress = [](std::string_view, std::string_view, std::uint64_t, std::uint64_t) -> bool {
    throw std::runtime_error("lost");
  };
  expect(thrown([&] { dreamframe::fetch_model(repository, options); }) == DREAMFRAME_ERROR_CANCELLED, "by an exception");
  options.cache = cache + "/third";
  const std::string params = R"({"model_id": "demo", "lora_dict": {")" + repository + R"(": 1}})";
  expect(thrown([&] { dreamframe::fetch_models_for(params, options); }) == DREAMFRAME_ERROR_CANCELLED, "all models");
  options.offline = true;
  expect(thrown([&] { dreamframe::fetch_model(repository, options); }) == DREAMFRAME_ERROR_NOT_FOUND, "nothing is there");
}

std::string a_model_is_downloaded_with_its_progress(const std::string &cache) {
  std::uint64_t last = 0, all = 0;
  dreamframe::FetchOptions options = into(cache);
  options.progress = [&](std::string_view model, std::string_view file, std::uint64_t done, std::uint64_t total) {
    expect(model == repository && file == "pytorch_lora_weights.safetensors", "what is downloaded");
    expect(last <= done && done <= total, "the progress grows");
    last = done;
    all = total;
    return true;
  };
  const std::string path = dreamframe::fetch_model(repository, options);
  expect(path.compare(0, cache.size(), cache) == 0, "it is in the cache");
  expect(std::ifstream(path + "/pytorch_lora_weights.safetensors").good(), "with its file");
  expect(last == all && all > 0, "of which everything came");
  options.offline = true;
  options.endpoint = "http://127.0.0.1:9";
  expect(dreamframe::fetch_model(repository, options) == path, "it is found without the network");
  return path;
}

void the_models_of_parameters_are_listed_with_their_errors(const std::string &cache, const std::string &path) {
  const std::string params =
      R"({"model_id": "demo", "lora_dict": {")" + repository + R"(": 1}, "controlnets": [{"model_id": "no/such-model"}]})";
  const std::string models = dreamframe::fetch_models_for(params, into(cache));
  expect(models.find("\"path\":\"" + path + "\"") != std::string::npos, "the LoRA is there");
  expect(models.find("\"field\":\"controlnets[0].model_id\"") != std::string::npos, "the ControlNet is named");
  expect(models.find("\"kind\":\"not_found\"") != std::string::npos, "with the reason why it is not");
}

} // namespace

int main(int count, char **arguments) {
  expect(count == 4, "ENDPOINT CACHE REPOSITORY");
  hub = arguments[1];
  repository = arguments[3];
  const std::string cache = arguments[2];
  a_cancelled_download_is_not_a_model(cache);
  const std::string path = a_model_is_downloaded_with_its_progress(cache);
  the_models_of_parameters_are_listed_with_their_errors(cache, path);
  return 0;
}
