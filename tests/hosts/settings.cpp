// Writes the settings that all plug-ins have, for tests that compare them with the library:
//
//   settings choices                 a line for each choice of a field: its name, a tab, the choice
//   settings values [NAME=VALUE]...  the parameters of these settings and of the defaults of all others, as JSON
#include "../../examples/hosts/wishes.hpp"
#include "check.hpp"

namespace {

void print_choices() {
  for (const hosts::Field &field : hosts::fields()) {
    for (const char *choice : field.choices) std::printf("%s\t%s\n", field.name.c_str(), choice);
  }
}

void print_values(const std::map<std::string, std::string> &set) {
  size_t used = 0;
  const hosts::Settings settings([&](const hosts::Field &field) {
    const auto found = set.find(field.name);
    if (found == set.end()) return hosts::Given{field.number, field.text};
    ++used;
    return hosts::is_number(field.kind) ? hosts::Given{std::stod(found->second), ""} : hosts::Given{0, found->second};
  });
  CHECK(used == set.size(), "there is no such setting");
  const char *separator = "{";
  for (const auto &[name, json] : settings.values()) {
    std::printf("%s\"%s\":%s", separator, name.c_str(), json.c_str());
    separator = ",";
  }
  std::puts("}");
}

}  // namespace

int main(int count, char **arguments) {
  CHECK(count >= 2, "usage: settings choices|values [NAME=VALUE]...");
  if (std::strcmp(arguments[1], "choices") == 0) return print_choices(), 0;
  std::map<std::string, std::string> set;
  for (int i = 2; i < count; ++i) {
    const std::string argument = arguments[i];
    const size_t at = argument.find('=');
    CHECK(at != std::string::npos, "%s is not NAME=VALUE", arguments[i]);
    set[argument.substr(0, at)] = argument.substr(at + 1);
  }
  print_values(set);
}
