// The settings that the plug-ins show individually, and their conversion to JSON. All other parameters are set by the JSON
// text that each plug-in accepts in addition.
//
// Names of parameters are dreamframe's. Their effect and bounds are in core/parameters.md and checked by the library.
// Defaults are those of the demo model, so that an unchanged plug-in makes the library's default picture.
#pragma once

#include <cmath>
#include <iomanip>
#include <locale>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace hosts {

enum class Kind {
  text,
  number,
  integer,
  integers,    // a list such as `41 46`
  flag,
  choice,      // one of the field's choices
  suggestion,  // one of the choices, or another text
  file,
  folder,
};

struct Field {
  std::string name;
  std::string label;
  const char *page;  // the group of fields in which a host shows it
  Kind kind;
  double number = 0;  // default of numbers, integers and flags
  std::string text = {};  // default of all others
  double slider_min = 0, slider_max = 1;
  std::vector<const char *> choices = {};
};

// Whether the value of a field is a number, and not a text.
inline bool is_number(Kind kind) { return kind == Kind::number || kind == Kind::integer || kind == Kind::flag; }

// The number of ControlNets and of LoRAs that can be set individually.
inline constexpr int slots = 4;

inline constexpr char main_page[] = "Dreamframe", control_page[] = "ControlNets", lora_page[] = "LoRAs",
                      style_page[] = "IP-Adapter", model_page[] = "Model";

// `controlnet2_scale` is the scale of the second ControlNet; without a part, it is its id.
inline std::string slot_name(const char *kind, int slot, const char *part = "") {
  return kind + std::to_string(slot) + (*part ? "_" : "") + part;
}

inline std::vector<Field> parameter_fields() {
  const std::vector<const char *> guidance{"none", "self", "full", "initialize"};
  return {
      {"prompt", "Prompt", main_page, Kind::text, 0, "stained glass window"},
      {"negative_prompt", "Negative Prompt (Guidance Type full, initialize; Scale above 1)", main_page, Kind::text},
      {"cfg_type", "Guidance Type", main_page, Kind::choice, 0, "self", 0, 0, guidance},
      {"guidance_scale", "Guidance Scale", main_page, Kind::number, 1.0, "", 0, 5},
      {"delta", "Delta (Guidance Type self, initialize)", main_page, Kind::number, 0.7, "", 0, 2},
      {"seed", "Seed", main_page, Kind::integer, 789, "", 0, 2147483647},
      {"num_inference_steps", "Inference Steps", main_page, Kind::integer, 50, "", 1, 100},
      {"t_index_list", "Steps Taken (T Index List)", main_page, Kind::integers, 0, "41 46"},
      {"width", "Width", main_page, Kind::integer, 512, "", 64, 1024},
      {"height", "Height", main_page, Kind::integer, 512, "", 64, 1024},
      {"use_lcm_lora", "Use LCM-LoRA", main_page, Kind::flag},
      {"skip_diffusion", "Skip Diffusion", main_page, Kind::flag},
  };
}

// How the prompt changes.
inline std::vector<Field> transition_fields() {
  return {
      {"prompt_transition", "Prompt Transition (Seconds)", main_page, Kind::number, 0, "", 0, 10},
      {"prompt_transition_method", "Prompt Transition Method", main_page, Kind::choice, 0, "linear", 0, 0,
       {"linear", "slerp"}},
  };
}

// The fields of one ControlNet.
inline std::vector<Field> controlnet_fields(int slot) {
  const std::vector<const char *> preprocessors{
      "none",       "blur",           "canny",
      "depth",      "depth_tensorrt", "external",
      "feedback",   "hed",            "lineart",
      "openpose",   "mediapipe_pose", "mediapipe_segmentation",
      "passthrough", "pose_tensorrt", "realesrgan_trt",
      "sharpen",    "soft_edge",      "standard_lineart",
      "upscale",    "temporal_net_tensorrt",
  };
  const std::string label = "ControlNet " + std::to_string(slot);
  return {
      {slot_name("controlnet", slot), label, control_page, Kind::text},
      {slot_name("controlnet", slot, "enabled"), label + " Enabled", control_page, Kind::flag, 1},
      {slot_name("controlnet", slot, "scale"), label + " Scale", control_page, Kind::number, 1},
      {slot_name("controlnet", slot, "preprocessor"), label + " Preprocessor", control_page, Kind::choice, 0, "none", 0, 0,
       preprocessors},
  };
}

// The fields of one LoRA.
inline std::vector<Field> lora_fields(int slot) {
  const std::string label = "LoRA " + std::to_string(slot);
  return {
      {slot_name("lora", slot), label, lora_page, Kind::text},
      {slot_name("lora", slot, "scale"), label + " Scale", lora_page, Kind::number, 1, "", -2, 2},
  };
}

inline std::vector<Field> style_fields() {
  const std::vector<const char *> weight_types{
      "linear",       "ease in",       "ease out",       "ease in-out",           "reverse in-out",
      "weak input",   "weak output",   "weak middle",    "strong middle",         "style transfer",
      "composition",  "strong style transfer",           "style and composition", "style transfer precise",
      "composition precise",
  };
  return {
      {"ip_adapter_enabled", "IP-Adapter", style_page, Kind::flag},
      {"ip_adapter_style_image", "Style Image", style_page, Kind::file},
      {"ip_adapter_scale", "IP-Adapter Scale", style_page, Kind::number, 1, "", 0, 2},
      {"ip_adapter_type", "IP-Adapter Type", style_page, Kind::choice, 0, "regular", 0, 0, {"regular", "faceid"}},
      {"ip_adapter_weight_type", "IP-Adapter Weight Type", style_page, Kind::choice, 0, "linear", 0, 0, weight_types},
  };
}

// Options of the engine: a change loads the model again.
inline std::vector<Field> model_fields() {
  return {
      {"model_folder", "Model Folder", model_page, Kind::folder},
      {"model", "Model in the Folder", model_page, Kind::text},
      {"vae", "Autoencoder", model_page, Kind::suggestion, 0, "auto", 0, 0, {"auto", "tiny", "full"}},
      {"ip_adapter", "IP-Adapter (Instead of the Published One)", model_page, Kind::text},
      {"dtype", "Number Format", model_page, Kind::choice, 0, "auto", 0, 0, {"auto", "f32", "bf16", "int8", "f16"}},
  };
}

// All fields, in the order in which a host shows them.
inline const std::vector<Field> &fields() {
  static const std::vector<Field> all = [] {
    std::vector<Field> all;
    const auto add = [&all](const std::vector<Field> &more) { all.insert(all.end(), more.begin(), more.end()); };
    add(parameter_fields());
    add(transition_fields());
    for (int slot = 1; slot <= slots; ++slot) add(controlnet_fields(slot));
    for (int slot = 1; slot <= slots; ++slot) add(lora_fields(slot));
    add(style_fields());
    add(model_fields());
    return all;
  }();
  return all;
}

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
    case Kind::number:
    case Kind::integer: return json_number(number);
    case Kind::flag: return number != 0 ? "true" : "false";
    case Kind::integers: return json_integers(text);
    default: return json_text(text);
  }
}

}  // namespace hosts
