// The parameters that the plug-ins show individually, and their conversion to JSON. All others are set by the JSON text
// that each plug-in accepts in addition.
//
// Names are those of dreamframe's parameters. Their effect and bounds are in docs/parameters.md and checked by the
// library. Defaults are those of the demo model, so that an unchanged plug-in makes the library's default picture.
#pragma once

#include <array>
#include <cmath>
#include <iomanip>
#include <locale>
#include <sstream>
#include <string>
#include <string_view>

namespace hosts {

enum class Kind { text, number, integer, integers, flag };

struct Field {
  const char *name;
  const char *label;
  Kind kind;
  double number;             // default of numbers, integers and flags
  const char *text;          // default of texts and of lists of integers
  double slider_min, slider_max;
};

inline constexpr std::array<Field, 12> fields{{
    {"prompt", "Prompt", Kind::text, 0, "van gogh painting", 0, 0},
    {"negative_prompt", "Negative Prompt (CFG Type full, initialize)", Kind::text, 0, "", 0, 0},
    {"cfg_type", "CFG Type", Kind::text, 0, "self", 0, 0},
    {"guidance_scale", "Guidance Scale", Kind::number, 1.0, "", 0, 5},
    {"delta", "Delta", Kind::number, 0.7, "", 0, 2},
    {"seed", "Seed", Kind::integer, 789, "", 0, 2147483647},
    {"num_inference_steps", "Inference Steps", Kind::integer, 50, "", 1, 100},
    {"t_index_list", "Steps Taken (T Index List)", Kind::integers, 0, "41 46", 0, 0},
    {"width", "Width", Kind::integer, 512, "", 64, 1024},
    {"height", "Height", Kind::integer, 512, "", 64, 1024},
    {"use_lcm_lora", "Use LCM-LoRA", Kind::flag, 0, "", 0, 1},
    {"skip_diffusion", "Skip Diffusion", Kind::flag, 0, "", 0, 1},
}};

// Values of all `fields`, as JSON.
using Values = std::array<std::string, fields.size()>;

inline std::string json_text(std::string_view text) {
  std::string json = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (byte < 0x20) {
      constexpr char digits[] = "0123456789abcdef";
      json += "\\u00";
      json += digits[byte >> 4];
      json += digits[byte & 15];
    } else {
      json += c;
    }
  }
  return json + '"';
}

// Writes a number independently of the user's locale; a value that JSON cannot represent becomes text, which the library
// rejects by name: `null` would mean the default.
inline std::string json_number(double number) {
  if (!std::isfinite(number)) return "\"not a finite number\"";
  std::ostringstream json;
  json.imbue(std::locale::classic());
  if (number == std::floor(number) && std::abs(number) <= 9007199254740992.0) {
    json << static_cast<long long>(number);
  } else {
    json << std::setprecision(15) << number;
  }
  return json.str();
}

// Writes `41 46` or `41, 46` as a list; any other text stays a string, which the library rejects by name.
inline std::string json_integers(std::string_view text) {
  std::string json = "[";
  bool in_number = false;
  for (const char c : text) {
    if (c >= '0' && c <= '9') {
      if (!in_number && json.size() > 1) json += ',';
      in_number = true;
      json += c;
    } else if (c == ' ' || c == ',' || c == '[' || c == ']') {
      in_number = false;
    } else {
      return json_text(text);
    }
  }
  return json + ']';
}

// Writes the value of a field: `number` for numbers, integers and flags, `text` for the others.
inline std::string json_value(const Field &field, double number, std::string_view text) {
  switch (field.kind) {
    case Kind::text: return json_text(text);
    case Kind::integers: return json_integers(text);
    case Kind::flag: return number != 0 ? "true" : "false";
    case Kind::number:
    case Kind::integer: break;
  }
  return json_number(number);
}

}  // namespace hosts
