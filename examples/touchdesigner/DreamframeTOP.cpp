// A C++ TOP that restyles its input with dreamframe.
//
// A cook never blocks: it submits the newest frame, takes the newest picture if there is one, and otherwise shows the
// last one. Loading and processing happen on other threads (see ../hosts/live.hpp). Until the first picture, and while
// `Active` is off, the input passes unchanged.

#include <algorithm>
#include <cstring>
#include <optional>

#include "node.hpp"

namespace {

using namespace node;

// The library's names of the two formats of frames and pictures.
dreamframe::PixelFormat library_format(OP_PixelFormat format) {
  using dreamframe::PixelFormat;
  return format == OP_PixelFormat::BGRA8Fixed ? PixelFormat::Bgra8 : PixelFormat::Rgba16F;
}

class DreamframeTOP final : public NodeTOP {
 public:
  explicit DreamframeTOP(TOP_Context *context) : NodeTOP(context, {}) {}

 private:
  void cook(TOP_Output *output, const OP_Inputs *inputs) override {
    const bool active = inputs->getParInt(active_name) != 0;
    live_.want(wishes(inputs));
    live_.step();
    // The download requested by the last cook has arrived by now; one requested now would have to be waited for.
    OP_SmartRef<OP_TOPDownloadResult> frame = std::move(download_);
    download_.release();
    ask(inputs);
    if (active && frame) submit(frame);
    if (active && layout_) live_.poll(*layout_, picture_);
    if (active && !picture_.pixels.empty()) {
      show_picture(output);
    } else if (frame) {
      upload(output, frame->textureDesc, frame->getData(), frame->size);
    }
  }

  // Requests the input's pixels from the GPU: 8-bit textures as BGRA8, all others in half precision.
  void ask(const OP_Inputs *inputs) {
    const OP_TOPInput *input = inputs->getInputTOP(0);
    if (!input) return;
    if (input->textureDesc.texDim != OP_TexDim::e2D) {
      problem_ = "the input is no 2D texture";
      return;
    }
    OP_TOPInputDownloadOptions options;
    options.pixelFormat =
        in_eight_bits(input->textureDesc.pixelFormat) ? OP_PixelFormat::BGRA8Fixed : OP_PixelFormat::RGBA16Float;
    download_ = input->downloadTexture(options, nullptr);
  }

  void submit(OP_SmartRef<OP_TOPDownloadResult> &frame) {
    const OP_TextureDesc &desc = frame->textureDesc;
    layout_ = hosts::Layout{library_format(desc.pixelFormat), dreamframe::Origin::BottomLeft};
    dreamframe_frame_t view = hosts::described(*layout_, desc.width, desc.height);
    view.planes[0] = static_cast<uint8_t *>(frame->getData());
    view.strides[0] = frame->size / std::max(desc.height, 1u);
    live_.submit(view);
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
  OP_SmartRef<OP_TOPDownloadResult> download_;
};

}  // namespace

extern "C" {

DLLEXPORT void FillTOPPluginInfo(TOP_PluginInfo *info) {
  if (!info->setAPIVersion(TOPCPlusPlusAPIVersion)) return;
  describe(info, TOP_ExecuteMode::CPUMem);
}

DLLEXPORT TOP_CPlusPlusBase *CreateTOPInstance(const OP_NodeInfo *, TOP_Context *context) {
  return create<DreamframeTOP>(context);
}

DLLEXPORT void DestroyTOPInstance(TOP_CPlusPlusBase *instance, TOP_Context *) {
  delete static_cast<NodeTOP *>(instance);
}
}
