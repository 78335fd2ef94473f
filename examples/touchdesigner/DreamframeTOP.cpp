// A C++ TOP that restyles its input with dreamframe.
//
// A cook never blocks: it submits the newest frame, takes the newest picture if there is one, and otherwise shows the
// last one. Loading and processing happen on other threads (see ../hosts/live.hpp). Until the first picture, and while
// `Active` is off, the input passes unchanged.

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "node.hpp"

namespace {

using namespace node;

// The library's names of the two formats of frames and pictures.
dreamframe::PixelFormat library_format(OP_PixelFormat format) {
  using dreamframe::PixelFormat;
  return format == OP_PixelFormat::BGRA8Fixed ? PixelFormat::Bgra8 : PixelFormat::Rgba16F;
}

// What the second input is for.
constexpr char second_name[] = "Secondinput";
const char *second_uses[] = {"none", "control", "style"};
const char *second_labels[] = {"Nothing", "Control Image", "Style Image"};

class DreamframeTOP final : public NodeTOP {
 public:
  explicit DreamframeTOP(TOP_Context *context) : NodeTOP(context, {}) {}

  void setupParameters(OP_ParameterManager *manager, void *reserved) override {
    NodeTOP::setupParameters(manager, reserved);
    manager->appendMenu(textual(second_name, "Second Input", second_uses[0]), 3, second_uses, second_labels);
  }

 private:
  void cook(TOP_Output *output, const OP_Inputs *inputs) override {
    const bool active = inputs->getParInt(active_name) != 0;
    live_.want(wishes(inputs));
    live_.step();
    // The download requested by the last cook has arrived by now; one requested now would have to be waited for.
    OP_SmartRef<OP_TOPDownloadResult> frame = std::move(download_);
    download_.release();
    download_ = ask(inputs->getInputTOP(0), "the input");
    cook_second(inputs);
    if (active && frame) submit(frame);
    if (active && layout_) live_.poll(*layout_, picture_);
    if (active && !picture_.pixels.empty()) {
      show_picture(output);
    } else if (frame) {
      upload(output, frame->textureDesc, frame->getData(), frame->size);
    }
  }

  // Requests the input's pixels from the GPU: 8-bit textures as BGRA8, all others in half precision.
  OP_SmartRef<OP_TOPDownloadResult> ask(const OP_TOPInput *input, const char *name) {
    if (!input) return {};
    if (input->textureDesc.texDim != OP_TexDim::e2D) {
      problem_ = std::string(name) + " is no 2D texture";
      return {};
    }
    OP_TOPInputDownloadOptions options;
    options.pixelFormat =
        in_eight_bits(input->textureDesc.pixelFormat) ? OP_PixelFormat::BGRA8Fixed : OP_PixelFormat::RGBA16Float;
    return input->downloadTexture(options, nullptr);
  }

  // Gives the session what arrived of the second input, and requests its next pixels.
  void cook_second(const OP_Inputs *inputs) {
    const std::string_view use = inputs->getParString(second_name);
    const bool control = use == second_uses[1], style = use == second_uses[2];
    const OP_TOPInput *input = control || style ? inputs->getInputTOP(1) : nullptr;
    OP_SmartRef<OP_TOPDownloadResult> image = std::move(second_);
    second_.release();
    if (!input) {
      live_.take_image_back();
      return;
    }
    if (image) live_.give_image(control ? hosts::ImageUse::control : hosts::ImageUse::style, view(image));
    second_ = ask(input, "the second input");
  }

  static dreamframe_frame_t view(OP_SmartRef<OP_TOPDownloadResult> &pixels) {
    const OP_TextureDesc &desc = pixels->textureDesc;
    const hosts::Layout layout{library_format(desc.pixelFormat), dreamframe::Origin::BottomLeft};
    dreamframe_frame_t view = hosts::described(layout, desc.width, desc.height);
    view.planes[0] = static_cast<uint8_t *>(pixels->getData());
    view.strides[0] = pixels->size / std::max(desc.height, 1u);
    return view;
  }

  void submit(OP_SmartRef<OP_TOPDownloadResult> &frame) {
    layout_ = hosts::Layout{library_format(frame->textureDesc.pixelFormat), dreamframe::Origin::BottomLeft};
    live_.submit(view(frame));
  }

  void show_picture(TOP_Output *output) {
    OP_TextureDesc desc;
    desc.width = picture_.width;
    desc.height = picture_.height;
    desc.texDim = OP_TexDim::e2D;
    desc.pixelFormat = picture_.layout.format == dreamframe::PixelFormat::Bgra8 ? OP_PixelFormat::BGRA8Fixed
                                                                        : OP_PixelFormat::RGBA16Float;
    upload(output, desc, picture_.pixels.data(), picture_.pixels.size());
  }

  void upload(TOP_Output *output, const OP_TextureDesc &desc, const void *pixels, uint64_t size) {
    OP_SmartRef<TOP_Buffer> buffer = context_->createOutputBuffer(size, TOP_BufferFlags::None, nullptr);
    if (!buffer) return;
    std::memcpy(buffer->data, pixels, size);
    TOP_UploadInfo info;
    info.textureDesc = desc;
    info.firstPixel = TOP_FirstPixel::BottomLeft;
    output->uploadBuffer(&buffer, info, nullptr);
  }

  std::optional<hosts::Layout> layout_;  // of the newest frame; also that of pictures
  hosts::Picture picture_;               // the last one
  OP_SmartRef<OP_TOPDownloadResult> download_, second_;
};

}  // namespace

extern "C" {

DLLEXPORT void FillTOPPluginInfo(TOP_PluginInfo *info) {
  if (!info->setAPIVersion(TOPCPlusPlusAPIVersion)) return;
  describe(info, TOP_ExecuteMode::CPUMem, 2);
}

DLLEXPORT TOP_CPlusPlusBase *CreateTOPInstance(const OP_NodeInfo *, TOP_Context *context) {
  return create<DreamframeTOP>(context);
}

DLLEXPORT void DestroyTOPInstance(TOP_CPlusPlusBase *instance, TOP_Context *) {
  delete static_cast<NodeTOP *>(instance);
}
}
