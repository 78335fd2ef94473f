// What the nodes of both plug-ins have in common: parameters, messages and statistics.
#pragma once

#include <cctype>
#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "../hosts/live.hpp"
#include "../hosts/wishes.hpp"
#include "TOP_CPlusPlusBase.h"

namespace node {

using namespace TD;

// Parameters of the node other than those of `hosts::fields`.
inline constexpr char active_name[] = "Active";
inline constexpr char json_name[] = "Json";
inline constexpr char reload_name[] = "Reload";

// `guidance_scale` is `Guidancescale`: the host requires a capital letter followed by small letters and digits.
inline std::string host_name(const std::string &name) {
  std::string made;
  for (const char c : name) {
    if (c != '_') made += c;
  }
  made[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(made[0])));
  return made;
}

inline bool in_eight_bits(OP_PixelFormat format) {
  return format == OP_PixelFormat::BGRA8Fixed || format == OP_PixelFormat::RGBA8Fixed;
}

// Creates a number parameter without bounds except those of the slider: the library checks the range.
inline OP_NumericParameter numeric(const char *name, const char *label, double value, double least, double most,
                                   const char *page = hosts::main_page) {
  OP_NumericParameter parameter(name);
  parameter.label = label;
  parameter.page = page;
  parameter.defaultValues[0] = value;
  parameter.minSliders[0] = least;
  parameter.maxSliders[0] = most;
  return parameter;
}

inline OP_StringParameter textual(const char *name, const char *label, const char *value,
                                  const char *page = hosts::main_page) {
  OP_StringParameter parameter(name);
  parameter.label = label;
  parameter.page = page;
  parameter.defaultValue = value;
  return parameter;
}

// A node that restyles its input; the derived classes transfer textures.
class NodeTOP : public TOP_CPlusPlusBase {
 public:
  void setupParameters(OP_ParameterManager *manager, void *) override {
    manager->appendToggle(numeric(active_name, "Active", 1, 0, 1));
    for (const hosts::Field &field : hosts::fields()) append(manager, field);
    manager->appendDAT(textual(json_name, "More Parameters (JSON)", ""));
    manager->appendPulse(numeric(reload_name, "Load Again", 0, 0, 1, hosts::model_page));
  }

  // Pictures are later than their frames, so the node cooks while nothing upstream changes.
  void getGeneralInfo(TOP_GeneralInfo *info, const OP_Inputs *, void *) override { info->cookEveryFrameIfAsked = true; }

  void execute(TOP_Output *output, const OP_Inputs *inputs, void *) override {
    problem_.clear();
    try {
      cook(output, inputs);
    } catch (const std::exception &failure) {  // out of memory; must not reach the host
      problem_ = failure.what();
    }
  }

  void pulsePressed(const char *name, void *) override {
    if (std::strcmp(name, reload_name) == 0) live_.load_again();
  }

  void getWarningString(OP_String *text, void *) override {
    const std::string warning = problem_.empty() ? live_.status().warning : problem_;
    if (!warning.empty()) text->setString(warning.c_str());
  }

  void getErrorString(OP_String *text, void *) override {
    const std::string error = live_.status().error;
    if (!error.empty()) text->setString(error.c_str());
  }

  void getInfoPopupString(OP_String *text, void *) override { text->setString(live_.status().summary().c_str()); }

  int32_t getNumInfoCHOPChans(void *) override {
    facts_ = live_.facts();
    return static_cast<int32_t>(facts_.size());
  }

  void getInfoCHOPChan(int32_t index, OP_InfoCHOPChan *channel, void *) override {
    const hosts::Fact &fact = facts_.at(static_cast<size_t>(index));
    channel->name->setString(fact.name);
    channel->value = static_cast<float>(fact.value);
  }

  bool getInfoDATSize(OP_InfoDATSize *size, void *) override {
    facts_ = live_.facts();
    size->rows = static_cast<int32_t>(facts_.size()) + 1;
    size->cols = 2;
    size->byColumn = false;
    return true;
  }

