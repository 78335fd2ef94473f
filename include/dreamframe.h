/*
 * dreamframe: a frame goes in, a restyled picture comes out, many times a second.
 *
 * Written by `cargo xtask header` from ffi/src; do not edit.
 *
 * Order of calls, on the host's own thread:
 *
 *   dreamframe_engine_create   once; slow: it loads the models
 *   dreamframe_engine_process  for each frame; dreamframe_engine_process_device for one in the memory of a GPU
 *   dreamframe_engine_update   whenever parameters change
 *   dreamframe_engine_free
 *
 * or, without waiting for pictures, between create and free:
 *
 *   dreamframe_session_start   the engine goes on on a thread of its own
 *   dreamframe_session_submit, dreamframe_session_poll, dreamframe_session_update ...  from any thread
 *   dreamframe_session_stop    gives the engine back
 *   dreamframe_session_free
 *
 * or with frames that come and pictures that go over the network, in a library with the feature `transport`:
 *
 *   dreamframe_server_start    the engine goes on as a session that others publish to (WHIP) and watch (WHEP)
 *   dreamframe_server_session  for its parameters, from any thread
 *   dreamframe_server_stop     gives the engine back
 *   dreamframe_server_free
 *
 * The other ends need no engine: dreamframe_publisher_start and dreamframe_publisher_show send pictures of the host to any
 * WHIP server, dreamframe_player_start and dreamframe_player_poll bring those of any WHEP server.
 *
 * dreamframe_engine_text_to_image makes a picture without a frame. dreamframe_models_fetch downloads a model in a library with
 * the feature `hub`, before an engine needs it.
 *
 * Rules that hold everywhere:
 *
 * - Arguments come in this order: object, inputs, outputs. Outputs are written on DREAMFRAME_OK only.
 * - Structs begin with `struct_size`; begin with their DREAMFRAME_..._INIT macro. Fields are only ever added at the end.
 * - Objects are handles, not addresses. NULL, an object of another kind and one that was freed give
 *   DREAMFRAME_ERROR_INVALID_ARGUMENT, whatever came after it.
 * - Parameters are JSON, with the names, ranges and defaults that core/parameters.md lists.
 * - A text that comes back through a `char **` is freed with dreamframe_string_free(). All texts are UTF-8.
 * - Each function says on which threads it may be called, by one of three lines: "any thread", "one call at a time per
 *   object" (a second one gets an error), "only inside the callback".
 * - No call ends the process: a bug of the library gives DREAMFRAME_ERROR_INTERNAL. Callbacks must not throw.
 */

#ifndef DREAMFRAME_H
#define DREAMFRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/**
 * The version of this header; `dreamframe_version()` gives that of the library.
 */
#define DREAMFRAME_VERSION "0.1.0"
#define DREAMFRAME_VERSION_MAJOR 0
#define DREAMFRAME_VERSION_MINOR 1
#define DREAMFRAME_VERSION_PATCH 0

/**
 * The version of the binary interface: it increases with each addition, and a host needs at least that of its header.
 */
#define DREAMFRAME_ABI_VERSION 1

/**
 * Whether engines of a process run the UNet together, if they have the same model, size and number of rows. The frame of one
 * then waits a short time for those of others, if they are expected; the engines must run on different threads.
 */
typedef enum {
  /**
   * Never.
   */
  DREAMFRAME_BATCH_STREAMS_OFF = 1,
  /**
   * On every device.
   */
  DREAMFRAME_BATCH_STREAMS_ON = 2,
  /**
   * If the device computes a batch in less time than its rows one after the other: not on a CPU.
   */
  DREAMFRAME_BATCH_STREAMS_AUTO = 3,
} dreamframe_batch_streams_t;

/**
 * When the denoising steps of successive frames are computed in one batch, which delays pictures.
 */
typedef enum {
  /**
   * If the parameters have `use_denoising_batch`.
   */
  DREAMFRAME_BATCHING_AS_REQUESTED = 1,
  /**
   * If the parameters have it, and the device computes a batch in less time than its rows one after the other: not on a
   * CPU, where a frame then passes through all steps at once.
   */
  DREAMFRAME_BATCHING_WHERE_FASTER = 2,
} dreamframe_batching_t;

/**
 * The control image of each row of the stream batch.
 */
typedef enum {
  /**
   * The newest frame's.
   */
  DREAMFRAME_CONTROL_IMAGES_NEWEST = 1,
  /**
   * That of the row's own frame.
   */
  DREAMFRAME_CONTROL_IMAGES_PER_ROW = 2,
} dreamframe_control_images_t;

/**
 * Cost of a change of parameters, in increasing order.
 */
typedef enum {
  /**
   * Values are replaced between two frames.
   */
  DREAMFRAME_COST_HOT = 1,
  /**
   * Loaded networks compute something first.
   */
  DREAMFRAME_COST_RECOMPUTE = 2,
  /**
   * A network is loaded while frames are processed.
   */
  DREAMFRAME_COST_LOAD = 3,
  /**
   * A second pipeline is built, and then replaces the first.
   */
  DREAMFRAME_COST_REBUILD = 4,
} dreamframe_cost_t;

/**
 * The number format of weights and activations.
 */
typedef enum {
  /**
   * 32 bits.
   */
  DREAMFRAME_DTYPE_F32 = 1,
  /**
   * bfloat16: 16 bits with the range of 32; requires hardware support.
   */
  DREAMFRAME_DTYPE_BF16 = 2,
  /**
   * 8-bit integers, which require a calibration file in the model's folder.
   */
  DREAMFRAME_DTYPE_INT8 = 3,
  /**
   * float16: 16 bits, 5 of them for the exponent. Not supported on the CPU.
   */
  DREAMFRAME_DTYPE_F16 = 4,
} dreamframe_dtype_t;

/**
 * The executor of networks.
 */
typedef enum {
  /**
   * The library's own CPU kernels.
   */
  DREAMFRAME_EXECUTOR_CPU = 1,
  /**
   * The reference implementation, one operation at a time: slow. Unsupported in libraries that are built without it.
   */
  DREAMFRAME_EXECUTOR_REFERENCE = 2,
  /**
   * ONNX Runtime, a library that is loaded at run time, with the provider in the options.
   */
  DREAMFRAME_EXECUTOR_ONNX = 3,
  /**
   * ONNX Runtime if it is installed and has a provider of a GPU that works, otherwise the library's own CPU kernels.
   */
  DREAMFRAME_EXECUTOR_AUTO = 4,
} dreamframe_executor_t;

/**
 * What a session outputs for a frame that failed, in addition to the event.
 */
typedef enum {
  /**
   * The last picture is repeated, so that there is a picture for each frame.
   */
  DREAMFRAME_FAILED_FRAME_REPEAT = 1,
  /**
   * No picture.
   */
  DREAMFRAME_FAILED_FRAME_SKIP = 2,
} dreamframe_failed_frame_t;

/**
 * How a frame with another aspect ratio is fitted to the stream's size.
 */
typedef enum {
  /**
   * Fills the image and crops the rest of the frame.
   */
  DREAMFRAME_FIT_COVER = 1,
  /**
   * Shows the whole frame, with black bars.
   */
  DREAMFRAME_FIT_FIT = 2,
  /**
   * Stretches the frame to the image, without regard to the aspect ratio.
   */
  DREAMFRAME_FIT_STRETCH = 3,
} dreamframe_fit_t;

/**
 * The replacement of a picture that the safety checker flags.
 */
typedef enum {
  /**
   * The last picture that was not flagged; black if there is none.
   */
  DREAMFRAME_FLAGGED_PREVIOUS = 1,
  /**
   * Black.
   */
  DREAMFRAME_FLAGGED_BLACK = 2,
} dreamframe_flagged_t;

/**
 * Memory that a `dreamframe_device_frame_t` is in.
 */
typedef enum {
  /**
   * Memory of the host: that of the provider `cpu` of ONNX Runtime, for tests without a GPU.
   */
  DREAMFRAME_FRAME_MEMORY_HOST = 1,
  /**
   * Linear memory of a CUDA device, as of `cudaMalloc` or `cuMemAlloc`; not an array or a texture.
   */
  DREAMFRAME_FRAME_MEMORY_CUDA = 2,
} dreamframe_frame_memory_t;

/**
 * Log level.
 */
typedef enum {
  /**
   * The session ends.
   */
  DREAMFRAME_LOG_LEVEL_ERROR = 1,
  /**
   * A picture or an update was lost.
   */
  DREAMFRAME_LOG_LEVEL_WARN = 2,
  /**
   * Start, stop, updates applied.
   */
  DREAMFRAME_LOG_LEVEL_INFO = 3,
  /**
   * Plans and caches; may quote prompts.
   */
  DREAMFRAME_LOG_LEVEL_DEBUG = 4,
  /**
   * Messages for every frame.
   */
  DREAMFRAME_LOG_LEVEL_TRACE = 5,
} dreamframe_log_level_t;

/**
 * How LoRAs change the UNet.
 */
typedef enum {
  /**
   * Merged into the weights: frames take as long as without LoRAs, and a change of a scale prepares new weights.
   */
  DREAMFRAME_LORA_MODE_MERGED = 1,
  /**
   * Computed next to the layers: a change of a scale costs as much as one of the prompt, and frames take longer.
   */
  DREAMFRAME_LORA_MODE_LIVE = 2,
  /**
   * Live if frames take at most 5 % longer by the executor's estimate, otherwise merged.
   */
  DREAMFRAME_LORA_MODE_AUTO = 3,
} dreamframe_lora_mode_t;

/**
 * The random number generator for noise.
 */
typedef enum {
  /**
   * Philox, counter-based; as torch on a GPU.
   */
  DREAMFRAME_NOISE_PHILOX = 1,
  /**
   * Mersenne Twister; as torch on a CPU.
   */
  DREAMFRAME_NOISE_TORCH_CPU = 2,
} dreamframe_noise_t;

/**
 * The row of a frame that is first in memory.
 */
typedef enum {
  /**
   * The top row, as in files and cameras.
   */
  DREAMFRAME_ORIGIN_TOP_LEFT = 1,
  /**
   * The bottom row, as in OpenGL and TouchDesigner.
   */
  DREAMFRAME_ORIGIN_BOTTOM_LEFT = 2,
} dreamframe_origin_t;

/**
 * How an update ended, unless it was rejected.
 */
typedef enum {
  /**
   * It was applied.
   */
  DREAMFRAME_OUTCOME_APPLIED = 1,
  /**
   * It was skipped, because later updates change all of its fields.
   */
  DREAMFRAME_OUTCOME_SUPERSEDED = 2,
} dreamframe_outcome_t;

/**
 * The connection state of a publisher or a player.
 */
typedef enum {
  /**
   * The first connection is being made, including retries.
   */
  DREAMFRAME_PEER_STATE_CONNECTING = 1,
  /**
   * The connection is up.
   */
  DREAMFRAME_PEER_STATE_CONNECTED = 2,
  /**
   * The connection was lost, and is being re-established.
   */
  DREAMFRAME_PEER_STATE_DISCONNECTED = 3,
  /**
   * It has given up, for example after an answer that a retry would not change.
   */
  DREAMFRAME_PEER_STATE_FAILED = 4,
  /**
   * It was stopped.
   */
  DREAMFRAME_PEER_STATE_CLOSED = 5,
} dreamframe_peer_state_t;

/**
 * How a picture was made.
 */
typedef enum {
  /**
   * Restyled.
   */
  DREAMFRAME_PICTURE_KIND_NEW = 1,
  /**
   * A repeat of the last picture.
   */
  DREAMFRAME_PICTURE_KIND_REPEATED = 2,
  /**
   * A replacement of a picture that the safety checker flagged.
   */
  DREAMFRAME_PICTURE_KIND_FLAGGED = 3,
  /**
   * The frame itself, because the parameter `skip_diffusion` is on.
   */
  DREAMFRAME_PICTURE_KIND_PASSED = 4,
  /**
   * Interpolated between the picture before and the picture of the frame, because the parameter `interpolation` is
   * on; the picture with the same ids comes after it.
   */
  DREAMFRAME_PICTURE_KIND_INTERPOLATED = 5,
} dreamframe_picture_kind_t;

/**
 * Pixel format of a `dreamframe_frame_t`. Zero is not a format, so that a zeroed frame is rejected.
 */
typedef enum {
  /**
   * Four bytes per pixel: red, green, blue, alpha; alpha is not premultiplied, ignored in input and 255 in output.
   */
  DREAMFRAME_PIXEL_FORMAT_RGBA8 = 1,
  /**
   * Four bytes per pixel: blue, green, red, alpha, as above.
   */
  DREAMFRAME_PIXEL_FORMAT_BGRA8 = 2,
  /**
   * Three bytes per pixel: red, green, blue.
   */
  DREAMFRAME_PIXEL_FORMAT_RGB8 = 3,
  /**
   * Four half-precision floats per pixel: red, green, blue, alpha from 0 to 1, with the same transfer function as
   * the 8-bit formats.
   */
  DREAMFRAME_PIXEL_FORMAT_RGBA16F = 4,
  /**
   * Two planes: one byte of luma per pixel, then pairs of Cb and Cr at half the width and height, rounded up.
   */
  DREAMFRAME_PIXEL_FORMAT_NV12 = 5,
  /**
   * Three planes: one byte of luma per pixel, then Cb, then Cr at half the width and height, rounded up.
   */
  DREAMFRAME_PIXEL_FORMAT_I420 = 6,
} dreamframe_pixel_format_t;

