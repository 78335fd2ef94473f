// As much of TouchDesigner's C++ TOP interface as this TOP uses, to compile and test it where TouchDesigner is not.
//
// Written for this project from facts in Derivative's documentation (docs.derivative.ca: "Write a CPlusPlus Plugin",
// "Write a CPlusPlus TOP"; the 2025 builds' C++ TOP interface of version 12 and its samples): names, signatures, values
// of constants, and what is said of order and threads. It has the host's source interface and not its binary one: the
// order of virtual functions and the size of classes are not TouchDesigner's. A TOP for the real host is compiled with
// the headers that come with it (`-DTOUCHDESIGNER_SDK=...`); one that was compiled with this header says that it is for
// version 0 of the interface, which no TouchDesigner takes.
#ifndef DREAMFRAME_TOUCHDESIGNER_INTERFACE_H
#define DREAMFRAME_TOUCHDESIGNER_INTERFACE_H

#include <cstdint>
#include <utility>

#ifdef _WIN32
#define DLLEXPORT __declspec(dllexport)
#else
#define DLLEXPORT
#endif

// CUDA's own types, for TOPs in the execute mode `CUDA`.
struct cudaArray;
typedef struct CUstream_st *cudaStream_t;

namespace TD {

// Text that the host owns; UTF-8, copied by the call.
class OP_String {
 public:
  virtual void setString(const char *text) = 0;

 protected:
  ~OP_String() = default;
};

// --- Counted references ---

template <class T>
class OP_SmartRef;

class OP_RefCount {
 protected:
  virtual ~OP_RefCount() = default;
  virtual void acquire() = 0;
  virtual void release() = 0;

  template <class T>
  friend class OP_SmartRef;
};

template <class T>
class OP_SmartRef {
 public:
  OP_SmartRef() = default;
  explicit OP_SmartRef(T *target) : target_(target) {
    if (target_) target_->acquire();
  }
  OP_SmartRef(const OP_SmartRef &other) : OP_SmartRef(other.target_) {}
  OP_SmartRef(OP_SmartRef &&other) noexcept : target_(std::exchange(other.target_, nullptr)) {}
  OP_SmartRef &operator=(OP_SmartRef other) noexcept {
    std::swap(target_, other.target_);
    return *this;
  }
  ~OP_SmartRef() { release(); }

  void release() {
    if (T *target = std::exchange(target_, nullptr)) target->release();
  }
  T *operator->() const { return target_; }
  operator bool() const { return target_ != nullptr; }

 private:
  T *target_ = nullptr;
};

// --- Textures ---

enum class OP_PixelFormat : int32_t {
  Invalid = -1,
  BGRA8Fixed = 0,
  RGBA8Fixed = 1,
  RGBA32Float = 2,
  RGBA16Fixed = 102,
  RGBA16Float = 202,
};

enum class OP_TexDim : int32_t { eInvalid = -1, e2D = 0, e2DArray = 1, e3D = 2, eCube = 3 };

class OP_TextureDesc {
 public:
  uint32_t width = 0;
  uint32_t height = 0;
  uint32_t depth = 1;
  OP_TexDim texDim = OP_TexDim::eInvalid;
  OP_PixelFormat pixelFormat = OP_PixelFormat::Invalid;
};

class OP_TOPInputDownloadOptions {
 public:
  bool verticalFlip = false;
  OP_PixelFormat pixelFormat = OP_PixelFormat::Invalid;  // Invalid: as the texture is
};

class OP_TOPDownloadResult : public OP_RefCount {
 public:
  // Waits until the pixels have come from the GPU, which they have a frame after they were asked for.
  virtual void *getData() = 0;

  uint64_t size = 0;
  OP_TextureDesc textureDesc;
};

// A texture for CUDA. The array is null outside of `TOP_Context::beginCUDAOperations` and `endCUDAOperations`.
class OP_CUDAArrayInfo {
 public:
  OP_TextureDesc textureDesc;
  ::cudaArray *cudaArray = nullptr;
};

class OP_CUDAAcquireInfo {
 public:
  cudaStream_t stream = nullptr;
};

class OP_TOPInput {
 public:
  // Only in `execute` of a TOP in the execute mode `CUDA`, before `beginCUDAOperations`.
  virtual const OP_CUDAArrayInfo *getCUDAArray(const OP_CUDAAcquireInfo &info, void *reserved) const = 0;
  virtual OP_SmartRef<OP_TOPDownloadResult> downloadTexture(const OP_TOPInputDownloadOptions &options,
                                                            void *reserved) const = 0;

