// The TOP for textures in the memory of a CUDA device: with an engine on the same device, frames and pictures stay there.
//
// A cook never waits for a frame: it queues a copy of the input, and shows the newest picture. If the engine runs elsewhere,
// for example on the processor, frames and pictures are transferred, as in DreamframeTOP.cpp.

#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cuda_loop.hpp"
#include "node.hpp"

namespace {

using namespace node;

constexpr char provider_name[] = "Provider";
constexpr char library_name[] = "Onnxruntime";

dreamframe::PixelFormat library_format(OP_PixelFormat format) {
  return format == OP_PixelFormat::RGBA8Fixed ? dreamframe::PixelFormat::Rgba8 : dreamframe::PixelFormat::Bgra8;
}

// Sets the executor `auto`, or `onnx` with a provider.
void select(hosts::Hardware &hardware, const std::string &provider) {
  using dreamframe::Provider;
  constexpr std::array<std::pair<const char *, Provider>, 4> named = {{
      {"cuda", Provider::Cuda},
      {"tensorrt", Provider::TensorRt},
      {"tensorrt-rtx", Provider::TensorRtRtx},
      {"cpu", Provider::Cpu},
  }};
  hardware.executor = dreamframe::Executor::Auto;
  if (provider.empty()) return;
  for (const auto &[name, value] : named) {
    if (provider != name) continue;
    hardware.executor = dreamframe::Executor::Onnx;
    hardware.provider = value;
    return;
  }
  throw std::runtime_error("Provider: got " + provider + ", expected cuda, tensorrt, tensorrt-rtx, cpu or nothing");
}

class DreamframeCudaTOP final : public NodeTOP {
 public:
  explicit DreamframeCudaTOP(TOP_Context *context) : DreamframeCudaTOP(context, std::make_shared<cuda::Stream>()) {}

  ~DreamframeCudaTOP() override { cudaStreamSynchronize(stream_->get()); }

  void setupParameters(OP_ParameterManager *manager, void *reserved) override {
    NodeTOP::setupParameters(manager, reserved);
    manager->appendString(textual(provider_name, "Provider", "", hosts::model_page));
    manager->appendFolder(textual(library_name, "ONNX Runtime", "", hosts::model_page));
  }

 private:
  // What a cook shows.
  struct Shown {
    const cuda::Pixels *device = nullptr;    // a picture on the device
    const hosts::Picture *host = nullptr;    // or one in host memory
    OP_TextureDesc desc;                     // of these, or of the input, which passes
  };

  DreamframeCudaTOP(TOP_Context *context, const std::shared_ptr<cuda::Stream> &stream)
      : NodeTOP(context, [stream, device = context->getCUDADeviceIndex()](dreamframe::Engine &engine) {
          const std::pair<uint32_t, uint32_t> own(DREAMFRAME_CUDART_MEMORY, uint32_t(device));
          std::unique_ptr<hosts::Loop> loop;
          if (engine.frame_memory() == own) loop = std::make_unique<cuda::CudaLoop>(engine, device, stream);
          return loop;
        }),
        stream_(stream) {}

  void cook(TOP_Output *output, const OP_Inputs *inputs) override {
    const bool active = inputs->getParInt(active_name) != 0;
    hosts::Wishes wished = wishes(inputs);
    select(wished.hardware, inputs->getParString(provider_name));
    wished.hardware.device_index = uint32_t(context_->getCUDADeviceIndex());
    wished.hardware.onnxruntime = inputs->getParString(library_name);
    live_.want(std::move(wished));
    live_.step();
    auto *loop = static_cast<cuda::CudaLoop *>(live_.loop());
    if (active && !loop) exchange_with_session();
    const OP_TOPInput *input = usable(inputs->getInputTOP(0));
    const OP_CUDAArrayInfo *from = input ? acquired(*input) : nullptr;
    const Shown shown = active ? newest(loop, from) : Shown{nullptr, nullptr, desc_of(from)};
    const OP_CUDAArrayInfo *to = shown.desc.width ? created(*output, shown.desc) : nullptr;
    if ((!from && !to) || !context_->beginCUDAOperations(nullptr)) return;
    try {
      transfer(loop, active, from, to, shown);
    } catch (const std::exception &failure) {
      problem_ = failure.what();
    }
    context_->endCUDAOperations(nullptr);
  }

  // Returns the input if it is a 2D texture with 8 bits.
  const OP_TOPInput *usable(const OP_TOPInput *input) {
    if (!input) return nullptr;
    if (input->textureDesc.texDim != OP_TexDim::e2D) {
      problem_ = "the input is no 2D texture";
    } else if (!in_eight_bits(input->textureDesc.pixelFormat)) {
      problem_ = "the input has not the format of 8 bits per channel, which the TOP with CUDA needs";
    } else {
      return input;
    }
    return nullptr;
  }

