// One node of the stub host: its parameters, and a cook.
#pragma once

#include <cctype>
#include <cstring>

#include "host.hpp"

namespace stub {

struct Parameter {
  std::string kind;
  double number = 0;
  std::string text;
};

// Collects what `setupParameters` declares, by the host's rules for names.
class Parameters final : public OP_ParameterManager {
 public:
  std::map<std::string, Parameter> all;

  OP_ParAppendResult appendFloat(const OP_NumericParameter &p, int32_t) override { return number("float", p); }
  OP_ParAppendResult appendInt(const OP_NumericParameter &p, int32_t) override { return number("int", p); }
  OP_ParAppendResult appendToggle(const OP_NumericParameter &p) override { return number("toggle", p); }
  OP_ParAppendResult appendPulse(const OP_NumericParameter &p) override { return number("pulse", p); }
  OP_ParAppendResult appendString(const OP_StringParameter &p) override { return text("string", p); }
  OP_ParAppendResult appendFile(const OP_StringParameter &p) override { return text("file", p); }
  OP_ParAppendResult appendFolder(const OP_StringParameter &p) override { return text("folder", p); }
  OP_ParAppendResult appendDAT(const OP_StringParameter &p) override { return text("dat", p); }
  OP_ParAppendResult appendMenu(const OP_StringParameter &p, int32_t count, const char **names,
                                const char **labels) override {
    check_choices(p, count, names, labels);
    return text("menu", p);
  }
  OP_ParAppendResult appendStringMenu(const OP_StringParameter &p, int32_t count, const char **names,
                                      const char **labels) override {
    check_choices(p, count, names, labels);
    return text("menu", p);
  }

 private:
  static void check_choices(const OP_StringParameter &p, int32_t count, const char **names, const char **labels) {
    bool has_default = false;
    for (int32_t i = 0; i < count; ++i) {
      CHECK(names[i] && labels[i], "%s: a choice without a name or a label", p.name);
      has_default = has_default || std::strcmp(names[i], p.defaultValue) == 0;
    }
    CHECK(has_default, "%s: the default %s is no choice", p.name, p.defaultValue);
  }
  OP_ParAppendResult number(const char *kind, const OP_NumericParameter &p) {
    return add(p.name, p.label, {kind, p.defaultValues[0], {}});
  }
  OP_ParAppendResult text(const char *kind, const OP_StringParameter &p) {
    return add(p.name, p.label, {kind, 0, p.defaultValue ? p.defaultValue : ""});
  }
  OP_ParAppendResult add(const char *name, const char *label, Parameter parameter) {
    CHECK(name && label, "a parameter without a name or a label");
    bool valid = std::isupper(static_cast<unsigned char>(name[0])) != 0;
    for (const char *c = name + 1; valid && *c; ++c) {
      valid = std::islower(static_cast<unsigned char>(*c)) || std::isdigit(static_cast<unsigned char>(*c));
    }
    if (!valid || !all.emplace(name, std::move(parameter)).second) return OP_ParAppendResult::InvalidName;
    return OP_ParAppendResult::Success;
  }
};

// A DAT with one cell of text.
class TextDat {
 public:
  explicit TextDat(std::string text) : text_(std::move(text)), cell_(text_.c_str()) {
    input.numRows = input.numCols = 1;
    input.cellData = &cell_;
  }
  TextDat(const TextDat &) = delete;
  OP_DATInput input;

 private:
  std::string text_;
  const char *cell_;
};

class Inputs final : public OP_Inputs {
 public:
  std::map<std::string, Parameter> *parameters = nullptr;
  const OP_TOPInput *top = nullptr, *second = nullptr;
  const OP_DATInput *dat = nullptr;

  int32_t getNumInputs() const override { return (top ? 1 : 0) + (second ? 1 : 0); }
  const OP_TOPInput *getInputTOP(int32_t index) const override {
    return index == 0 ? top : index == 1 ? second : nullptr;
  }
  const OP_DATInput *getParDAT(const char *name) const override {
    CHECK(find(name).kind == "dat", "%s is no DAT", name);
    return dat;
  }
  double getParDouble(const char *name, int32_t) const override { return find(name).number; }
  int32_t getParInt(const char *name, int32_t) const override { return int32_t(find(name).number); }
  const char *getParString(const char *name) const override { return find(name).text.c_str(); }

 private:
  Parameter &find(const char *name) const {
    CHECK(!cuda_cook.begun(), "%s is read during CUDA operations", name);
    const auto found = parameters->find(name);
    CHECK(found != parameters->end(), "no parameter %s", name);
    return found->second;
  }
};

class Output final : public TOP_Output {
 public:
  std::unique_ptr<Texture> uploaded;

  const OP_CUDAArrayInfo *createCUDAArray(const TOP_CUDAOutputInfo &info, void *) override {
    CHECK(info.textureDesc.texDim == OP_TexDim::e2D && info.colorBufferIndex == 0, "an output that is not the first 2D one");
    CHECK(!uploaded, "two outputs in one cook");
    uploaded = std::make_unique<Texture>();
    uploaded->desc = info.textureDesc;
    // What is not written is seen.
    uploaded->bytes.assign(pixel_bytes(info.textureDesc.pixelFormat) * info.textureDesc.width * info.textureDesc.height, 0xee);
    return cuda_cook.add(info.textureDesc, uploaded->bytes.data(), info.stream);
  }

