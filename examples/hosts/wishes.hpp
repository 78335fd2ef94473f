// What a host's user wants: the values of all settings, as the library takes them.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "dreamframe.hpp"
#include "fields.hpp"

namespace hosts {

// The source of models.
struct Models {
  std::string folder;      // one or several models; empty for the demo model in the library
  std::string id;          // the model to use; empty for the library's default
  std::string vae;         // the autoencoder: auto, tiny, full, an id or a folder; empty for auto
  std::string ip_adapter;  // the id of an IP-Adapter instead of the published one; empty for that

  bool operator==(const Models &other) const {
    return folder == other.folder && id == other.id && vae == other.vae && ip_adapter == other.ip_adapter;
  }
};

// What networks run on; the library's default if empty.
struct Hardware {
  std::optional<dreamframe::Dtype> dtype;
  std::optional<dreamframe::Executor> executor;
  std::optional<dreamframe::Provider> provider;
  uint32_t device_index = 0;
  std::string onnxruntime;

  bool operator==(const Hardware &other) const {
    return dtype == other.dtype && executor == other.executor && provider == other.provider &&
           device_index == other.device_index && onnxruntime == other.onnxruntime;
  }
};

// How a new prompt is reached.
struct Transition {
  double seconds = 0;  // at the rate at which pictures are made; 0 for at once
  std::string method = "linear";

  bool operator==(const Transition &other) const { return seconds == other.seconds && method == other.method; }
};

// Values of parameters as JSON, by name.
using Values = std::map<std::string, std::string>;

// The parameter that `Wishes::style_image` becomes.
inline constexpr char style_image_name[] = "ip_adapter_style_image_url";

struct Wishes {
  Models models;
  Hardware hardware;
  Values values;
  Transition transition;
  std::string style_image;  // a file, a data URI, or empty
  std::string json;         // an object with more parameters; may be empty
  dreamframe::PixelFormat depth = dreamframe::PixelFormat::Rgba8;  // of pictures before they are fetched

  // A change of `depth` alone does not load the model again.
  bool operator==(const Wishes &other) const {
    return models == other.models && hardware == other.hardware && values == other.values &&
           transition == other.transition && style_image == other.style_image && json == other.json;
  }
};

// The value of a field: `number` for numbers, integers and flags, `text` for all others.
struct Given {
  double number = 0;
  std::string text;
};

// The values of all `fields`, by name.
class Settings {
 public:
  // `read` returns what the host's user gave for a field.
  template <class Read>
  explicit Settings(Read &&read) {
    for (const Field &field : fields()) given_.emplace(field.name, read(field));
  }

  double number(const std::string &name) const { return given_.at(name).number; }
  const std::string &text(const std::string &name) const { return given_.at(name).text; }

  // All settings but those that only one host has.
  Wishes wishes() const {
    Wishes wishes;
    wishes.models = {text("model_folder"), text("model"), text("vae"), text("ip_adapter")};
    wishes.hardware.dtype = dtype_of(text("dtype"));
    wishes.values = values();
    wishes.transition = {number("prompt_transition"), text("prompt_transition_method")};
    wishes.style_image = text("ip_adapter_style_image");
    return wishes;
  }

  // The values of parameters, except for the style image.
  Values values() const {
    Values values;
    for (const Field &field : parameter_fields()) values[field.name] = json(field.name, field);
    values["controlnets"] = controlnets();
    values["lora_dict"] = loras();
    values["ip_adapter"] = "{\"enabled\":" + flag("ip_adapter_enabled") +
                           ",\"scale\":" + json_number(number("ip_adapter_scale")) +
                           ",\"type\":" + json_text(text("ip_adapter_type")) +
                           ",\"weight_type\":" + json_text(text("ip_adapter_weight_type")) + "}";
    return values;
  }

 private:
  std::string json(const std::string &name, const Field &field) const {
    return json_value(field, number(name), text(name));
  }

  std::string flag(const std::string &name) const { return number(name) != 0 ? "true" : "false"; }

  // The ControlNets that have an id, as a list.
  std::string controlnets() const {
    std::string list;
    for (int slot = 1; slot <= slots; ++slot) {
      const std::string &id = text(slot_name("controlnet", slot));
      if (id.empty()) continue;
      const std::string &preprocessor = text(slot_name("controlnet", slot, "preprocessor"));
      list += (list.empty() ? "" : ",") + ("{\"model_id\":" + json_text(id)) +
              ",\"enabled\":" + flag(slot_name("controlnet", slot, "enabled")) +
              ",\"conditioning_scale\":" + json_number(number(slot_name("controlnet", slot, "scale"))) +
              ",\"preprocessor\":" + (preprocessor == "none" ? "null" : json_text(preprocessor)) + "}";
    }
    return "[" + list + "]";
  }

  // The LoRAs that have an id, as an object; the library rejects an id that is there twice.
  std::string loras() const {
    std::string list;
    for (int slot = 1; slot <= slots; ++slot) {
      const std::string &id = text(slot_name("lora", slot));
      if (id.empty()) continue;
      list += (list.empty() ? "" : ",") + json_text(id) + ":" + json_number(number(slot_name("lora", slot, "scale")));
    }
    return list.empty() ? "null" : "{" + list + "}";
  }

  static std::optional<dreamframe::Dtype> dtype_of(const std::string &name) {
    using dreamframe::Dtype;
    constexpr std::array<std::pair<const char *, Dtype>, 4> named = {{
        {"f32", Dtype::F32},
        {"bf16", Dtype::Bf16},
        {"int8", Dtype::Int8},
        {"f16", Dtype::F16},
    }};
    if (name.empty() || name == "auto") return std::nullopt;
    for (const auto &[known, value] : named) {
      if (name == known) return value;
    }
    throw std::runtime_error("Number Format: got " + name + ", expected auto, f32, bf16, int8 or f16");
  }

  std::map<std::string, Given> given_;
};

}  // namespace hosts