  void getInfoDATEntries(int32_t row, int32_t, OP_InfoDATEntries *entries, void *) override {
    if (row == 0) {
      entries->values[0]->setString("state");
      entries->values[1]->setString(live_.status().summary().c_str());
      return;
    }
    const hosts::Fact &fact = facts_.at(static_cast<size_t>(row) - 1);
    entries->values[0]->setString(fact.name);
    entries->values[1]->setString(hosts::json_number(fact.value).c_str());
  }

 protected:
  NodeTOP(TOP_Context *context, hosts::MakeLoop make_loop)
      : context_(context), live_(dreamframe::Fit::Cover, std::move(make_loop)) {}

  virtual void cook(TOP_Output *output, const OP_Inputs *inputs) = 0;

  static void append(OP_ParameterManager *manager, const hosts::Field &field) {
    const std::string name = host_name(field.name);
    const OP_NumericParameter number =
        numeric(name.c_str(), field.label.c_str(), field.number, field.slider_min, field.slider_max, field.page);
    const OP_StringParameter text = textual(name.c_str(), field.label.c_str(), field.text.c_str(), field.page);
    std::vector<const char *> choices = field.choices;
    switch (field.kind) {
      case hosts::Kind::text:
      case hosts::Kind::integers: manager->appendString(text); break;
      case hosts::Kind::number: manager->appendFloat(number); break;
      case hosts::Kind::integer: manager->appendInt(number); break;
      case hosts::Kind::flag: manager->appendToggle(number); break;
      case hosts::Kind::file: manager->appendFile(text); break;
      case hosts::Kind::folder: manager->appendFolder(text); break;
      // The host's other kind of menu gives only names without spaces.
      case hosts::Kind::choice:
      case hosts::Kind::suggestion:
        manager->appendStringMenu(text, static_cast<int32_t>(choices.size()), choices.data(), choices.data());
        break;
    }
  }

  static hosts::Wishes wishes(const OP_Inputs *inputs) {
    const hosts::Settings settings([inputs](const hosts::Field &field) {
      const std::string name = host_name(field.name);
      hosts::Given given;
      if (hosts::is_number(field.kind)) {
        given.number = inputs->getParDouble(name.c_str());
      } else {
        given.text = inputs->getParString(name.c_str());
      }
      return given;
    });
    hosts::Wishes wishes = settings.wishes();
    const OP_TOPInput *input = inputs->getInputTOP(0);
    if (input && !in_eight_bits(input->textureDesc.pixelFormat)) wishes.depth = dreamframe::PixelFormat::Rgba16F;
    const OP_DATInput *dat = inputs->getParDAT(json_name);
    // A table is joined to one text: the JSON may have been pasted into one, cell by cell.
    for (int32_t row = 0; dat && row < dat->numRows; ++row) {
      for (int32_t col = 0; col < dat->numCols; ++col) wishes.json += dat->getCell(row, col);
    }
    return wishes;
  }

  TOP_Context *context_;
  std::string problem_;
  hosts::Live live_;

 private:
  std::vector<hosts::Fact> facts_;
};

inline void describe(TOP_PluginInfo *info, TOP_ExecuteMode mode, int32_t inputs) {
  info->executeMode = mode;
  OP_CustomOPInfo &custom = info->customOPInfo;
  custom.opType->setString("Dreamframe");
  custom.opLabel->setString("dreamframe");
  custom.opIcon->setString("DRF");
  custom.authorName->setString("dreamframe");
  custom.authorEmail->setString("");
  custom.minInputs = 1;
  custom.maxInputs = inputs;
}

// Returns a new node; none if there is no memory or no thread, as the host does not accept exceptions.
template <class Top>
TOP_CPlusPlusBase *create(TOP_Context *context) {
  try {
    return new Top(context);
  } catch (const std::exception &) {
    return nullptr;
  }
}

}  // namespace node