  const char *opPath = nullptr;
  uint32_t opId = 0;
  OP_TextureDesc textureDesc;
  int64_t totalCooks = 0;

 protected:
  ~OP_TOPInput() = default;
};

// --- What a cook reads ---

class OP_DATInput {
 public:
  const char *getCell(int32_t row, int32_t col) const { return cellData[row * numCols + col]; }

  const char *opPath = nullptr;
  uint32_t opId = 0;
  int32_t numRows = 0;
  int32_t numCols = 0;
  bool isTable = false;  // text that is no table has one cell
  const char **cellData = nullptr;
  int64_t totalCooks = 0;
};

class OP_Inputs {
 public:
  virtual int32_t getNumInputs() const = 0;
  virtual const OP_TOPInput *getInputTOP(int32_t index) const = 0;
  virtual const OP_DATInput *getParDAT(const char *name) const = 0;
  virtual double getParDouble(const char *name, int32_t index = 0) const = 0;
  virtual int32_t getParInt(const char *name, int32_t index = 0) const = 0;
  virtual const char *getParString(const char *name) const = 0;

 protected:
  ~OP_Inputs() = default;
};

// --- Custom parameters; names are a capital letter, then small letters and digits ---

class OP_NumericParameter {
 public:
  explicit OP_NumericParameter(const char *itsName = nullptr) : name(itsName) {}

  const char *name;
  const char *label = nullptr;
  const char *page = nullptr;
  double defaultValues[4] = {0, 0, 0, 0};
  double minValues[4] = {0, 0, 0, 0};
  double maxValues[4] = {1, 1, 1, 1};
  bool clampMins[4] = {false, false, false, false};
  bool clampMaxes[4] = {false, false, false, false};
  double minSliders[4] = {0, 0, 0, 0};
  double maxSliders[4] = {1, 1, 1, 1};
};

class OP_StringParameter {
 public:
  explicit OP_StringParameter(const char *itsName = nullptr) : name(itsName) {}

  const char *name;
  const char *label = nullptr;
  const char *page = nullptr;
  const char *defaultValue = nullptr;
};

enum class OP_ParAppendResult : int32_t { Success = 0, InvalidName = 1, InvalidSize = 2 };

class OP_ParameterManager {
 public:
  virtual OP_ParAppendResult appendFloat(const OP_NumericParameter &parameter, int32_t size = 1) = 0;
  virtual OP_ParAppendResult appendInt(const OP_NumericParameter &parameter, int32_t size = 1) = 0;
  virtual OP_ParAppendResult appendToggle(const OP_NumericParameter &parameter) = 0;
  virtual OP_ParAppendResult appendPulse(const OP_NumericParameter &parameter) = 0;
  virtual OP_ParAppendResult appendString(const OP_StringParameter &parameter) = 0;
  virtual OP_ParAppendResult appendFile(const OP_StringParameter &parameter) = 0;
  virtual OP_ParAppendResult appendFolder(const OP_StringParameter &parameter) = 0;
  virtual OP_ParAppendResult appendDAT(const OP_StringParameter &parameter) = 0;
  virtual OP_ParAppendResult appendMenu(const OP_StringParameter &parameter, int32_t count, const char **names,
                                        const char **labels) = 0;
  // A text with suggestions; names and labels are copied by the call.
  virtual OP_ParAppendResult appendStringMenu(const OP_StringParameter &parameter, int32_t count, const char **names,
                                              const char **labels) = 0;