  void uploadBuffer(OP_SmartRef<TOP_Buffer> *buffer, const TOP_UploadInfo &info, void *) override {
    CHECK(buffer && *buffer, "an upload without a buffer");
    CHECK(info.textureDesc.texDim == OP_TexDim::e2D, "an upload that is not 2D");
    CHECK(info.firstPixel == TOP_FirstPixel::BottomLeft, "rows go up from the bottom one, as they came");
    CHECK(info.colorBufferIndex == 0 && info.bufferOffset == 0, "an upload to elsewhere");
    CHECK(!uploaded, "two uploads in one cook");
    uploaded = std::make_unique<Texture>();
    uploaded->desc = info.textureDesc;
    const size_t size = pixel_bytes(info.textureDesc.pixelFormat) * info.textureDesc.width * info.textureDesc.height;
    CHECK((*buffer)->size >= size, "a buffer of %llu bytes", static_cast<unsigned long long>((*buffer)->size));
    const auto *data = static_cast<const uint8_t *>((*buffer)->data);
    uploaded->bytes.assign(data, data + size);
    buffer->release();
  }
};

// What one cook came to.
struct Cooked {
  std::unique_ptr<Texture> uploaded;
  std::string warning, error, popup;
  std::map<std::string, float> channels;
  std::map<std::string, std::string> table;
};

class Node {
 public:
  explicit Node(Plugin &plugin) : plugin_(plugin) {
    info_.opPath = "/project1/dreamframe1";
    info_.opId = 7;
    top_ = plugin.create(&info_, &context_);
    CHECK(top_, "no instance");
    top_->setupParameters(&parameters_, nullptr);
  }
  Node(const Node &) = delete;
  ~Node() { plugin_.destroy(top_, &context_); }

  std::map<std::string, Parameter> &parameters() { return parameters_.all; }
  void set(const std::string &name, double number) { named(name).number = number; }
  void set(const std::string &name, const std::string &text) { named(name).text = text; }
  // Puts a text DAT into the parameter `Json`; an empty text takes it out again.
  void set_dat(const std::string &text) { dat_ = text.empty() ? nullptr : std::make_unique<TextDat>(text); }
  void pulse(const char *name) {
    CHECK(named(name).kind == "pulse", "%s is no pulse", name);
    top_->pulsePressed(name, nullptr);
  }

  Cooked cook(const Texture *input, const Texture *second = nullptr) {
    ++counts.cook;
    std::unique_ptr<Input> wired = input ? std::make_unique<Input>(*input) : nullptr;
    std::unique_ptr<Input> wired_second = second ? std::make_unique<Input>(*second) : nullptr;
    Inputs inputs;
    inputs.parameters = &parameters_.all;
    inputs.top = wired.get();
    inputs.second = wired_second.get();
    inputs.dat = dat_ ? &dat_->input : nullptr;
    TOP_GeneralInfo general;
    top_->getGeneralInfo(&general, &inputs, nullptr);
    CHECK(general.cookEveryFrameIfAsked, "pictures come later than frames, so cooks must go on by themselves");
    Output output;
    top_->execute(&output, &inputs, nullptr);
    CHECK(!cuda_cook.begun(), "CUDA operations do not end");
    Cooked cooked = told();
    cooked.uploaded = std::move(output.uploaded);
    return cooked;
  }

 private:
  Parameter &named(const std::string &name) {
    const auto found = parameters_.all.find(name);
    CHECK(found != parameters_.all.end(), "no parameter %s", name.c_str());
    return found->second;
  }

  Cooked told() {
    Cooked cooked;
    const int32_t channels = top_->getNumInfoCHOPChans(nullptr);
    for (int32_t i = 0; i < channels; ++i) {
      Text name;
      OP_InfoCHOPChan channel;
      channel.name = &name;
      top_->getInfoCHOPChan(i, &channel, nullptr);
      CHECK(cooked.channels.emplace(name.value, channel.value).second, "two channels %s", name.value.c_str());
    }
    OP_InfoDATSize size;
    if (top_->getInfoDATSize(&size, nullptr)) {
      CHECK(!size.byColumn && size.cols == 2, "a table of names and values");
      for (int32_t row = 0; row < size.rows; ++row) {
        Text name, value;
        OP_String *cells[] = {&name, &value};
        OP_InfoDATEntries entries;
        entries.values = cells;
        top_->getInfoDATEntries(row, size.cols, &entries, nullptr);
        cooked.table[name.value] = value.value;
      }
    }
    Text warning, error, popup;
    top_->getWarningString(&warning, nullptr);
    top_->getErrorString(&error, nullptr);
    top_->getInfoPopupString(&popup, nullptr);
    cooked.warning = warning.value;
    cooked.error = error.value;
    cooked.popup = popup.value;
    return cooked;
  }

  Plugin &plugin_;
  OP_NodeInfo info_;
  Context context_;
  Parameters parameters_;
  std::unique_ptr<TextDat> dat_;
  TOP_CPlusPlusBase *top_ = nullptr;
};

}  // namespace stub