/**
 * An execution provider of ONNX Runtime: a kind of device, with the library of its kernels.
 */
typedef enum {
  /**
   * CPUs. For comparisons: the library's own kernels are faster.
   */
  DREAMFRAME_PROVIDER_CPU = 1,
  /**
   * NVIDIA GPUs, with CUDA 12 or 13 and cuDNN 9.
   */
  DREAMFRAME_PROVIDER_CUDA = 2,
  /**
   * NVIDIA GPUs of the series RTX 30 and later, and of their generations for servers; not A100 and H100.
   */
  DREAMFRAME_PROVIDER_TENSORRT_RTX = 3,
  /**
   * NVIDIA GPUs, with TensorRT 10.
   */
  DREAMFRAME_PROVIDER_TENSORRT = 4,
  /**
   * GPUs with Vulkan, Direct3D 12 or Metal.
   */
  DREAMFRAME_PROVIDER_WEBGPU = 5,
  /**
   * GPUs on Windows, with DirectX 12.
   */
  DREAMFRAME_PROVIDER_DIRECTML = 6,
  /**
   * Apple's GPUs and neural engines.
   */
  DREAMFRAME_PROVIDER_COREML = 7,
  /**
   * AMD GPUs, with ROCm.
   */
  DREAMFRAME_PROVIDER_MIGRAPHX = 8,
  /**
   * Intel's processors, GPUs and NPUs.
   */
  DREAMFRAME_PROVIDER_OPENVINO = 9,
} dreamframe_provider_t;

/**
 * Whether the autoencoder computes only what depends on changed pixels. It needs the executor `cpu` and an autoencoder without
 * norms over the image, such as the tiny one; others compute everything.
 */
typedef enum {
  /**
   * Everything is computed.
   */
  DREAMFRAME_REGION_REUSE_OFF = 1,
  /**
   * Blocks of the frame count as unchanged if all their values are equal; pictures have the same bytes as without it.
   */
  DREAMFRAME_REGION_REUSE_EXACT = 2,
  /**
   * Blocks count as unchanged if they differ by at most `region_threshold`.
   */
  DREAMFRAME_REGION_REUSE_APPROXIMATE = 3,
} dreamframe_region_reuse_t;

/**
 * The request of a style callback.
 */
typedef enum {
  /**
   * The bytes of the image file (PNG, JPEG, WebP) at the URL: `dreamframe_reply_bytes()`.
   */
  DREAMFRAME_STYLE_IMAGE = 1,
  /**
   * The embedding of the first face in the image: `dreamframe_reply_floats()`.
   */
  DREAMFRAME_STYLE_FACE = 2,
} dreamframe_style_t;

/**
 * The weights of red, green and blue in the luma of NV12 and I420.
 */
typedef enum {
  /**
   * ITU-R BT.601: standard definition, JPEG, most webcams.
   */
  DREAMFRAME_YUV_MATRIX_BT601 = 1,
  /**
   * ITU-R BT.709: high definition.
   */
  DREAMFRAME_YUV_MATRIX_BT709 = 2,
} dreamframe_yuv_matrix_t;

/**
 * Which byte values NV12 and I420 use.
 */
typedef enum {
  /**
   * Luma 16 to 235, chroma 16 to 240: video.
   */
  DREAMFRAME_YUV_RANGE_LIMITED = 1,
  /**
   * 0 to 255: JPEG.
   */
  DREAMFRAME_YUV_RANGE_FULL = 2,
} dreamframe_yuv_range_t;

/**
 * An engine: parameters, models and the state of one stream. Calls must be serialized; they may come from any thread.
 */
typedef struct dreamframe_engine_t dreamframe_engine_t;

/**
 * A player. Its functions are thread-safe.
 *
 * It reconnects whenever the connection is lost, until it is stopped.
 */
typedef struct dreamframe_player_t dreamframe_player_t;

/**
 * A publisher. Its functions are thread-safe.
 *
 * It reconnects whenever the connection is lost, until it is stopped.
 */
typedef struct dreamframe_publisher_t dreamframe_publisher_t;

/**
 * Receives the reply to a style callback; valid only during the callback.
 */
typedef struct dreamframe_reply_t dreamframe_reply_t;

/**
 * A server of one session: one publisher at a time sends frames by WHIP, and viewers receive pictures by WHEP.
 * Its functions are thread-safe.
 */
typedef struct dreamframe_server_t dreamframe_server_t;

/**
 * A session. Its functions are thread-safe unless documented otherwise.
 */
typedef struct dreamframe_session_t dreamframe_session_t;

/**
 * Result of a fallible call.
 *
 * `DREAMFRAME_OK` is the only success. Any other value leaves every output argument unchanged. A negative value is an
 * error: see `dreamframe_last_error()`. A positive value is not an error: no result is available yet. Values are never
 * renumbered. Later versions may add some, so treat an unknown negative value as an error.
 */
typedef int32_t dreamframe_status_t;

/**
 * Pixels in the memory of a device that the host allocated: an input frame, or the target of a picture.
 *
 * Initialize with `DREAMFRAME_DEVICE_FRAME_INIT`. It sets `struct_size`, which identifies the fields that this header has.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Width in pixels, 1 to 8192.
   */
  uint32_t width;
  /**
   * Height in pixels, 1 to 8192.
   */
  uint32_t height;
  /**
   * `DREAMFRAME_PIXEL_FORMAT_RGBA8`, `_BGRA8` or `_RGB8`.
   */
  uint32_t format;
  /**
   * The row that is first in memory: a `dreamframe_origin_t`, or 0 for the top row.
   */
  uint32_t origin;
  /**
   * A `dreamframe_frame_memory_t`.
   */
  uint32_t memory;
  /**
   * The index of the CUDA device; 0 for memory of the host.
   */
  uint32_t device;
  /**
   * The first byte of the first row: an address of `memory`.
   */
  void *address;
  /**
   * Bytes from the start of a row to the start of the next. The bytes between rows of a target keep their values, but are
   * read and written.
   */
  size_t stride;
  /**
   * The CUDA stream (`cudaStream_t` or `CUstream`) with the host's work on the pixels, for which the call waits; NULL if
   * that work is finished. The default stream is `cudaStreamLegacy` here, not NULL. Always NULL for memory of the host.
   */
  void *stream;
  /**
   * Capture time, in nanoseconds of the host's own clock; returned with the picture.
   */
  uint64_t timestamp_ns;
  /**
   * An arbitrary tag of the host; returned with the picture.
   */
  uint64_t user_tag;
} dreamframe_device_frame_t;

/**
 * What a `dreamframe_device_frame_t` begins with.
 */
#define DREAMFRAME_DEVICE_FRAME_INIT {sizeof(dreamframe_device_frame_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * Metadata of a picture. Initialize with `DREAMFRAME_PICTURE_INFO_INIT`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The id of the frame whose processing output the picture.
   */
  uint64_t id;
  /**
   * The id of the frame that it was made from.
   */
  uint64_t source_id;
  /**
   * The `timestamp_ns` of the frame that it was made from.
   */
  uint64_t timestamp_ns;
  /**
   * The `user_tag` of the frame that it was made from.
   */
  uint64_t user_tag;
  /**
   * The version of the parameters in effect: that of the newest applied update, 0 before the first.
   */
  uint64_t version;
  /**
   * How it was made: a `dreamframe_picture_kind_t`.
   */
  uint32_t kind;
  /**
   * Width of the picture, in pixels.
   */
  uint32_t width;
  /**
   * Height of the picture, in pixels.
   */
  uint32_t height;
  /**
   * Always 0.
   */
  uint32_t reserved;
  /**
   * Microseconds for converting the frame, and for the processors before the encoder.
   */
  uint64_t preprocess_us;
  /**
   * Microseconds in the encoder.
   */
  uint64_t encode_us;
  /**
   * Microseconds for control images and ControlNets.
   */
  uint64_t control_us;
  /**
   * Microseconds in the UNet.
   */
  uint64_t unet_us;
  /**
   * Microseconds in the decoder.
   */
  uint64_t decode_us;
  /**
   * Microseconds for the processors after the decoder, and for converting the picture.
   */
  uint64_t postprocess_us;
  /**
   * Microseconds for the whole frame.
   */
  uint64_t total_us;
} dreamframe_picture_info_t;

/**
 * What a `dreamframe_picture_info_t` begins with.
 */
#define DREAMFRAME_PICTURE_INFO_INIT {sizeof(dreamframe_picture_info_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * Receives a log message.
 *
 * - Threads: called on the thread of a call, and on those of sessions; never concurrently for one engine.
 *   Must not wait for another call into the library.
 * - Ownership: the texts are valid during the call.
 *
 * @param user_data  that of the options
 * @param level      a `dreamframe_log_level_t`
 * @param target     the module of the library
 * @param message    one line
 */
typedef void (*dreamframe_log_callback_t)(void *user_data, uint32_t level, const char *target, const char *message);

/**
 * Receives the progress of loading, and may cancel it.
 *
 * - Threads: called on the thread that loads: that of `dreamframe_engine_create()` or `dreamframe_engine_update()`, or
 *   one
 *   of a session; never concurrently for one engine.
 * - Ownership: the text is valid during the call.
 *
 * @param user_data  that of the options
 * @param component  the network, such as `UNet2DConditionModel`
 * @param done       number of weights that are loaded
 * @param total      number of weights
 *
 * Returns 0 to continue; any other value cancels loading with `DREAMFRAME_ERROR_CANCELLED`, without any change.
 */
typedef int32_t (*dreamframe_progress_callback_t)(void *user_data, const char *component, uint64_t done, uint64_t total);

/**
 * Provides the content for an `ip_adapter_style_image_url` that the library, which does not access the network, cannot
 * read.
 *
 * The callback replies through `reply` before it returns, with `dreamframe_reply_bytes()`, `dreamframe_reply_floats()`
 * or `dreamframe_reply_error()`. Without a reply the update is rejected.
 *
 * - Threads: called on the thread that prepares the update, never while that processes a frame; never concurrently for
 *   one engine.
 * - Ownership: text and reply are valid during the call.
 *
 * @param user_data  that of the options
 * @param wanted     a `dreamframe_style_t`
 * @param source     an http(s) URL; for a face, the whole text of the parameter
 * @param reply      receives the reply
 */
typedef void (*dreamframe_style_callback_t)(void *user_data,
                                            uint32_t wanted,
                                            const char *source,
                                            dreamframe_reply_t *reply);

/**
 * Starts an instance of a processor for one place of the parameters, such as the preprocessor of a ControlNet.
 *
 * - Threads: that of `dreamframe_engine_create()` or `dreamframe_engine_update()`, or one that prepares updates of a
 *   session, while other instances process frames.
 * - Ownership: the text is valid during the call.
 *
 * @param user_data      that of the processor
 * @param settings_json  the settings in the parameters, an object; without those at their defaults
 *
 * Returns the instance; NULL if it cannot be started, so that frames fail.
 */
typedef void *(*dreamframe_processor_start_t)(void *user_data, const char *settings_json);

/**
 * The arguments of a processor: an image or a latent, row by row, with all channels of a pixel one after the other.
 *
 * Images have red, green and blue from 0 to 1. The library sets all fields; pointers are valid during the call.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The input, `height * width * channels` values.
   */
  const float *input;
  /**
   * Width of the input.
   */
  uint32_t width;
  /**
   * Height of the input.
   */
  uint32_t height;
  /**
   * Channels of the input: 3, or those of a latent.
   */
  uint32_t channels;
  /**
   * Channels of the output.
   */
  uint32_t output_channels;
  /**
   * The output, which the processor writes: `output_height * output_width * output_channels` values, finite ones.
   */
  float *output;
  /**
   * Width of the output.
   */
  uint32_t output_width;
  /**
   * Height of the output.
   */
  uint32_t output_height;
  /**
   * The last picture, or in a latent chain the last clean latent, with as many channels as the input; NULL before the first.
   */
  const float *previous;
  /**
   * Width of the last picture; 0 if there is none.
   */
  uint32_t previous_width;
  /**
   * Height of the last picture; 0 if there is none.
   */
  uint32_t previous_height;
  /**
   * Receives the reason of an error, UTF-8 that ends with a NUL; empty before the call.
   */
  char *message;
  /**
   * Bytes of `message`.
   */
  size_t message_size;
} dreamframe_processor_call_t;

/**
 * What a `dreamframe_processor_call_t` begins with.
 */