 protected:
  ~OP_ParameterManager() = default;
};

// --- What a TOP tells of itself ---

class OP_InfoCHOPChan {
 public:
  OP_String *name = nullptr;
  float value = 0;
};

class OP_InfoDATSize {
 public:
  int32_t rows = 0;
  int32_t cols = 0;
  bool byColumn = false;
};

class OP_InfoDATEntries {
 public:
  OP_String **values = nullptr;  // those of one row, or of one column
};

class OP_CustomOPInfo {
 public:
  OP_String *opType = nullptr;   // a capital letter, then small letters and digits
  OP_String *opLabel = nullptr;
  OP_String *opIcon = nullptr;   // three letters
  int32_t minInputs = 0;
  int32_t maxInputs = 0;
  OP_String *authorName = nullptr;
  OP_String *authorEmail = nullptr;
  int32_t majorVersion = 0;
  int32_t minorVersion = 1;
};

class OP_NodeInfo {
 public:
  const char *opPath = nullptr;
  uint32_t opId = 0;
  const char *pluginPath = nullptr;
};

// --- TOPs ---

enum class TOP_ExecuteMode : int32_t { CPUMem = 1, CUDA = 3 };

enum class TOP_FirstPixel : int32_t { BottomLeft = 0, TopLeft = 1 };

enum class TOP_BufferFlags : int32_t { None = 0, Readable = 1 };

constexpr int32_t TOPCPlusPlusAPIVersion = 0;

class TOP_PluginInfo {
 public:
  // Tells whether the host takes plug-ins of this version.
  [[nodiscard]] bool setAPIVersion(int32_t version) {
    version_ = version;
    return version == TOPCPlusPlusAPIVersion;
  }
  [[nodiscard]] int32_t getAPIVersion() const { return version_; }

  TOP_ExecuteMode executeMode = TOP_ExecuteMode::CPUMem;
  OP_CustomOPInfo customOPInfo;

 private:
  int32_t version_ = -1;
};

class TOP_GeneralInfo {
 public:
  bool cookEveryFrame = false;
  bool cookEveryFrameIfAsked = false;
  int32_t inputSizeIndex = 0;
};

class TOP_Buffer : public OP_RefCount {
 public:
  void *data = nullptr;
  uint64_t size = 0;
  TOP_BufferFlags flags = TOP_BufferFlags::None;
};

class TOP_Context {
 public:
  // May be called on any thread at any time.
  virtual OP_SmartRef<TOP_Buffer> createOutputBuffer(uint64_t size, TOP_BufferFlags flags, void *reserved) = 0;
  // In the execute mode `CUDA`, between which arrays are valid and parameters cannot be read.
  virtual bool beginCUDAOperations(void *reserved) = 0;
  virtual void endCUDAOperations(void *reserved) = 0;
  virtual int32_t getCUDADeviceIndex() const = 0;

 protected:
  ~TOP_Context() = default;
};

class TOP_UploadInfo {
 public:
  uint64_t bufferOffset = 0;
  OP_TextureDesc textureDesc;
  TOP_FirstPixel firstPixel = TOP_FirstPixel::BottomLeft;
  uint32_t colorBufferIndex = 0;
};

class TOP_CUDAOutputInfo {
 public:
  OP_TextureDesc textureDesc;
  uint32_t colorBufferIndex = 0;
  cudaStream_t stream = nullptr;
};

class TOP_Output {
 public:
  // In the execute mode `CUDA`, before `beginCUDAOperations`.
  virtual const OP_CUDAArrayInfo *createCUDAArray(const TOP_CUDAOutputInfo &info, void *reserved) = 0;
  // Takes the buffer: the reference is empty afterwards.
  virtual void uploadBuffer(OP_SmartRef<TOP_Buffer> *buffer, const TOP_UploadInfo &info, void *reserved) = 0;

 protected:
  ~TOP_Output() = default;
};

// One for each node. Called on the host's main thread: `setupParameters` when the node is made; for each cook
// `getGeneralInfo`, `execute`, the information functions, `getWarningString`, `getErrorString`, `getInfoPopupString`.
class TOP_CPlusPlusBase {
 public:
  virtual ~TOP_CPlusPlusBase() = default;

  virtual void getGeneralInfo(TOP_GeneralInfo *, const OP_Inputs *, void *) {}
  virtual void execute(TOP_Output *output, const OP_Inputs *inputs, void *reserved) = 0;
  virtual int32_t getNumInfoCHOPChans(void *) { return 0; }
  virtual void getInfoCHOPChan(int32_t, OP_InfoCHOPChan *, void *) {}
  virtual bool getInfoDATSize(OP_InfoDATSize *, void *) { return false; }
  virtual void getInfoDATEntries(int32_t, int32_t, OP_InfoDATEntries *, void *) {}
  virtual void getWarningString(OP_String *, void *) {}
  virtual void getErrorString(OP_String *, void *) {}
  virtual void getInfoPopupString(OP_String *, void *) {}
  virtual void setupParameters(OP_ParameterManager *, void *) {}
  virtual void pulsePressed(const char *, void *) {}
};

}  // namespace TD

#endif