  const OP_CUDAArrayInfo *acquired(const OP_TOPInput &input) {
    OP_CUDAAcquireInfo acquire;
    acquire.stream = stream_->get();
    return input.getCUDAArray(acquire, nullptr);
  }

  const OP_CUDAArrayInfo *created(TOP_Output &output, const OP_TextureDesc &desc) {
    TOP_CUDAOutputInfo info;
    info.textureDesc = desc;
    info.stream = stream_->get();
    return output.createCUDAArray(info, nullptr);
  }

  static OP_TextureDesc desc_of(const OP_CUDAArrayInfo *from) { return from ? from->textureDesc : OP_TextureDesc(); }

  // Returns the newest picture, or the input before the first.
  Shown newest(cuda::CudaLoop *loop, const OP_CUDAArrayInfo *from) {
    Shown shown;
    if (loop) {
      shown.device = &loop->picture();
      if (shown.device->empty()) shown.device = nullptr;
    }
    if (!shown.device && !picture_.pixels.empty()) shown.host = &picture_;
    shown.desc.texDim = OP_TexDim::e2D;
    shown.desc.pixelFormat = OP_PixelFormat::BGRA8Fixed;
    if (shown.device) {
      shown.desc.width = shown.device->width();
      shown.desc.height = shown.device->height();
    } else if (shown.host) {
      shown.desc.width = shown.host->width;
      shown.desc.height = shown.host->height;
    } else {
      shown.desc = desc_of(from);
    }
    return shown;
  }

  // Queues all copies of a cook. Arrays are valid only here.
  void transfer(cuda::CudaLoop *loop, bool active, const OP_CUDAArrayInfo *from, const OP_CUDAArrayInfo *to,
                const Shown &shown) {
    const uint32_t width = from ? from->textureDesc.width : 0, height = from ? from->textureDesc.height : 0;
    if (from && active && loop) {
      loop->submit(from->cudaArray, width, height, library_format(from->textureDesc.pixelFormat));
    } else if (from && active) {
      download(*from);
    }
    if (!to) return;
    if (shown.device) {
      shown.device->write(to->cudaArray, *stream_);
    } else if (shown.host) {
      const size_t row = size_t(shown.host->width) * 4;
      cuda::check(cudaMemcpy2DToArrayAsync(to->cudaArray, 0, 0, shown.host->pixels.data(), row, row, shown.host->height,
                                           cudaMemcpyHostToDevice, stream_->get()));
    } else if (from) {
      if (passing_.width() != width || passing_.height() != height) {
        cuda::check(cudaStreamSynchronize(stream_->get()));
        passing_.resize(width, height);
      }
      passing_.read(from->cudaArray, *stream_);
      passing_.write(to->cudaArray, *stream_);
    }
  }

  // Queues the transfer of the input to host memory, where the next cook finds it.
  void download(const OP_CUDAArrayInfo &from) {
    const OP_TextureDesc &desc = from.textureDesc;
    const size_t row = size_t(desc.width) * 4;
    downloaded_.resize(row * desc.height);
    download_ = desc;
    cuda::check(cudaMemcpy2DFromArrayAsync(downloaded_.data(), row, from.cudaArray, 0, 0, row, desc.height,
                                           cudaMemcpyDeviceToHost, stream_->get()));
  }

  // Submits the frame that the last cook downloaded, and takes the newest picture.
  void exchange_with_session() {
    const hosts::Layout layout{dreamframe::PixelFormat::Bgra8, dreamframe::Origin::BottomLeft};
    // Copies of the last cook, also from the memory of the picture; they are finished by now.
    cuda::check(cudaStreamSynchronize(stream_->get()));
    if (download_.width) {
      hosts::Layout own = layout;
      own.format = library_format(download_.pixelFormat);
      dreamframe_frame_t frame = hosts::described(own, download_.width, download_.height);
      frame.planes[0] = downloaded_.data();
      frame.strides[0] = size_t(download_.width) * 4;
      live_.submit(frame);
      download_ = OP_TextureDesc();
    }
    live_.poll(layout, picture_);
  }

  const std::shared_ptr<cuda::Stream> stream_;  // the loop's, too
  cuda::Pixels passing_;                        // the input on its way to the output
  std::vector<uint8_t> downloaded_;             // for an engine that is not on this device
  OP_TextureDesc download_;
  hosts::Picture picture_;  // the last one of such an engine
};

}  // namespace

extern "C" {

DLLEXPORT void FillTOPPluginInfo(TOP_PluginInfo *info) {
  if (!info->setAPIVersion(TOPCPlusPlusAPIVersion)) return;
  describe(info, TOP_ExecuteMode::CUDA, 1);
}

DLLEXPORT TOP_CPlusPlusBase *CreateTOPInstance(const OP_NodeInfo *, TOP_Context *context) {
  return create<DreamframeCudaTOP>(context);
}

DLLEXPORT void DestroyTOPInstance(TOP_CPlusPlusBase *instance, TOP_Context *) {
  delete static_cast<NodeTOP *>(instance);
}
}