#define DREAMFRAME_PROCESSOR_CALL_INIT {sizeof(dreamframe_processor_call_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * Processes the image of a frame. It must not wait: pictures are late by as much.
 *
 * - Threads: the one that processes the frame: that of `dreamframe_engine_process()`, or the session's own; never
 *   concurrently for one instance.
 * - Ownership: all pointers are valid during the call.
 *
 * @param instance  the result of `start`; without that, the processor's `user_data`
 * @param call      input and output
 *
 * Returns `DREAMFRAME_OK`, or a `DREAMFRAME_ERROR_…` and the reason in the message of the call; any other value counts as
 * `DREAMFRAME_ERROR_UNSUPPORTED`. The frame then fails, and the stream continues with the next one.
 */
typedef int32_t (*dreamframe_processor_run_t)(void *instance, const dreamframe_processor_call_t *call);

/**
 * Changes the settings of an instance, which keeps its state.
 *
 * - Threads: that of `dreamframe_engine_update()` or the session's own, between two frames.
 * - Ownership: the text is valid during the call.
 *
 * @param instance       as for `run`
 * @param settings_json  all settings that are not at their defaults, an object
 */
typedef void (*dreamframe_processor_configure_t)(void *instance, const char *settings_json);

/**
 * Discards the state of an instance, after which frames have nothing to do with earlier ones.
 *
 * - Threads: as for `run`, between two frames.
 *
 * @param instance  as for `run`
 */
typedef void (*dreamframe_processor_reset_t)(void *instance);

/**
 * Frees what `user_data` or an instance points to: the last call with it.
 *
 * - Threads: any thread; after `dreamframe_engine_free()` or `dreamframe_session_free()` also later, if the library is then
 *   still preparing an update.
 *
 * @param user_data  that of the struct, or the instance
 */
typedef void (*dreamframe_destroy_t)(void *user_data);

/**
 * A processor of the host, which replaces the library's of the same name everywhere in the parameters. Initialize with
 * `DREAMFRAME_PROCESSOR_INIT`.
 *
 * No function may throw an exception, or leave by `longjmp`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The name in the parameters, such as `"canny"`.
   */
  const char *name;
  /**
   * Passed to `start` and `destroy`.
   */
  void *user_data;
  /**
   * Starts an instance; NULL if `user_data` is the only one.
   */
  dreamframe_processor_start_t start;
  /**
   * Processes the image of a frame.
   */
  dreamframe_processor_run_t run;
  /**
   * Changes the settings; NULL if there are none.
   */
  dreamframe_processor_configure_t configure;
  /**
   * Discards the state; NULL if there is none.
   */
  dreamframe_processor_reset_t reset;
  /**
   * Frees an instance that `start` returned; may be NULL.
   */
  dreamframe_destroy_t stop;
  /**
   * Frees `user_data`, after all instances were stopped; may be NULL.
   */
  dreamframe_destroy_t destroy;
  /**
   * The factor from the size of the input to that of the output, up to 4; 0 for 1. A result is resized to the size that
   * the name implies: only `upscale` and `realesrgan_trt` enlarge pictures.
   */
  uint32_t scale;
  /**
   * Channels of the output, up to 16; 0 for those of the input. Only control images may have another number.
   */
  uint32_t channels;
} dreamframe_processor_t;

/**
 * What a `dreamframe_processor_t` begins with.
 */
#define DREAMFRAME_PROCESSOR_INIT {sizeof(dreamframe_processor_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * The arguments of a safety checker. The library sets all fields; pointers are valid during the call.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The picture, `height * width * 3` values: red, green and blue from 0 to 1, row by row.
   */
  const float *picture;
  /**
   * Width of the picture.
   */
  uint32_t width;
  /**
   * Height of the picture.
   */
  uint32_t height;
  /**
   * Receives the reason of an error, UTF-8 that ends with a NUL; empty before the call.
   */
  char *message;
  /**
   * Bytes of `message`.
   */
  size_t message_size;
} dreamframe_safety_call_t;

/**
 * What a `dreamframe_safety_call_t` begins with.
 */
#define DREAMFRAME_SAFETY_CALL_INIT {sizeof(dreamframe_safety_call_t), 0, 0, 0, 0, 0}

/**
 * Scores a picture for safety.
 *
 * - Threads: the one that processes the frame, as for processors; never concurrently for one engine.
 * - Ownership: all pointers are valid during the call.
 *
 * @param user_data  that of the safety checker
 * @param call       the picture
 * @param out_score  receives how unsafe it is, from 0 (harmless) to 1
 *
 * Returns `DREAMFRAME_OK`, or an error as processors do; the picture is then flagged, and the frame fails.
 */
typedef int32_t (*dreamframe_safety_score_t)(void *user_data, const dreamframe_safety_call_t *call, float *out_score);

/**
 * A safety checker of the host, used if the parameter `use_safety_checker` is on. Initialize with
 * `DREAMFRAME_SAFETY_CHECKER_INIT`.
 *
 * No function may throw an exception, or leave by `longjmp`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Passed to the functions.
   */
  void *user_data;
  /**
   * Scores a picture.
   */
  dreamframe_safety_score_t score;
  /**
   * Frees `user_data`; may be NULL.
   */
  dreamframe_destroy_t destroy;
} dreamframe_safety_checker_t;

/**
 * What a `dreamframe_safety_checker_t` begins with.
 */
#define DREAMFRAME_SAFETY_CHECKER_INIT {sizeof(dreamframe_safety_checker_t), 0, 0, 0}

/**
 * The host's processors and safety checker, for the field `hooks` of `dreamframe_options_t`. Initialize with
 * `DREAMFRAME_HOOKS_INIT`.
 *
 * The structs are copied. `dreamframe_engine_create()` takes each `user_data` over, also if it fails: the struct's `destroy`
 * is called exactly once, unless the struct itself cannot be read: NULL, a wrong `struct_size`, or too
 * large a `processor_count`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Pointers to the processors, each of another name; NULL for none.
   */
  const dreamframe_processor_t *const *processors;
  /**
   * The number of processors.
   */
  size_t processor_count;
  /**
   * The safety checker; NULL for the library's.
   */
  const dreamframe_safety_checker_t *safety_checker;
} dreamframe_hooks_t;

/**
 * What a `dreamframe_hooks_t` begins with.
 */
#define DREAMFRAME_HOOKS_INIT {sizeof(dreamframe_hooks_t), 0, 0, 0}

/**
 * Options of an engine. Initialize with `DREAMFRAME_OPTIONS_INIT`: zeros and NULLs are the defaults.
 *
 * Texts are UTF-8 and not kept after `dreamframe_engine_create()`. The callbacks may be called until
 * `dreamframe_engine_free()` and `dreamframe_session_free()` of each session of the engine have returned.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The source of models: a folder, or `"demo"` (or NULL) for the model in the library.
   */
  const char *models;
  /**
   * The initial parameters as JSON, with Daydream's defaults for missing ones; NULL for those of the demo model.
   */
  const char *params_json;
  /**
   * A `dreamframe_executor_t`; 0 for the library's own kernels.
   */
  uint32_t executor;
  /**
   * A `dreamframe_dtype_t`; 0 for the fastest of this machine without visible loss.
   */
  uint32_t dtype;
  /**
   * A `dreamframe_noise_t`; 0 for Philox.
   */
  uint32_t noise;
  /**
   * Number of threads that process a frame; 0 for all of the machine's.
   */
  uint32_t threads;
  /**
   * A `dreamframe_fit_t`; 0 for cover.
   */
  uint32_t fit;
  /**
   * The `dreamframe_pixel_format_t` of a session's pictures before they are copied out; 0 for RGBA8.
   */
  uint32_t output;
  /**
   * A `dreamframe_flagged_t`; 0 for the previous picture.
   */
  uint32_t flagged;
  /**
   * A `dreamframe_control_images_t`; 0 for the newest.
   */
  uint32_t control_images;
  /**
   * The `dreamframe_log_level_t` up to which lines are given to `log`; 0 for `info`.
   */
  uint32_t log_level;
  /**
   * The autoencoder: `"auto"` (the default, as NULL: `"tiny"` if it is installed, otherwise `"full"`), `"tiny"` for the
   * published tiny one of the model's family, `"full"` for the model's own, the id of another, or a
   * folder (an absolute path, or one that starts with `./` or `../`).
   */
  const char *vae;
  /**
   * The id of an IP-Adapter instead of the published one; NULL for none.
   */
  const char *ip_adapter;
  /**
   * The location of packed weights: `"beside"` for the model's folder (the default, as NULL), `"off"`, or a folder.
   */
  const char *packed_cache;
  /**
   * The calibration file for `DREAMFRAME_DTYPE_INT8`; NULL for the one in the model's folder.
   */
  const char *calibration;
  /**
   * Receives log messages; NULL for none.
   */
  dreamframe_log_callback_t log;
  /**
   * Receives the progress of loading; NULL for none.
   */
  dreamframe_progress_callback_t progress;
  /**
   * Provides style images; NULL for none.
   */
  dreamframe_style_callback_t style;
  /**
   * Passed to each of these callbacks.
   */
  void *user_data;
  /**
   * A `dreamframe_provider_t` for `DREAMFRAME_EXECUTOR_ONNX` and `DREAMFRAME_EXECUTOR_AUTO`; 0 for the first that works.
   */
  uint32_t provider;
  /**
   * The index of the device among those of the provider.
   */
  uint32_t device_index;
  /**
   * ONNX Runtime's library, version 1.24 or newer, or a folder with it; NULL for the one that the environment variable
   * `DREAMFRAME_ONNXRUNTIME` names, or that `dreamframe gpu install` installed. A process loads one library only.
   */
  const char *onnxruntime;
  /**
   * 1 to capture runs of networks as CUDA graphs, which takes less time of the processor for each frame, and more memory
   * of the device; 0 not to. For the providers of NVIDIA; others are then an error.
   */
  uint32_t cuda_graphs;
  /**
   * A `dreamframe_lora_mode_t`; 0 for auto.
   */
  uint32_t lora_mode;
  /**
   * A `dreamframe_batching_t`; 0 for as requested.
   */
  uint32_t batching;
  /**
   * Processors and a safety checker of the host; NULL for none.
   */
  const dreamframe_hooks_t *hooks;
  /**
   * A `dreamframe_batch_streams_t`; 0 for off.
   */
  uint32_t batch_streams;
  /**
   * The longest time that a frame waits for those of other engines with `batch_streams`, in milliseconds; 0 for 10. It waits
   * at most a quarter of the interval between frames.
   */
  uint32_t batch_wait_ms;
  /**
   * A `dreamframe_region_reuse_t`; 0 for off.
   */
  uint32_t region_reuse;
  /**
   * The mean difference of the pixels of a block up to which it counts as unchanged with approximate `region_reuse`, in
   * levels of 0 to 255; 0 for 4.
   */
  float region_threshold;
} dreamframe_options_t;

/**
 * What a `dreamframe_options_t` begins with.
 */
#define DREAMFRAME_OPTIONS_INIT {sizeof(dreamframe_options_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * Pixels in memory that the host owns: an input frame, or the target of a picture.
 *
 * Initialize with `DREAMFRAME_FRAME_INIT`. It sets `struct_size`, which identifies the fields that this header has.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Width in pixels, 1 to 8192.
   */
  uint32_t width;
  /**
   * Height in pixels, 1 to 8192.
   */
  uint32_t height;
  /**
   * A `dreamframe_pixel_format_t`.
   */
  uint32_t format;
  /**
   * The row that is first in memory: a `dreamframe_origin_t`, or 0 for the top row.
   */
  uint32_t origin;
  /**
   * For NV12 and I420, a `dreamframe_yuv_matrix_t`, or 0 for BT.709.
   */
  uint32_t matrix;
  /**
   * For NV12 and I420, a `dreamframe_yuv_range_t`, or 0 for limited.
   */
  uint32_t range;
  /**
   * The first byte of each plane of the format; the others are ignored. Planes of an input frame are not written.
   */
  uint8_t *planes[4];
  /**
   * Bytes from the start of a row to the start of the next, in each plane.
   */
  size_t strides[4];
  /**
   * Capture time, in nanoseconds of the host's own clock; returned with the picture.
   */
  uint64_t timestamp_ns;
  /**
   * An arbitrary tag of the host; returned with the picture.
   */
  uint64_t user_tag;
} dreamframe_frame_t;

/**
 * What a `dreamframe_frame_t` begins with.
 */
#define DREAMFRAME_FRAME_INIT {sizeof(dreamframe_frame_t), 0, 0, 0, 0, 0, 0, {0, 0, 0, 0}, {0, 0, 0, 0}, 0, 0}

/**
 * Receives the progress of a download, and may cancel it.
 *
 * - Threads: called on the thread that called `dreamframe_models_fetch()` or `dreamframe_models_fetch_for()`.
 * - Ownership: the texts are valid during the call.
 *
 * @param user_data  that of the options
 * @param model      the id of the model
 * @param file       the file of the model that is being downloaded
 * @param done       bytes that are downloaded, of all files of the model
 * @param total      bytes of all files of the model
 *
 * Returns 0 to continue; any other value cancels the download with `DREAMFRAME_ERROR_CANCELLED`. Complete files are kept,
 * and a later download continues an incomplete one.
 */
typedef int32_t (*dreamframe_fetch_callback_t)(void *user_data,
                                               const char *model,
                                               const char *file,
                                               uint64_t done,
                                               uint64_t total);

/**
 * Options of downloads. Initialize with `DREAMFRAME_FETCH_OPTIONS_INIT`: zeros and NULLs are the defaults.
 *
 * Texts are UTF-8 and not kept.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The address of the hub, without a slash at the end; NULL for the environment variable `HF_ENDPOINT`, or
   * `https://huggingface.co`.
   */
  const char *endpoint;
  /**
   * The folder of the cache; NULL for the one of the environment variables `HF_HUB_CACHE`, `HF_HOME` and
   * `XDG_CACHE_HOME`, or `~/.cache/huggingface/hub`. Engines look for models in the latter.
   */
  const char *cache;
  /**
   * The user's access token, which is sent to the hub only; NULL for the environment variable `HF_TOKEN`, or none.
   */
  const char *token;
  /**
   * Receives the progress; NULL for none.
   */
  dreamframe_fetch_callback_t progress;
  /**
   * Passed to the callback.
   */
  void *user_data;
  /**
   * 1 for models that are in the cache only, without a use of the network; 0 if the environment variable
   * `HF_HUB_OFFLINE` says so.
   */
  uint32_t offline;
  /**
   * Always 0.
   */
  uint32_t reserved;
} dreamframe_fetch_options_t;

/**
 * What a `dreamframe_fetch_options_t` begins with.
 */
#define DREAMFRAME_FETCH_OPTIONS_INIT {sizeof(dreamframe_fetch_options_t), 0, 0, 0, 0, 0, 0, 0}

/**
 * Receives a picture as soon as it is ready.
 *
 * - Threads: called on the session's thread, one picture at a time. It must return quickly, since the next frame waits
 *   for it,
 *   and must not call `dreamframe_session_stop()`; other functions of the session are allowed.
 * - Ownership: picture and info are valid during the call, and must not be written.
 *
 * @param user_data  that of the session's options
 * @param picture    the pixels; NULL if another thread has already polled them
 * @param info       how the picture was made
 */
typedef void (*dreamframe_picture_callback_t)(void *user_data,
                                              const dreamframe_frame_t *picture,
                                              const dreamframe_picture_info_t *info);

/**
 * Options of a session. Initialize with `DREAMFRAME_SESSION_OPTIONS_INIT`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Receives pictures as soon as they are ready; NULL for a host that polls.
   */
  dreamframe_picture_callback_t on_picture;
  /**
   * Passed to `on_picture`.
   */
  void *user_data;
  /**
   * A `dreamframe_failed_frame_t`; 0 to repeat.
   */
  uint32_t failed_frame;
  /**
   * Always 0.
   */
  uint32_t reserved;
} dreamframe_session_options_t;

/**
 * What a `dreamframe_session_options_t` begins with.
 */
#define DREAMFRAME_SESSION_OPTIONS_INIT {sizeof(dreamframe_session_options_t), 0, 0, 0, 0}

/**
 * Statistics of a session. Initialize with `DREAMFRAME_STATS_INIT`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Frames submitted.
   */
  uint64_t submitted;
  /**
   * Frames replaced by a newer one before they were processed.
   */
  uint64_t dropped;
  /**
   * Frames restyled.
   */
  uint64_t computed;
  /**
   * Frames skipped by the similar-image filter.
   */
  uint64_t skipped;
  /**
   * Frames passed through unchanged.
   */
  uint64_t passed;
  /**
   * Frames for which the last picture was repeated.
   */
  uint64_t repeated;
  /**
   * Frames that failed.
   */
  uint64_t failed;
  /**
   * Pictures replaced by a newer one before they were taken.
   */
  uint64_t unseen;
  /**
   * Pictures interpolated between two others.
   */
  uint64_t interpolated;
  /**
   * Events dropped because they were not taken in time.
   */
  uint64_t lost_events;
  /**
   * The version of the last accepted parameters.
   */
  uint64_t desired_version;
  /**
   * The version of the newest applied update.
   */
  uint64_t active_version;
  /**
   * Frames submitted per second.
   */
  double submitted_per_second;
  /**
   * Frames restyled per second.
   */
  double computed_per_second;
  /**
   * Median duration of the newest restyled frames, in microseconds; 0 before the first.
   */
  double frame_median_us;
  /**
   * 95th percentile of the same.
   */
  double frame_p95_us;
  /**
   * Frames waiting to be processed: 0 or 1.
   */
  uint32_t waiting_frames;
  /**
   * Updates that wait or are being prepared, without those that load something.
   */
  uint32_t waiting_updates;
  /**
   * Updates that load something, and wait or are being prepared.
   */
  uint32_t waiting_loads;
  /**
   * Always 0.
   */
  uint32_t reserved;
} dreamframe_stats_t;

/**
 * What a `dreamframe_stats_t` begins with.
 */
#define DREAMFRAME_STATS_INIT {sizeof(dreamframe_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * Options of network connections. Initialize with `DREAMFRAME_NETWORK_OPTIONS_INIT`: zeros and NULLs are the defaults.
 *
 * Texts are not kept after the call.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Comma-separated IP addresses to bind; an unspecified address means every interface except loopback. NULL for
   * `"0.0.0.0,127.0.0.1"`.
   */
  const char *bind;
  /**
   * The public IP address, if a NAT maps it to this machine without changing ports: it is sent to peers as the first
   * candidate. NULL for none.
   */
  const char *public_ip;
  /**
   * STUN and TURN servers, as JSON in the format of browsers: `[{"urls": ["turn:host:3478"], "username": "…",
   * "credential": "…"}]`. User name and credential are for TURN, and are not sent to viewers. Instead of them,
   * `"secret": "…"` is the shared secret of the TURN server (coturn's `static-auth-secret`): each peer then gets
   * derived credentials that are valid for one hour. NULL for none.
   */
  const char *ice_servers_json;
  /**
   * The first UDP port to use, 1 to 65535; 0, here and in `last_port`, for ports chosen by the system.
   */
  uint32_t first_port;
  /**
   * The last UDP port to use, `first_port` to 65535. Each connection needs one port per address.
   */
  uint32_t last_port;
  /**
   * Timeout for establishing a connection, in milliseconds; 0 for 15 s.
   */
  uint32_t connect_timeout_ms;
  /**
   * Timeout for gathering candidates, in milliseconds, after which an offer or an answer has those that were found; a
   * publisher or player sends later ones to its server. 0 for 2 s.
   */
  uint32_t gather_timeout_ms;
  /**
   * 1 to use candidates relayed by a TURN server only, so that peers do not learn the addresses of this machine; 0 for
   * all. A publisher or player without a TURN server in `ice_servers_json` uses those that its server names.
   */
  uint32_t relayed_only;
  /**
   * Always 0.
   */
  uint32_t reserved;
} dreamframe_network_options_t;

/**
 * What a `dreamframe_network_options_t` begins with.
 */
#define DREAMFRAME_NETWORK_OPTIONS_INIT {sizeof(dreamframe_network_options_t), 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * Options of a player. Initialize with `DREAMFRAME_PLAYER_OPTIONS_INIT`: zeros and NULLs are the defaults.
 *
 * Texts are UTF-8 and not kept after `dreamframe_player_start()`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The bearer token, which is sent to the given server only; NULL for none.
   */
  const char *token;
  /**
   * Options of network connections; NULL for the defaults.
   */
  const dreamframe_network_options_t *network;
  /**
   * The session that receives the pictures as its frames; NULL for a host that polls them.
   * The host still owns it, and may stop and free it while the player runs.
   */
  dreamframe_session_t *session;
  /**
   * The number of consecutive failed attempts after which it gives up; 0 for never.
   */
  uint32_t attempts;
  /**
   * The delay before the second attempt, in milliseconds; doubles with each further one, up to 30 s. 0 for 1 s.
   */
  uint32_t pause_ms;
  /**
   * The timeout of a request, in milliseconds; 0 for 10 s.
   */
  uint32_t request_timeout_ms;
  /**
   * Always 0.
   */
  uint32_t reserved;
} dreamframe_player_options_t;

/**
 * What a `dreamframe_player_options_t` begins with.
 */
#define DREAMFRAME_PLAYER_OPTIONS_INIT {sizeof(dreamframe_player_options_t), 0, 0, 0, 0, 0, 0, 0}

/**
 * Statistics of a publisher or a player. Initialize with `DREAMFRAME_CONNECTION_STATS_INIT`.
 *
 * They are of the current connection, and zero while disconnected, unless documented otherwise.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Media bytes that a publisher sent or a player received.
   */
  uint64_t bytes;
  /**
   * Media packets that a publisher sent or a player received.
   */
  uint64_t packets;
  /**
   * Packets lost on the way to a player; 0 for a publisher.
   */
  uint64_t lost_packets;
  /**
   * Pictures that a publisher encoded since it was started, or that a player decoded.
   */
  uint64_t pictures;
  /**
   * Pictures replaced by newer ones, or dropped by the encoder to keep the bitrate; for a publisher since it was
   * started.
   */
  uint64_t dropped;
  /**
   * Pictures that could not be encoded or decoded; for a publisher since it was started.
   */
  uint64_t failed;
  /**
   * Key frames requested by the server from a publisher, or by a player from the server.
   */
  uint64_t key_frame_requests;
  /**
   * The round-trip time, in microseconds; 0 before it was measured.
   */
  uint64_t round_trip_us;
  /**
   * The jitter of a player's packets, in microseconds; 0 for a publisher.
   */
  uint64_t jitter_us;
  /**
   * Pictures encoded or decoded per second.
   */
  double pictures_per_second;
  /**
   * The width of the last picture encoded or decoded, in pixels; 0 before the first.
   */
  uint32_t width;
  /**
   * The height of the last picture encoded or decoded, in pixels; 0 before the first.
   */
  uint32_t height;
} dreamframe_connection_stats_t;

/**
 * What a `dreamframe_connection_stats_t` begins with.
 */
#define DREAMFRAME_CONNECTION_STATS_INIT {sizeof(dreamframe_connection_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * Options of a publisher. Initialize with `DREAMFRAME_PUBLISHER_OPTIONS_INIT`: zeros and NULLs are the defaults.
 *
 * Texts are UTF-8 and not kept after `dreamframe_publisher_start()`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The bearer token, which is sent to the given server only; NULL for none.
   */
  const char *token;
  /**
   * Options of network connections; NULL for the defaults.
   */
  const dreamframe_network_options_t *network;
  /**
   * The number of consecutive failed attempts after which it gives up; 0 for never.
   */
  uint32_t attempts;
  /**
   * The delay before the second attempt, in milliseconds; doubles with each further one, up to 30 s. 0 for 1 s.
   */
  uint32_t pause_ms;
  /**
   * The timeout of a request, in milliseconds; 0 for 10 s.
   */
  uint32_t request_timeout_ms;
  /**
   * The encoder's target, in bits per second; 0 for 3,000,000.
   */
  uint32_t bitrate;
  /**
   * The highest expected rate, in pictures per second, for rate control until the actual rate is known; 0 for 30.
   */
  float frame_rate;
  /**
   * The maximum interval between key frames, in milliseconds; 0 for 10 s.
   */
  uint32_t key_frame_interval_ms;
} dreamframe_publisher_options_t;

/**
 * What a `dreamframe_publisher_options_t` begins with.
 */
#define DREAMFRAME_PUBLISHER_OPTIONS_INIT {sizeof(dreamframe_publisher_options_t), 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * Options of a server. Initialize with `DREAMFRAME_SERVER_OPTIONS_INIT`: zeros and NULLs are the defaults.
 *
 * Texts are UTF-8 and not kept after `dreamframe_server_start()`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The address to listen on, as IP address and port; NULL for `"127.0.0.1:8080"`. Port 0 selects a free port. An
   * address that other machines reach requires a `token`.
   */
  const char *address;
  /**
   * The token that publishers and viewers send as `Authorization: Bearer <token>`; NULL for none.
   */
  const char *token;
  /**
   * The server's address as clients see it, such as `"https://host"`, for a proxy that does not send it in headers;
   * NULL for the address of each request.
   */
  const char *public_url;
  /**
   * Options of network connections; NULL for the defaults.
   */
  const dreamframe_network_options_t *network;
  /**
   * The maximum number of viewers; 0 for 32.
   */
  uint32_t max_viewers;
  /**
   * The encoder's target, in bits per second; 0 for 3,000,000.
   */
  uint32_t bitrate;
  /**
   * The highest expected rate, in pictures per second, for rate control until the actual rate is known; 0 for 30.
   */
  float frame_rate;
  /**
   * The maximum interval between key frames, in milliseconds; 0 for 10 s.
   */
  uint32_t key_frame_interval_ms;
  /**
   * Comma-separated origins whose pages may use a server without a `token`, such as
   * `"https://app.example,http://10.0.0.5:3000"`, in addition to those of this machine and of `public_url`; NULL for
   * no others. With a token, pages of every origin may, if they send it.
   */
  const char *allow_origins;
} dreamframe_server_options_t;

/**
 * What a `dreamframe_server_options_t` begins with.
 */
#define DREAMFRAME_SERVER_OPTIONS_INIT {sizeof(dreamframe_server_options_t), 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * Success: the output arguments are written.
 */
#define DREAMFRAME_OK 0

/**
 * No error: no picture or event is available yet.
 */
#define DREAMFRAME_NOT_READY 1

/**
 * The call is invalid (NULL, a freed handle, `struct_size`, state).
 */
#define DREAMFRAME_ERROR_INVALID_ARGUMENT -1

/**
 * Parameters break a rule: `dreamframe_last_error_json()` lists the values.
 */
#define DREAMFRAME_ERROR_INVALID_PARAMS -2

/**
 * A frame has an invalid size, format or stride.
 */
#define DREAMFRAME_ERROR_INVALID_FRAME -3

/**
 * A model or file does not exist.
 */
#define DREAMFRAME_ERROR_NOT_FOUND -4

/**
 * A model's file is corrupt, or its names or shapes are not as expected.
 */
#define DREAMFRAME_ERROR_BAD_MODEL -5

/**
 * Not supported by this library, device or model.
 */
#define DREAMFRAME_ERROR_UNSUPPORTED -6

/**
 * Not enough memory: use a smaller size or fewer networks.
 */
#define DREAMFRAME_ERROR_OUT_OF_MEMORY -7

/**
 * The device failed: check the driver; retrying may help.
 */
#define DREAMFRAME_ERROR_DEVICE -8

/**
 * The session has ended.
 */
#define DREAMFRAME_ERROR_CLOSED -9

/**
 * The timeout has expired; the operation may be retried.
 */
#define DREAMFRAME_ERROR_TIMEOUT -10

/**
 * Reading or writing failed; the message has the path.
 */
#define DREAMFRAME_ERROR_IO -11

/**
 * The progress callback cancelled loading, and nothing has changed.
 */
#define DREAMFRAME_ERROR_CANCELLED -12

/**
 * A bug in this library, such as a caught panic: please report it.
 */
#define DREAMFRAME_ERROR_INTERNAL -99

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Returns the memory of frames that `dreamframe_engine_process_device()` reads and writes.
 *
 * - Threads: one call at a time per object.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
 *
 * @param[in]  engine      from `dreamframe_engine_create()`
 * @param[out] out_memory  a `dreamframe_frame_memory_t`; 0 if the executor has no memory for frames: use
 *                         `dreamframe_engine_process()` then
 * @param[out] out_device  the index of the CUDA device; 0 for other memory
 */
dreamframe_status_t dreamframe_engine_frame_memory(dreamframe_engine_t *engine,
                                                   uint32_t *out_memory,
                                                   uint32_t *out_device);

/**
 * Processes one frame in the memory of the device, and writes the picture of the frame `delay` calls ago there, without a
 * transfer through the host. Everything is finished when it returns. Pixels are scaled as by
 * `dreamframe_engine_process()`, and differ by at most 1 if they are.
 *
 * - Threads: one call at a time per object. If a frame has a stream, its CUDA context is current on the calling thread.
 * - Ownership: the host owns both frames; the library keeps no pointer into them. They must not overlap. No other work may
 *   access them during the call, the bytes between rows of `target` included.
 * - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` if the executor has no memory for frames (`dreamframe_engine_frame_memory()`), or
 *   NVIDIA's driver, which a frame with a stream needs, is missing; `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong
 *   `struct_size`, other memory than the engine's, an engine that is in use or in a session;
 *   `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid frame or size; errors of the device. The engine continues with the next
 *   frame; the pixels of `target` are then unspecified.
 *
 * @param[in]  engine    from `dreamframe_engine_create()`
 * @param[in]  frame     the frame, of any size
 * @param[in]  target    receives the picture: of the size `dreamframe_engine_size()`
 * @param[out] out_info  how the picture was made; may be NULL
 */
dreamframe_status_t dreamframe_engine_process_device(dreamframe_engine_t *engine,
                                                     const dreamframe_device_frame_t *frame,
                                                     const dreamframe_device_frame_t *target,
                                                     dreamframe_picture_info_t *out_info);

/**
 * Creates an engine: loads the models and prepares the first frame. Slow; `progress` may cancel it.
 *
 * - Threads: any thread.
 * - Ownership: of `options`, only the callbacks and their `user_data` are kept. The host owns the engine, and frees it
 *   with `dreamframe_engine_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size` or an invalid option;
 *   `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation; `DREAMFRAME_ERROR_NOT_FOUND`, `_BAD_MODEL`, `_UNSUPPORTED`,
 *   `_OUT_OF_MEMORY`, `_IO`, `_CANCELLED`.
 *
 * @param[in]  options     begun with `DREAMFRAME_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_engine  the new engine
 */
dreamframe_status_t dreamframe_engine_create(const dreamframe_options_t *options, dreamframe_engine_t **out_engine);

/**
 * Frees an engine. NULL or a handle that was freed has no effect. A session that was started from it keeps running
 * until the session is freed.
 *
 * - Threads: any thread. If another call is using the engine, that call completes first. Inside a callback of any
 *   object, this
 *   waits at most 5 seconds for the engine's own callbacks.
 * - Ownership: the handle is invalid afterwards. When the call returns, the engine's callbacks are not called again,
 *   except
 *   those of its session and one for which that wait timed out.
 */
void dreamframe_engine_free(dreamframe_engine_t *engine);

/**
 * Processes one frame and writes the picture of the frame `delay` calls ago into the host's memory.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the host owns both frames; the library keeps no pointer into them. They must not overlap.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an engine that is in use or in a session;
 *   `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid frame or size; errors of the device. The engine continues with the next
 *   frame; the pixels of `target` are then unspecified.
 *
 * @param[in]  engine    from `dreamframe_engine_create()`
 * @param[in]  frame     the frame, of any size and format
 * @param[in]  target    receives the picture: of the size `dreamframe_engine_size()`, in any format
 * @param[out] out_info  how the picture was made; may be NULL
 */
dreamframe_status_t dreamframe_engine_process(dreamframe_engine_t *engine,
                                              const dreamframe_frame_t *frame,
                                              const dreamframe_frame_t *target,
                                              dreamframe_picture_info_t *out_info);

/**
 * Changes parameters before the next frame: all of them, or none on an error. Slow if something is loaded.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation;
 *   `DREAMFRAME_ERROR_NOT_FOUND`, `_BAD_MODEL`, `_UNSUPPORTED`, `_OUT_OF_MEMORY`, `_CANCELLED`. Nothing has changed then.
 *
 * @param[in]  engine      from `dreamframe_engine_create()`
 * @param[in]  patch_json  an object with the parameters to change
 * @param[out] out_cost    a `dreamframe_cost_t`, or 0 if nothing changed; may be NULL
 * @param[out] out_report  `{"cost": "hot", "changes": […], "notices": […]}`; may be NULL
 */
dreamframe_status_t dreamframe_engine_update(dreamframe_engine_t *engine,
                                             const char *patch_json,
                                             uint32_t *out_cost,
                                             char **out_report);

/**
 * Returns what `dreamframe_engine_update()` would change, and the cost, without applying it. Fast.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
 *
 * @param[in]  engine      from `dreamframe_engine_create()`
 * @param[in]  patch_json  an object with the parameters to change
 * @param[out] out_cost    a `dreamframe_cost_t`, or 0 if nothing changes; may be NULL
 * @param[out] out_report  `{"cost": "hot", "changes": […], "notices": […]}`; may be NULL
 */
dreamframe_status_t dreamframe_engine_plan(dreamframe_engine_t *engine,
                                           const char *patch_json,
                                           uint32_t *out_cost,
                                           char **out_report);

/**
 * Changes the prompt gradually, over this number of pictures.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, also for an invalid transition; `DREAMFRAME_ERROR_INVALID_PARAMS`
 *   for invalid prompts. Nothing has changed then.
 *
 * @param[in]  engine           from `dreamframe_engine_create()`
 * @param[in]  transition_json  `{"target_prompts": "snow", "num_steps": 4, "temporal_interpolation_method":
 * "linear"}`,
 *                              of which only the first is required; prompts as in the parameter `prompt`
 * @param[out] out_report       `{"cost": "recompute", "changes": […], "notices": […]}`; may be NULL
 */
dreamframe_status_t dreamframe_engine_transition(dreamframe_engine_t *engine,
                                                 const char *transition_json,
                                                 char **out_report);

/**
 * Returns the parameters in use, as JSON with every field.
 *
 * - Threads: one call at a time per object.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
 *
 * @param[in]  engine    from `dreamframe_engine_create()`
 * @param[out] out_json  the parameters
 */
dreamframe_status_t dreamframe_engine_params(dreamframe_engine_t *engine, char **out_json);

/**
 * Returns the size of the next picture, in pixels: that of the parameters, times the factors of processors that
 * enlarge it.
 *
 * - Threads: one call at a time per object.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
 *
 * @param[in]  engine      from `dreamframe_engine_create()`
 * @param[out] out_width   width in pixels
 * @param[out] out_height  height in pixels
 */
dreamframe_status_t dreamframe_engine_size(dreamframe_engine_t *engine, uint32_t *out_width, uint32_t *out_height);

/**
 * Returns how many frames after its frame a picture is returned.
 *
 * - Threads: one call at a time per object.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
 *
 * @param[in]  engine     from `dreamframe_engine_create()`
 * @param[out] out_delay  in frames
 */
dreamframe_status_t dreamframe_engine_delay(dreamframe_engine_t *engine, uint32_t *out_delay);

/**
 * Returns a description of the engine, as JSON: `model`, `device`, `executor`, `provider` (null unless the executor is
 * `onnx`), `dtype`, `threads`, `evaluations_per_frame`, and `notices` about values that are interpreted differently.
 *
 * - Threads: one call at a time per object.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
 *
 * @param[in]  engine    from `dreamframe_engine_create()`
 * @param[out] out_json  one object
 */
dreamframe_status_t dreamframe_engine_info(dreamframe_engine_t *engine, char **out_json);

/**
 * Describes pixels whose rows and planes are contiguous: fills in size, format, planes and strides, and zeros for the
 * rest.
 *
 * - Threads: any thread.
 * - Ownership: the host owns the pixels; the frame points to them.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME` for an
 *   invalid format, a side outside 1 to 8192, or fewer bytes than the pixels need.
 *
 * @param[in]  format     a `dreamframe_pixel_format_t`
 * @param[in]  width      width in pixels
 * @param[in]  height     height in pixels
 * @param[in]  pixels     the first byte
 * @param[in]  len        number of bytes
 * @param[out] out_frame  initialized with `DREAMFRAME_FRAME_INIT`
 */
dreamframe_status_t dreamframe_frame_packed(uint32_t format,
                                            uint32_t width,
                                            uint32_t height,
                                            uint8_t *pixels,
                                            size_t len,
                                            dreamframe_frame_t *out_frame);

/**
 * Returns the message of the last error on this thread, with the value and the bound: one line without a full stop.
 * Empty if no call has failed; successful calls do not change it.
 *
 * - Threads: any thread; each has its own.
 * - Ownership: the text belongs to the library, and is valid until the next failed call on this thread.
 */
const char *dreamframe_last_error(void);

/**
 * Returns the last error on this thread as JSON: `{"kind": "invalid_params", "message": "…", "violations": [{"path": "…", "message": "…"}]}`,
 * with every violation of rejected parameters. Empty if no call has failed.
 *
 * - Threads: any thread; each has its own.
 * - Ownership: the text belongs to the library, and is valid until the next failed call on this thread.
 */
const char *dreamframe_last_error_json(void);

/**
 * Sets the image of `external` processors, from the next frame on: the control image of one ControlNet, or that of all
 * ControlNets without their own, and the result of `external` in `image_preprocessing` and `image_postprocessing`.
 *
 * The image is fitted to the size of the stream as frames are. It stays until it is replaced or cleared, whatever
 * ControlNets are added and removed. Without one, `external` returns its input, for a ControlNet the frame, and a notice
 * reports this.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the pixels are copied before the call returns; the texts are not kept.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an empty id, images of more than 64
 *   ControlNets, and an engine that is in use or in a session; `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid image;
 *   `DREAMFRAME_ERROR_OUT_OF_MEMORY`. The image that was set before stays.
 *
 * @param[in]  engine      from `dreamframe_engine_create()`
 * @param[in]  controlnet  the `model_id` of a ControlNet; NULL for all
 * @param[in]  image       the image, of any size and format
 */
dreamframe_status_t dreamframe_engine_set_external_image(dreamframe_engine_t *engine,
                                                         const char *controlnet,
                                                         const dreamframe_frame_t *image);

/**
 * Removes the image that `dreamframe_engine_set_external_image()` set, if there is one. A ControlNet uses the image for
 * all then.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the text is not kept.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an engine that is in use or in a session.
 *
 * @param[in]  engine      from `dreamframe_engine_create()`
 * @param[in]  controlnet  the `model_id` of a ControlNet; NULL for the image for all
 */
dreamframe_status_t dreamframe_engine_clear_external_image(dreamframe_engine_t *engine, const char *controlnet);

/**
 * Like `dreamframe_engine_set_external_image()`, while the session runs. Waits for neither a frame nor a model; the newest
 * image counts.
 *
 * - Threads: any thread, also concurrently.
 * - Ownership: the pixels are copied before the call returns; the text is not kept.
 * - Errors: those of the engine's function, and `DREAMFRAME_ERROR_CLOSED` once the session has ended.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[in]  controlnet  the `model_id` of a ControlNet; NULL for all
 * @param[in]  image       the image, of any size and format
 */
dreamframe_status_t dreamframe_session_set_external_image(dreamframe_session_t *session,
                                                          const char *controlnet,
                                                          const dreamframe_frame_t *image);

/**
 * Removes the image that `dreamframe_session_set_external_image()` set, if there is one.
 *
 * - Threads: any thread, also concurrently.
 * - Ownership: the text is not kept.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` once the session has ended.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[in]  controlnet  the `model_id` of a ControlNet; NULL for the image for all
 */
dreamframe_status_t dreamframe_session_clear_external_image(dreamframe_session_t *session, const char *controlnet);

/**
 * Sets the style image of the IP-Adapter before the next frame: the parameter `ip_adapter_style_image_url`, as
 * `dreamframe_style_pixels_uri()` gives it. The image is encoded before the call returns, if the adapter is enabled.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the pixels are not kept.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid image, and those of
 *   `dreamframe_engine_update()`.
 *
 * @param[in]  engine  from `dreamframe_engine_create()`
 * @param[in]  image   the image, of any size and format
 */
dreamframe_status_t dreamframe_engine_set_style_image(dreamframe_engine_t *engine, const dreamframe_frame_t *image);

/**
 * Like `dreamframe_engine_set_style_image()`, while the session runs. The call takes some milliseconds; the image is
 * encoded on another thread. Of several images that wait, only the last one is.
 *
 * - Threads: any thread, also concurrently.
 * - Ownership: the pixels are not kept.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid image, and those of
 *   `dreamframe_session_update()`.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  image        the image, of any size and format
 * @param[out] out_version  the version of the update, as of `dreamframe_session_update()`; may be NULL
 */
dreamframe_status_t dreamframe_session_set_style_image(dreamframe_session_t *session,
                                                       const dreamframe_frame_t *image,
                                                       uint64_t *out_version);

/**
 * Encodes pixels as a value of the parameter `ip_adapter_style_image_url`: the central square, scaled to 512x512 if it is
 * larger. Alpha is dropped.
 *
 * - Threads: any thread.
 * - Ownership: the pixels are not kept; free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL and a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME` for an
 *   invalid image; `DREAMFRAME_ERROR_OUT_OF_MEMORY`.
 *
 * @param[in]  image     the image, of any size and format
 * @param[out] out_text  a data URI
 */
dreamframe_status_t dreamframe_style_pixels_uri(const dreamframe_frame_t *image,
                                                char **out_text);

/**
 * Downloads a model from the Hugging Face hub into its cache, and returns its path. Complete files are kept, and an
 * interrupted download continues. Slow.
 *
 * - Threads: any thread; never one that has to process frames.
 * - Ownership: the texts are not kept; free the path with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` in a library without the feature `hub`; `DREAMFRAME_ERROR_INVALID_ARGUMENT`,
 *   also for an invalid id or address; `DREAMFRAME_ERROR_NOT_FOUND` if the hub has no such model, or several of which the id
 *   does not name one; `DREAMFRAME_ERROR_BAD_MODEL` for a file that does not match its digest;
 *   `DREAMFRAME_ERROR_CANCELLED`, `_IO`.
 *
 * @param[in]  id        a repository, `organisation/name`, or a file or folder in one, `organisation/name/path`: a base
 *                       model, an autoencoder, a ControlNet, a LoRA, an IP-Adapter, or the networks of processors
 * @param[in]  options   begun with `DREAMFRAME_FETCH_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_path  the path of the model, such as the option `models` of an engine
 */
dreamframe_status_t dreamframe_models_fetch(const char *id,
                                            const dreamframe_fetch_options_t *options,
                                            char **out_path);

/**
 * Downloads all models that an engine with these parameters uses: the base model, its tiny autoencoder, LoRAs,
 * ControlNets, the IP-Adapter if it is enabled, the network that interpolates between pictures, and the networks of
 * processors. Slow.
 *
 * A download that fails does not prevent the others, and has an `error` in the result, as `dreamframe_last_error_json()`
 * returns them.
 *
 * - Threads: any thread; never one that has to process frames.
 * - Ownership: the texts are not kept; free the result with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` in a library without the feature `hub`; `DREAMFRAME_ERROR_INVALID_ARGUMENT`,
 *   also for an invalid id or address; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation;
 *   `DREAMFRAME_ERROR_CANCELLED`.
 *
 * @param[in]  params_json  the parameters, with Daydream's defaults for missing ones
 * @param[in]  options      begun with `DREAMFRAME_FETCH_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_models   `[{"id": "…", "field": "model_id", "path": "…", "error": null, "optional": false}]`, where `field`
 *                          is the use of the model, and engines can be created without an `optional` one
 */
dreamframe_status_t dreamframe_models_fetch_for(const char *params_json,
                                                const dreamframe_fetch_options_t *options,
                                                char **out_models);

/**
 * Returns Daydream's default parameters, as JSON with every field.
 *
 * - Threads: any thread.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[out] out_json  the parameters
 */
dreamframe_status_t dreamframe_params_defaults(char **out_json);

/**
 * Returns the parameters of the demo model, which are the default of an engine, as JSON with every field.
 *
 * - Threads: any thread.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[out] out_json  the parameters
 */
dreamframe_status_t dreamframe_params_demo(char **out_json);

/**
 * Returns parameters that suit a model, as JSON with every field. The model must be downloaded, as by
 * `dreamframe models fetch NAME`.
 *
 * - Threads: any thread.
 * - Ownership: the name is not kept; free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_INVALID_PARAMS` for an unknown name, with all
 *   names.
 *
 * @param[in]  name      a short name, such as `sdxs`, a repository that has one, or `demo`
 * @param[out] out_json  the parameters
 */
dreamframe_status_t dreamframe_params_for_model(const char *name,
                                                char **out_json);

/**
 * Returns the JSON Schema of the parameters: names, types, ranges, defaults, and the cost of changing each.
 *
 * - Threads: any thread.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[out] out_json  the schema
 */
dreamframe_status_t dreamframe_params_schema(char **out_json);

/**
 * Validates parameters without an engine. A model may still reject them.
 *
 * - Threads: any thread.
 * - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
 *
 * @param[in]  params_json  an object with some of the parameters; missing ones have Daydream's defaults
 * @param[out] out_report   `{"params": {…}, "notices": […]}` with every field; may be NULL
 */
dreamframe_status_t dreamframe_params_check(const char *params_json, char **out_report);

/**
 * Applies a change to parameters, without an engine. A model may still reject them.
 *
 * - Threads: any thread.
 * - Ownership: the texts are not kept; free the result with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
 *
 * @param[in]  base_json   parameters, as for `dreamframe_params_check()`; NULL for those of the demo model
 * @param[in]  patch_json  an object with the parameters to change
 * @param[out] out_json    the parameters with every field
 */
dreamframe_status_t dreamframe_params_merge(const char *base_json, const char *patch_json, char **out_json);

/**
 * Starts a session: moves the engine to its own thread, until `dreamframe_session_stop()` returns it.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the host still owns the engine, which is in the session until that is stopped. The host owns the
 *   session, and
 *   frees it with `dreamframe_session_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an engine that is in use or in a session;
 *   `DREAMFRAME_ERROR_DEVICE` if the system cannot start a thread; the engine is then freed.
 *
 * @param[in]  engine       from `dreamframe_engine_create()`
 * @param[in]  options      initialized with `DREAMFRAME_SESSION_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_session  the new session
 */
dreamframe_status_t dreamframe_session_start(dreamframe_engine_t *engine,
                                             const dreamframe_session_options_t *options,
                                             dreamframe_session_t **out_session);

/**
 * Stops a session and returns the engine. A waiting frame is still processed, and prepared updates are
 * applied. When the call returns, `on_picture` is not called again; pictures that were not taken can still be polled.
 *
 * - Threads: any thread except the session's own: never from `on_picture`.
 * - Ownership: the session must still be freed. The engine can be used again.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, from `on_picture`, and for the session of a server;
 *   `DREAMFRAME_ERROR_CLOSED` for a session that was stopped; `DREAMFRAME_ERROR_TIMEOUT` if frames or `on_picture`
 *   take
 *   longer: the session then ends in the background, with its engine, and `on_picture` is not called again;
 *   `DREAMFRAME_ERROR_INTERNAL` if the engine panicked.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[in]  timeout_ms  timeout in milliseconds
 */
dreamframe_status_t dreamframe_session_stop(dreamframe_session_t *session, uint64_t timeout_ms);

/**
 * Frees a session. NULL or a handle that was freed has no effect. A running session ends after its current frame, and
 * its engine is freed with it; a model that is being loaded is not waited for. The session of a server continues.
 *
 * - Threads: any thread. If another call is using the session, that call completes. Inside a callback of any object,
 *   this
 *   waits at most 5 seconds for the session's own callbacks, so that two threads that free each other's objects in
 *   callbacks
 *   do not deadlock.
 * - Ownership: the handle is invalid afterwards. When the call returns, `on_picture` is not running, unless it is the
 *   caller,
 *   or the wait for it timed out inside another callback.
 */
void dreamframe_session_free(dreamframe_session_t *session);

/**
 * Submits a frame to the session, without waiting: a frame that is not yet processed is replaced.
 *
 * - Threads: any thread, also concurrently.
 * - Ownership: the pixels are copied before the call returns; the library keeps no pointer to `frame`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME`
 *   for an
 *   invalid frame; `DREAMFRAME_ERROR_CLOSED` once the session has ended; `DREAMFRAME_ERROR_OUT_OF_MEMORY`.
 *
 * @param[in]  session  from `dreamframe_session_start()`
 * @param[in]  frame    the frame, of any size and format
 * @param[out] out_id   the id of the frame, which is the source id of its picture; may be NULL
 */
dreamframe_status_t dreamframe_session_submit(dreamframe_session_t *session,
                                              const dreamframe_frame_t *frame,
                                              uint64_t *out_id);

/**
 * Copies the newest picture into the host's memory, unless it was already taken. Does not wait.
 *
 * Returns `DREAMFRAME_NOT_READY` if there is none yet. A picture of another size than `target` is kept: call
 * `dreamframe_session_size()`, and poll again.
 *
 * - Threads: any thread, also concurrently; each picture is returned once.
 * - Ownership: the library keeps no pointer to `target`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME`
 *   for an
 *   invalid target or one of another size; `DREAMFRAME_ERROR_CLOSED` once the session has ended and all pictures are
 *   taken.
 *
 * @param[in]  session   from `dreamframe_session_start()`
 * @param[in]  target    receives the picture, in any format
 * @param[out] out_info  how the picture was made; may be NULL
 */
dreamframe_status_t dreamframe_session_poll(dreamframe_session_t *session,
                                            const dreamframe_frame_t *target,
                                            dreamframe_picture_info_t *out_info);

/**
 * Like `dreamframe_session_poll()`, but waits for a picture. For sessions without `on_picture`.
 *
 * Returns `DREAMFRAME_NOT_READY` on a timeout.
 *
 * - Threads: any thread, also concurrently; each picture is returned once.
 * - Ownership: the library keeps no pointer to `target`.
 * - Errors: those of `dreamframe_session_poll()`; `DREAMFRAME_ERROR_INVALID_ARGUMENT` also for a session with `on_picture`.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[in]  timeout_ms  timeout in milliseconds
 * @param[in]  target      receives the picture, in any format
 * @param[out] out_info    how the picture was made; may be NULL
 */
dreamframe_status_t dreamframe_session_wait(dreamframe_session_t *session,
                                            uint64_t timeout_ms,
                                            const dreamframe_frame_t *target,
                                            dreamframe_picture_info_t *out_info);

/**
 * Returns the size of the picture that the next poll returns, in pixels. If no picture waits, it is that of the last
 * one, or that of the engine before the first.
 *
 * - Threads: any thread, also concurrently.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[out] out_width   width in pixels
 * @param[out] out_height  height in pixels
 */
dreamframe_status_t dreamframe_session_size(dreamframe_session_t *session, uint32_t *out_width, uint32_t *out_height);

/**
 * Returns whether the session accepts frames.
 *
 * - Threads: any thread, also concurrently.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[out] out_running  false once it was stopped or has ended
 */
dreamframe_status_t dreamframe_session_is_running(dreamframe_session_t *session, bool *out_running);

/**
 * Changes parameters while frames are processed. The patch is validated now, prepared on another thread, and applied
 * between two frames. A later failure, such as a missing model, is reported by an event and by
 * `dreamframe_session_wait_for()`.
 *
 * - Threads: any thread, also concurrently.
 * - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation;
 *   `DREAMFRAME_ERROR_UNSUPPORTED`, `_CLOSED`. Nothing has changed then.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  patch_json   an object with the parameters to change
 * @param[out] out_version  the version of the update; pictures made with it have at least this version; may be NULL
 * @param[out] out_report   `{"version": 1, "cost": "hot", "changes": […], "notices": […]}`; may be NULL
 */
dreamframe_status_t dreamframe_session_update(dreamframe_session_t *session,
                                              const char *patch_json,
                                              uint64_t *out_version,
                                              char **out_report);

/**
 * Changes one number, such as `"guidance_scale"` or `"ip_adapter.scale"`; otherwise like
 * `dreamframe_session_update()`.
 *
 * The value is converted to the shortest decimal that yields the same float: `0.7f` is 0.7.
 *
 * - Threads: any thread, also concurrently.
 * - Errors: those of `dreamframe_session_update()`; `DREAMFRAME_ERROR_INVALID_ARGUMENT` also for a value that is not finite.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  name         a parameter, or a field of an object as `object.field`
 * @param[in]  value        the new value
 * @param[out] out_version  as for `dreamframe_session_update()`; may be NULL
 */
dreamframe_status_t dreamframe_session_set_f32(dreamframe_session_t *session,
                                               const char *name,
                                               float value,
                                               uint64_t *out_version);

/**
 * Changes one integer, such as `"seed"` or `"num_inference_steps"`; otherwise like `dreamframe_session_set_f32()`.
 *
 * - Threads: any thread, also concurrently.
 * - Errors: those of `dreamframe_session_update()`.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  name         a parameter, or a field of an object as `object.field`
 * @param[in]  value        the new value
 * @param[out] out_version  as for `dreamframe_session_update()`; may be NULL
 */
dreamframe_status_t dreamframe_session_set_i64(dreamframe_session_t *session,
                                               const char *name,
                                               int64_t value,
                                               uint64_t *out_version);

/**
 * Changes one boolean, such as `"skip_diffusion"`; otherwise like `dreamframe_session_set_f32()`.
 *
 * - Threads: any thread, also concurrently.
 * - Errors: those of `dreamframe_session_update()`.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  name         a parameter, or a field of an object as `object.field`
 * @param[in]  value        the new value
 * @param[out] out_version  as for `dreamframe_session_update()`; may be NULL
 */
dreamframe_status_t dreamframe_session_set_bool(dreamframe_session_t *session,
                                                const char *name,
                                                bool value,
                                                uint64_t *out_version);

/**
 * Changes one string, such as `"prompt"`, which needs no quoting; otherwise like `dreamframe_session_set_f32()`.
 *
 * - Threads: any thread, also concurrently.
 * - Ownership: the text is not kept.
 * - Errors: those of `dreamframe_session_update()`.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  name         a parameter, or a field of an object as `object.field`
 * @param[in]  value        the new value
 * @param[out] out_version  as for `dreamframe_session_update()`; may be NULL
 */
dreamframe_status_t dreamframe_session_set_text(dreamframe_session_t *session,
                                                const char *name,
                                                const char *value,
                                                uint64_t *out_version);

/**
 * Changes the prompt gradually, over a number of pictures, while frames are processed.
 *
 * - Threads: any thread, also concurrently.
 * - Ownership: the text is not kept.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, also for an invalid transition; `DREAMFRAME_ERROR_INVALID_PARAMS`
 *   for invalid prompts; `DREAMFRAME_ERROR_CLOSED`. Nothing has changed then.
 *
 * @param[in]  session          from `dreamframe_session_start()`
 * @param[in]  transition_json  as for `dreamframe_engine_transition()`
 * @param[out] out_version      the version of its first update; may be NULL
 */
dreamframe_status_t dreamframe_session_transition(dreamframe_session_t *session,
                                                  const char *transition_json,
                                                  uint64_t *out_version);

/**
 * Returns the desired parameters as JSON with every field: all accepted updates, minus those rejected since.
 *
 * - Threads: any thread, also concurrently.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  session   from `dreamframe_session_start()`
 * @param[out] out_json  the parameters
 */
dreamframe_status_t dreamframe_session_params(dreamframe_session_t *session, char **out_json);

/**
 * Returns what `dreamframe_session_update()` would change, and the cost, without applying it. Fast.
 *
 * - Threads: any thread, also concurrently.
 * - Ownership: the text is not kept; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, also while the old pipeline is released and the new one is not ready yet;
 *   `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[in]  patch_json  an object with the parameters to change
 * @param[out] out_cost    a `dreamframe_cost_t`, or 0 if nothing changes; may be NULL
 * @param[out] out_report  `{"cost": "hot", "changes": […], "notices": […]}`; may be NULL
 */
dreamframe_status_t dreamframe_session_plan(dreamframe_session_t *session,
                                            const char *patch_json,
                                            uint32_t *out_cost,
                                            char **out_report);

/**
 * Waits until an update is applied, superseded or rejected. For a rejected one, returns the status of its error.
 *
 * - Threads: any thread, also concurrently; not from `on_picture`.
 * - Errors: `DREAMFRAME_ERROR_TIMEOUT`; `DREAMFRAME_ERROR_CLOSED` if the session ends first;
 *   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an update whose result is no longer stored; the error of a rejected update.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  version      the version of the update
 * @param[in]  timeout_ms   timeout in milliseconds
 * @param[out] out_outcome  a `dreamframe_outcome_t`; may be NULL
 */
dreamframe_status_t dreamframe_session_wait_for(dreamframe_session_t *session,
                                                uint64_t version,
                                                uint64_t timeout_ms,
                                                uint32_t *out_outcome);

/**
 * Takes the oldest event; waits for one if there is none.
 *
 * Returns `DREAMFRAME_NOT_READY` on a timeout. `type` is one of `update_applied`, `update_rejected`,
 * `update_superseded` (each with `version`), `frame_failed` (with `id`), `degraded`, `recovered`, `callback_failed`,
 * `transition_failed`, `stopped`; `error` has the format of `dreamframe_last_error_json()`. Later versions may add
 * types and fields.
 *
 * - Threads: any thread, also concurrently; each event is returned once.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[in]  timeout_ms  timeout in milliseconds; 0 not to wait
 * @param[out] out_json    one object
 */
dreamframe_status_t dreamframe_session_next_event(dreamframe_session_t *session, uint64_t timeout_ms, char **out_json);

/**
 * Returns statistics of a session.
 *
 * - Threads: any thread, also concurrently.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`.
 *
 * @param[in]  session    from `dreamframe_session_start()`
 * @param[out] out_stats  initialized with `DREAMFRAME_STATS_INIT`
 */
dreamframe_status_t dreamframe_session_stats(dreamframe_session_t *session, dreamframe_stats_t *out_stats);

/**
 * Returns statistics of a session as JSON, with all rates and the times of each stage.
 *
 * - Threads: any thread, also concurrently.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  session   from `dreamframe_session_start()`
 * @param[out] out_json  one object
 */
dreamframe_status_t dreamframe_session_stats_json(dreamframe_session_t *session, char **out_json);

/**
 * Returns the name of a status: `"ok"`, `"not_ready"`, `"invalid_params"`; `"unknown"` for an unknown number.
 *
 * - Threads: any thread.
 * - Ownership: the text is static; never free it.
 */
const char *dreamframe_status_name(dreamframe_status_t status);

/**
 * Replies with bytes.
 *
 * - Threads: only inside the callback that received `reply`.
 * - Ownership: the bytes are copied before the call returns.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose callback has returned.
 *
 * @param[in]  reply  the argument of the callback
 * @param[in]  data   the first byte
 * @param[in]  len    number of bytes
 */
dreamframe_status_t dreamframe_reply_bytes(dreamframe_reply_t *reply, const uint8_t *data, size_t len);

/**
 * Replies with floats.
 *
 * - Threads: only inside the callback that received `reply`.
 * - Ownership: the values are copied before the call returns.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose callback has returned.
 *
 * @param[in]  reply  the argument of the callback
 * @param[in]  data   the first value
 * @param[in]  len    number of values
 */
dreamframe_status_t dreamframe_reply_floats(dreamframe_reply_t *reply, const float *data, size_t len);

/**
 * Replies with an error; the update is then rejected with that message.
 *
 * - Threads: only inside the callback that received `reply`.
 * - Ownership: the text is copied before the call returns.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose callback has returned.
 *
 * @param[in]  reply    the argument of the callback
 * @param[in]  message  the reason
 */
dreamframe_status_t dreamframe_reply_error(dreamframe_reply_t *reply, const char *message);

/**
 * Encodes an image file (PNG, JPEG, WebP) as a value of the parameter `ip_adapter_style_image_url`.
 *
 * - Threads: any thread.
 * - Ownership: the bytes are not kept; free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, another format, or too many bytes.
 *
 * @param[in]  data      the first byte of the file
 * @param[in]  len       number of bytes
 * @param[out] out_text  a data URI
 */
dreamframe_status_t dreamframe_style_data_uri(const uint8_t *data, size_t len, char **out_text);

/**
 * Frees a string that the library returned through a `char **`.
 *
 * NULL has no effect. A string that is not from the library, or was already freed, has no effect either;
 * `dreamframe_last_error()` then reports it.
 *
 * - Threads: any thread.
 * - Ownership: the string is invalid afterwards.
 */
void dreamframe_string_free(char *text);

/**
 * Makes a picture from the prompt alone, and writes it into the host's memory. A grey frame is processed `delay` + 1 times,
 * so that the picture is that of the current parameters. Nothing of the grey remains with a first index of 0 in
 * `t_index_list`, and the picture depends on `seed`.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the host owns the target; the library keeps no pointer into it.
 * - Errors: those of `dreamframe_engine_process()`; the pixels of `target` are then unspecified.
 *
 * @param[in]  engine    from `dreamframe_engine_create()`
 * @param[in]  target    receives the picture: of the size `dreamframe_engine_size()`, in any format
 * @param[out] out_info  how the picture was made; may be NULL
 */
dreamframe_status_t dreamframe_engine_text_to_image(dreamframe_engine_t *engine,
                                                    const dreamframe_frame_t *target,
                                                    dreamframe_picture_info_t *out_info);

/**
 * Starts to play from a WHEP server. The pictures go to a session, or are returned by `dreamframe_player_poll()`.
 * Returns immediately: the connection is made on another thread.
 *
 * - Threads: any thread.
 * - Ownership: texts and options are not kept. The host owns the player, and frees it with `dreamframe_player_free()`.
 * - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` if `dreamframe_build_info()` lacks the feature `transport`;
 *   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an invalid option, and an address that is not
 *   http
 *   or https; `DREAMFRAME_ERROR_DEVICE` if the system cannot start a thread. Connection errors are reported by events
 *   and
 *   by `dreamframe_player_wait_for()`.
 *
 * @param[in]  url         the address, such as `"https://host/whep/key"`
 * @param[in]  options     initialized with `DREAMFRAME_PLAYER_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_player  the new player
 */
dreamframe_status_t dreamframe_player_start(const char *url,
                                            const dreamframe_player_options_t *options,
                                            dreamframe_player_t **out_player);

/**
 * Ends the session on the server and the connection. Waits a few seconds at most. Has no effect on a stopped player.
 * The last picture can still be polled, unless it was taken.
 *
 * - Threads: any thread; calls that wait for a picture, an event or a state return.
 * - Ownership: the player must still be freed.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 */
dreamframe_status_t dreamframe_player_stop(dreamframe_player_t *player);

/**
 * Frees a player, and stops it if it was not. NULL or a handle that was freed has no effect.
 *
 * - Threads: any thread; calls on other threads that use the player complete.
 * - Ownership: the handle is invalid afterwards.
 */
void dreamframe_player_free(dreamframe_player_t *player);

/**
 * Copies the newest picture into the host's memory, unless it was already taken. Does not wait.
 *
 * Returns `DREAMFRAME_NOT_READY` if there is none yet. A picture of another size than `target` is kept: call
 * `dreamframe_player_size()`, and poll again. The size may change from one picture to the next.
 *
 * - Threads: any thread; each picture is returned once.
 * - Ownership: the library keeps no pointer to `target`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, and a player whose pictures go to a session;
 *   `DREAMFRAME_ERROR_INVALID_FRAME` for an invalid target or one of another size; `DREAMFRAME_ERROR_CLOSED` once the player
 *   was stopped or has given up, and the last picture is taken.
 *
 * @param[in]  player  from `dreamframe_player_start()`
 * @param[in]  target  receives the picture, in any format
 * @param[out] out_id  the number of earlier pictures, including dropped ones; may be NULL
 */
dreamframe_status_t dreamframe_player_poll(dreamframe_player_t *player,
                                           const dreamframe_frame_t *target,
                                           uint64_t *out_id);

/**
 * Like `dreamframe_player_poll()`, but waits for a picture.
 *
 * Returns `DREAMFRAME_NOT_READY` on a timeout.
 *
 * - Threads: any thread, but not inside a callback; each picture is returned once.
 * - Ownership: the library keeps no pointer to `target`.
 * - Errors: those of `dreamframe_player_poll()`.
 *
 * @param[in]  player      from `dreamframe_player_start()`
 * @param[in]  timeout_ms  timeout in milliseconds
 * @param[in]  target      receives the picture, in any format
 * @param[out] out_id      the number of earlier pictures, including dropped ones; may be NULL
 */
dreamframe_status_t dreamframe_player_wait(dreamframe_player_t *player,
                                           uint64_t timeout_ms,
                                           const dreamframe_frame_t *target,
                                           uint64_t *out_id);

/**
 * Returns the size of the picture that the next poll returns, in pixels. If no picture waits, it is that of the last
 * one.
 *
 * Returns `DREAMFRAME_NOT_READY` before the first picture.
 *
 * - Threads: any thread.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a player whose pictures go to a session.
 *
 * @param[in]  player      from `dreamframe_player_start()`
 * @param[out] out_width   width in pixels
 * @param[out] out_height  height in pixels
 */
dreamframe_status_t dreamframe_player_size(dreamframe_player_t *player, uint32_t *out_width, uint32_t *out_height);

/**
 * Returns the state of the player.
 *
 * - Threads: any thread.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  player     from `dreamframe_player_start()`
 * @param[out] out_state  a `dreamframe_peer_state_t`
 */
dreamframe_status_t dreamframe_player_state(dreamframe_player_t *player, uint32_t *out_state);

/**
 * Waits until the player is in a state.
 *
 * - Threads: any thread, but not inside a callback.
 * - Errors: those of `dreamframe_publisher_wait_for()`.
 *
 * @param[in] player      from `dreamframe_player_start()`
 * @param[in] state       a `dreamframe_peer_state_t`
 * @param[in] timeout_ms  timeout in milliseconds
 */
dreamframe_status_t dreamframe_player_wait_for(dreamframe_player_t *player, uint32_t state, uint64_t timeout_ms);

/**
 * Takes the oldest event; waits for one if there is none. See `dreamframe_publisher_next_event()`.
 *
 * - Threads: any thread; each event is returned once.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  player      from `dreamframe_player_start()`
 * @param[in]  timeout_ms  timeout in milliseconds; 0 not to wait
 * @param[out] out_json    one object
 */
dreamframe_status_t dreamframe_player_next_event(dreamframe_player_t *player, uint64_t timeout_ms, char **out_json);

/**
 * Returns statistics of the player.
 *
 * - Threads: any thread.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`.
 *
 * @param[in]  player     from `dreamframe_player_start()`
 * @param[out] out_stats  initialized with `DREAMFRAME_CONNECTION_STATS_INIT`
 */
dreamframe_status_t dreamframe_player_stats(dreamframe_player_t *player, dreamframe_connection_stats_t *out_stats);

/**
 * Starts to publish the pictures of `dreamframe_publisher_show()` to a WHIP server, as H.264. Returns immediately: the
 * connection is made on another thread.
 *
 * - Threads: any thread.
 * - Ownership: texts and options are not kept. The host owns the publisher, and frees it with
 *   `dreamframe_publisher_free()`.
 * - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` if `dreamframe_build_info()` lacks the feature `transport`;
 *   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an invalid option, and an address that is not
 *   http
 *   or https; `DREAMFRAME_ERROR_DEVICE` if the system cannot start a thread. Connection errors are reported by events
 *   and
 *   by `dreamframe_publisher_wait_for()`.
 *
 * @param[in]  url            the address, such as `"https://host/whip/key"`
 * @param[in]  options        initialized with `DREAMFRAME_PUBLISHER_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_publisher  the new publisher
 */
dreamframe_status_t dreamframe_publisher_start(const char *url,
                                               const dreamframe_publisher_options_t *options,
                                               dreamframe_publisher_t **out_publisher);

/**
 * Ends the session on the server and the connection. Waits a few seconds at most. Has no effect on a stopped
 * publisher.
 *
 * - Threads: any thread; calls that wait for an event or a state return.
 * - Ownership: the publisher must still be freed.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 */
dreamframe_status_t dreamframe_publisher_stop(dreamframe_publisher_t *publisher);

/**
 * Frees a publisher, and stops it if it was not. NULL or a handle that was freed has no effect.
 *
 * - Threads: any thread; calls on other threads that use the publisher complete.
 * - Ownership: the handle is invalid afterwards.
 */
void dreamframe_publisher_free(dreamframe_publisher_t *publisher);

/**
 * Sends a picture, without waiting. It is copied if a connection is up, and replaces one that is not encoded yet.
 * Sizes and formats may change from one picture to the next. Its `timestamp_ns` is ignored: the picture is sent with
 * the current time.
 *
 * To publish a session's pictures, call it in `on_picture` with the picture, unless that is NULL.
 *
 * - Threads: any thread, also from `on_picture`.
 * - Ownership: the pixels are copied before the call returns; the library keeps no pointer to `picture`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME`
 *   for an
 *   invalid picture.
 *
 * @param[in] publisher  from `dreamframe_publisher_start()`
 * @param[in] picture    the picture, of any size and format
 */
dreamframe_status_t dreamframe_publisher_show(dreamframe_publisher_t *publisher, const dreamframe_frame_t *picture);

/**
 * Returns the state of the publisher.
 *
 * - Threads: any thread.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  publisher  from `dreamframe_publisher_start()`
 * @param[out] out_state  a `dreamframe_peer_state_t`
 */
dreamframe_status_t dreamframe_publisher_state(dreamframe_publisher_t *publisher, uint32_t *out_state);

/**
 * Waits until the publisher is in a state.
 *
 * - Threads: any thread, but not inside a callback.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or an invalid state; `DREAMFRAME_ERROR_TIMEOUT`;
 *   `DREAMFRAME_ERROR_CLOSED` if it ends in another state. `dreamframe_last_error()` then has the most recent connection error.
 *
 * @param[in] publisher   from `dreamframe_publisher_start()`
 * @param[in] state       a `dreamframe_peer_state_t`
 * @param[in] timeout_ms  timeout in milliseconds
 */
dreamframe_status_t dreamframe_publisher_wait_for(dreamframe_publisher_t *publisher,
                                                  uint32_t state,
                                                  uint64_t timeout_ms);

/**
 * Returns the URL to play the stream from, if the server has sent one.
 *
 * Returns `DREAMFRAME_NOT_READY` if it has not.
 *
 * - Threads: any thread.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  publisher  from `dreamframe_publisher_start()`
 * @param[out] out_url    a WHEP address
 */
dreamframe_status_t dreamframe_publisher_playback_url(dreamframe_publisher_t *publisher, char **out_url);

/**
 * Takes the oldest event; waits for one if there is none. At most 64 are kept.
 *
 * Returns `DREAMFRAME_NOT_READY` on a timeout, and if no further event can come. `type` is `state`, with `state`; or
 * `attempt_failed`, with `error` in the format of `dreamframe_last_error_json()`, and `retry_ms`, which is null if
 * there is no further attempt. Later versions may add types and fields.
 *
 * - Threads: any thread; each event is returned once.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  publisher   from `dreamframe_publisher_start()`
 * @param[in]  timeout_ms  timeout in milliseconds; 0 not to wait
 * @param[out] out_json    one object
 */
dreamframe_status_t dreamframe_publisher_next_event(dreamframe_publisher_t *publisher,
                                                    uint64_t timeout_ms,
                                                    char **out_json);

/**
 * Returns statistics of the publisher.
 *
 * - Threads: any thread.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`.
 *
 * @param[in]  publisher  from `dreamframe_publisher_start()`
 * @param[out] out_stats  initialized with `DREAMFRAME_CONNECTION_STATS_INIT`
 */
dreamframe_status_t dreamframe_publisher_stats(dreamframe_publisher_t *publisher,
                                               dreamframe_connection_stats_t *out_stats);

/**
 * Starts a session of an engine and serves it: publishers at `/whip` send its frames, viewers at `/whep` receive its
 * pictures, and both may change parameters over the data channel `parameters`. Video is H.264.
 *
 * - Threads: one call at a time per object.
 * - Ownership: nothing of `options` is kept. The host still owns the engine, which is in the server until that is
 *   stopped. The
 *   host owns the server, and frees it with `dreamframe_server_free()`.
 * - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` if `dreamframe_build_info()` lacks the feature `transport`;
 *   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an invalid option, an engine that is in use
 *   or in a
 *   session; `DREAMFRAME_ERROR_IO` if the address is not available; `DREAMFRAME_ERROR_DEVICE` if the system cannot
 *   start a
 *   thread. The engine can be used again, unless the session could not be started.
 *
 * @param[in]  engine      from `dreamframe_engine_create()`
 * @param[in]  options     initialized with `DREAMFRAME_SERVER_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_server  the new server
 */
dreamframe_status_t dreamframe_server_start(dreamframe_engine_t *engine,
                                            const dreamframe_server_options_t *options,
                                            dreamframe_server_t **out_server);

/**
 * Ends all connections and the session, and returns the engine.
 *
 * - Threads: any thread, but not inside a callback.
 * - Ownership: the server must still be freed. The engine can be used again.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` for a server that was stopped;
 *   `DREAMFRAME_ERROR_TIMEOUT` if frames take longer: the session then ends in the background, with its engine;
 *   `DREAMFRAME_ERROR_INTERNAL` if the engine panicked.
 *
 * @param[in]  server      from `dreamframe_server_start()`
 * @param[in]  timeout_ms  timeout for the session, in milliseconds; ending connections takes a few seconds more
 */
dreamframe_status_t dreamframe_server_stop(dreamframe_server_t *server, uint64_t timeout_ms);

/**
 * Frees a server. NULL or a handle that was freed has no effect. A running server ends its connections, within a few
 * seconds, and its session after the current frame; its engine is freed with it.
 *
 * - Threads: any thread, but not inside a callback.
 * - Ownership: the handle is invalid afterwards. Sessions from `dreamframe_server_session()` must still be freed.
 */
void dreamframe_server_free(dreamframe_server_t *server);

/**
 * Returns the URL to publish to.
 *
 * - Threads: any thread.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  server   from `dreamframe_server_start()`
 * @param[out] out_url  such as `http://127.0.0.1:8080/whip`
 */
dreamframe_status_t dreamframe_server_whip_url(dreamframe_server_t *server, char **out_url);

/**
 * Returns the URL to play from.
 *
 * - Threads: any thread.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  server   from `dreamframe_server_start()`
 * @param[out] out_url  such as `http://127.0.0.1:8080/whep`
 */
dreamframe_status_t dreamframe_server_whep_url(dreamframe_server_t *server, char **out_url);

/**
 * Returns the TCP port that the server listens on, or listened on before it was stopped.
 *
 * - Threads: any thread.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  server    from `dreamframe_server_start()`
 * @param[out] out_port  1 to 65535
 */
dreamframe_status_t dreamframe_server_port(dreamframe_server_t *server, uint32_t *out_port);

/**
 * Returns the server's session: for its parameters and statistics; for submitting frames of the host, with
 * `timestamp_ns` 0, with or without a publisher; and for pictures, which can be polled in addition to being sent to
 * viewers. Its events are sent to the data channels of all clients. `dreamframe_session_stop()` and
 * `dreamframe_session_wait()` return an error: only the server ends it, and it behaves as if it had an `on_picture`.
 * Each call returns a new handle of the same session.
 *
 * - Threads: any thread.
 * - Ownership: free the session with `dreamframe_session_free()`, before or after the server; this does not end the session.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  server       from `dreamframe_server_start()`
 * @param[out] out_session  the session, which ends with the server
 */
dreamframe_status_t dreamframe_server_session(dreamframe_server_t *server,
                                              dreamframe_session_t **out_session);

/**
 * Returns the number of viewers, including those that are connecting.
 *
 * - Threads: any thread.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` for a server that was stopped.
 *
 * @param[in]  server       from `dreamframe_server_start()`
 * @param[out] out_viewers  the number
 */
dreamframe_status_t dreamframe_server_viewers(dreamframe_server_t *server, uint32_t *out_viewers);

/**
 * Returns whether there is a publisher, including one that is connecting.
 *
 * - Threads: any thread.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` for a server that was stopped.
 *
 * @param[in]  server          from `dreamframe_server_start()`
 * @param[out] out_publishing  true if there is one
 */
dreamframe_status_t dreamframe_server_is_publishing(dreamframe_server_t *server, bool *out_publishing);

/**
 * Returns the version of the library, such as `"1.2.3"`; compare with `DREAMFRAME_VERSION`.
 *
 * - Threads: any thread.
 * - Ownership: the text is static; never free it.
 */
const char *dreamframe_version(void);

/**
 * Returns the version of the library's binary interface. A host must not use a library whose version is below its
 * `DREAMFRAME_ABI_VERSION`.
 *
 * - Threads: any thread.
 */
uint32_t dreamframe_abi_version(void);

/**
 * Returns how the library was built, as JSON: `version`, `abi_version`, `features`, `debug`, `architecture`, `system`.
 * Servers, publishers and players need the feature `transport`, downloads the feature `hub`.
 *
 * - Threads: any thread.
 * - Ownership: the text is static; never free it.
 */
const char *dreamframe_build_info(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DREAMFRAME_H */
