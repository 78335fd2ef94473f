/*
 * dreamframe: a frame goes in, a restyled picture comes out, many times a second.
 *
 * Written by `cargo xtask header` from ffi/src; do not edit.
 *
 * Order of calls, on the host's own thread:
 *
 *   dreamframe_engine_create   once; slow: it loads the models
 *   dreamframe_engine_process  for each frame
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
 * Rules that hold everywhere:
 *
 * - Arguments come in this order: object, inputs, outputs. Outputs are written on DREAMFRAME_OK only.
 * - Structs begin with `struct_size`; begin with their DREAMFRAME_..._INIT macro. Fields are only ever added at the end.
 * - Objects are handles, not addresses. NULL, an object of another kind and one that was freed give
 *   DREAMFRAME_ERROR_INVALID_ARGUMENT, whatever came after it.
 * - Parameters are JSON, with the names, ranges and defaults that docs/parameters.md lists.
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
 * The version of the binary interface: it grows with each addition, and a host needs at least that of its header.
 */
#define DREAMFRAME_ABI_VERSION 1

/**
 * How guidance is worked out where `guidance_scale` is above 1.
 */
typedef enum {
  /**
   * Not at all.
   */
  DREAMFRAME_CFG_TYPE_NONE = 1,
  /**
   * By residual guidance from the stream itself.
   */
  DREAMFRAME_CFG_TYPE_SELF = 2,
  /**
   * By running the negative prompt with every row.
   */
  DREAMFRAME_CFG_TYPE_FULL = 3,
  /**
   * By residual guidance that the negative prompt begins.
   */
  DREAMFRAME_CFG_TYPE_INITIALIZE = 4,
} dreamframe_cfg_type_t;

/**
 * Whose control image each row of the stream is given.
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
   * Numbers are swapped between two frames.
   */
  DREAMFRAME_COST_HOT = 1,
  /**
   * Loaded networks work something out first.
   */
  DREAMFRAME_COST_RECOMPUTE = 2,
  /**
   * A further network is loaded, while frames are processed.
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
   * 16 bits with the range of 32; needs a processor that multiplies it.
   */
  DREAMFRAME_DTYPE_BF16 = 2,
  /**
   * 8-bit integers, which need a calibration in the model's folder.
   */
  DREAMFRAME_DTYPE_INT8 = 3,
  /**
   * 16 bits, 5 of them of the exponent. Not on the CPU.
   */
  DREAMFRAME_DTYPE_F16 = 4,
} dreamframe_dtype_t;

/**
 * What runs the networks.
 */
typedef enum {
  /**
   * The library's own kernels.
   */
  DREAMFRAME_EXECUTOR_CPU = 1,
  /**
   * One operation at a time: slow, and obviously right. Refused as unsupported by libraries that are built without
   * it.
   */
  DREAMFRAME_EXECUTOR_REFERENCE = 2,
} dreamframe_executor_t;

/**
 * What a session returns for a frame that failed, besides the event.
 */
typedef enum {
  /**
   * The last picture comes again, so that pictures keep the pace of frames.
   */
  DREAMFRAME_FAILED_FRAME_REPEAT = 1,
  /**
   * No picture comes.
   */
  DREAMFRAME_FAILED_FRAME_SKIP = 2,
} dreamframe_failed_frame_t;

/**
 * How a frame of another shape is brought to the stream's size.
 */
typedef enum {
  /**
   * Fills the image and cuts off what stands over.
   */
  DREAMFRAME_FIT_COVER = 1,
  /**
   * Shows the whole frame, with black bars.
   */
  DREAMFRAME_FIT_FIT = 2,
  /**
   * Fills the image with the whole frame, whatever that does to its proportions.
   */
  DREAMFRAME_FIT_STRETCH = 3,
} dreamframe_fit_t;

/**
 * What is shown in the place of a picture that the safety checker flags.
 */
typedef enum {
  /**
   * The last picture that was not flagged; black, where there is none.
   */
  DREAMFRAME_FLAGGED_PREVIOUS = 1,
  /**
   * Black.
   */
  DREAMFRAME_FLAGGED_BLACK = 2,
} dreamframe_flagged_t;

/**
 * Log level.
 */
typedef enum {
  /**
   * A session ends.
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
   * Every frame.
   */
  DREAMFRAME_LOG_LEVEL_TRACE = 5,
} dreamframe_log_level_t;

/**
 * What turns seeds into noise.
 */
typedef enum {
  /**
   * Counter-based; what torch does on a GPU.
   */
  DREAMFRAME_NOISE_PHILOX = 1,
  /**
   * What torch does on a processor.
   */
  DREAMFRAME_NOISE_TORCH_CPU = 2,
} dreamframe_noise_t;

/**
 * Which row of a frame comes first in memory.
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
 * How an update ended that was not rejected.
 */
typedef enum {
  /**
   * It counts.
   */
  DREAMFRAME_OUTCOME_APPLIED = 1,
  /**
   * Later updates change all that it changed, so it was left out.
   */
  DREAMFRAME_OUTCOME_SUPERSEDED = 2,
} dreamframe_outcome_t;

/**
 * How far a publisher or a player is.
 */
typedef enum {
  /**
   * Its first connection is being made, however often it tries.
   */
  DREAMFRAME_PEER_STATE_CONNECTING = 1,
  /**
   * A connection is up.
   */
  DREAMFRAME_PEER_STATE_CONNECTED = 2,
  /**
   * A connection was lost, and the next is being made.
   */
  DREAMFRAME_PEER_STATE_DISCONNECTED = 3,
  /**
   * It has given up, as after an answer that another attempt would not change.
   */
  DREAMFRAME_PEER_STATE_FAILED = 4,
  /**
   * It was stopped.
   */
  DREAMFRAME_PEER_STATE_CLOSED = 5,
} dreamframe_peer_state_t;

/**
 * How a picture came about.
 */
typedef enum {
  /**
   * Restyled.
   */
  DREAMFRAME_PICTURE_KIND_NEW = 1,
  /**
   * The last picture again.
   */
  DREAMFRAME_PICTURE_KIND_REPEATED = 2,
  /**
   * Another one in the place of a picture that the safety checker flagged.
   */
  DREAMFRAME_PICTURE_KIND_FLAGGED = 3,
  /**
   * The frame itself, because the parameter `skip_diffusion` is on.
   */
  DREAMFRAME_PICTURE_KIND_PASSED = 4,
} dreamframe_picture_kind_t;

/**
 * How the pixels of a `dreamframe_frame_t` lie in memory. Zero is no format, so that a zeroed frame is refused.
 */
typedef enum {
  /**
   * Four bytes a pixel: red, green, blue, alpha; alpha is not premultiplied, ignored going in and 255 coming out.
   */
  DREAMFRAME_PIXEL_FORMAT_RGBA8 = 1,
  /**
   * Four bytes a pixel: blue, green, red, alpha, as above.
   */
  DREAMFRAME_PIXEL_FORMAT_BGRA8 = 2,
  /**
   * Three bytes a pixel: red, green, blue.
   */
  DREAMFRAME_PIXEL_FORMAT_RGB8 = 3,
  /**
   * Four half-precision numbers a pixel: red, green, blue, alpha in 0 to 1, coded as the 8-bit formats are.
   */
  DREAMFRAME_PIXEL_FORMAT_RGBA16F = 4,
  /**
   * Two planes: a byte of luma a pixel, then pairs of Cb and Cr at half the width and height, rounded up.
   */
  DREAMFRAME_PIXEL_FORMAT_NV12 = 5,
  /**
   * Three planes: a byte of luma a pixel, then Cb, then Cr at half the width and height, rounded up.
   */
  DREAMFRAME_PIXEL_FORMAT_I420 = 6,
} dreamframe_pixel_format_t;

/**
 * What a style callback is asked for.
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
 * An engine: parameters, models and the state of one stream. One call at a time; any thread may make it.
 */
typedef struct dreamframe_engine_t dreamframe_engine_t;

/**
 * A player. Its functions may be called from any thread, also at the same time.
 *
 * It reconnects whenever the connection is lost, until it is stopped.
 */
typedef struct dreamframe_player_t dreamframe_player_t;

/**
 * A publisher. Its functions may be called from any thread, also at the same time.
 *
 * It reconnects whenever the connection is lost, until it is stopped.
 */
typedef struct dreamframe_publisher_t dreamframe_publisher_t;

/**
 * Where an answer of the host to a question of the library goes; there only while the question is asked.
 */
typedef struct dreamframe_reply_t dreamframe_reply_t;

/**
 * A server of one session: one publisher at a time sends frames by WHIP, and viewers receive pictures by WHEP.
 * Its functions may be called from any thread, also at the same time.
 */
typedef struct dreamframe_server_t dreamframe_server_t;

/**
 * A session. Its functions may be called from any thread, also at the same time, unless they say otherwise.
 */
typedef struct dreamframe_session_t dreamframe_session_t;

/**
 * What a fallible call came to.
 *
 * `DREAMFRAME_OK` is the only success. Any other value leaves every output argument as it was. A negative value is an
 * error: `dreamframe_last_error()` says more. A positive value is none: there is nothing to give yet.
 * Values are never renumbered; later versions may add some, so treat an unknown negative value as an error.
 */
typedef int32_t dreamframe_status_t;

/**
 * Takes a line of the log.
 *
 * - Threads: called on the thread of a call of the host, and on those of sessions; never twice at a time for one engine.
 *   Must not wait for another call of the library.
 * - Ownership: the texts are valid during the call.
 *
 * @param user_data  that of the options
 * @param level      a `dreamframe_log_level_t`
 * @param target     which part of the library
 * @param message    one line
 */
typedef void (*dreamframe_log_callback_t)(void *user_data, uint32_t level, const char *target, const char *message);

/**
 * Hears how loading goes, and may stop it.
 *
 * - Threads: called on the thread that loads: that of `dreamframe_engine_create()` or `dreamframe_engine_update()`, or one
 *   of a session; never twice at a time for one engine.
 * - Ownership: the text is valid during the call.
 *
 * @param user_data  that of the options
 * @param component  the network, such as `UNet2DConditionModel`
 * @param done       how many of its weights are ready
 * @param total      how many it has
 *
 * Returns 0 to continue; any other value ends loading with `DREAMFRAME_ERROR_CANCELLED`, and nothing has changed then.
 */
typedef int32_t (*dreamframe_progress_callback_t)(void *user_data, const char *component, uint64_t done, uint64_t total);

/**
 * Brings what `ip_adapter_style_image_url` names and the library, which has no network, cannot read by itself.
 *
 * The answer is given through `reply` before the callback returns, by `dreamframe_reply_bytes()`,
 * `dreamframe_reply_floats()` or `dreamframe_reply_error()`. Without an answer the update is refused.
 *
 * - Threads: called on the thread that makes the update ready, never while it works on a frame; never twice at a time for
 *   one engine.
 * - Ownership: text and reply are valid during the call.
 *
 * @param user_data  that of the options
 * @param wanted     a `dreamframe_style_t`
 * @param source     an http(s) URL; for a face, the whole text of the parameter
 * @param reply      takes the answer
 */
typedef void (*dreamframe_style_callback_t)(void *user_data,
                                            uint32_t wanted,
                                            const char *source,
                                            dreamframe_reply_t *reply);

/**
 * What a host chooses once, when it creates an engine. Begin with `DREAMFRAME_OPTIONS_INIT`: zeros and NULLs are
 * defaults.
 *
 * Texts are UTF-8 and only read during `dreamframe_engine_create()`. The callbacks may be called until
 * `dreamframe_engine_free()` returns, and that of each session of the engine.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Where models come from: a folder, or `"demo"` (and NULL) for the model in the library.
   */
  const char *models;
  /**
   * The first parameters as JSON, with Daydream's defaults for what is missing; NULL for those of the demo model.
   */
  const char *params_json;
  /**
   * A `dreamframe_executor_t`; 0 for the library's own kernels.
   */
  uint32_t executor;
  /**
   * A `dreamframe_dtype_t`; 0 for the fastest one of the machine without a visible loss.
   */
  uint32_t dtype;
  /**
   * A `dreamframe_cfg_type_t`; 0 for `self`.
   */
  uint32_t cfg_type;
  /**
   * A `dreamframe_noise_t`; 0 for Philox.
   */
  uint32_t noise;
  /**
   * Threads that work on a frame; 0 for all of the machine's.
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
   * The id of an autoencoder in place of the model's own; NULL for none.
   */
  const char *vae;
  /**
   * The id of an IP-Adapter in place of the published one; NULL for none.
   */
  const char *ip_adapter;
  /**
   * Where packed weights are stored: `"beside"` for the model's folder (the default, as NULL), `"off"`, or a folder.
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
   * Given back to each of these callbacks.
   */
  void *user_data;
} dreamframe_options_t;

/**
 * What a `dreamframe_options_t` begins with.
 */
#define DREAMFRAME_OPTIONS_INIT {sizeof(dreamframe_options_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * Pixels in memory that the host owns: a frame going in, or room for a picture coming out.
 *
 * Begin with `DREAMFRAME_FRAME_INIT`: it sets `struct_size`, by which the library knows which fields this header had.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Pixels in a row, 1 to 8192.
   */
  uint32_t width;
  /**
   * Rows, 1 to 8192.
   */
  uint32_t height;
  /**
   * A `dreamframe_pixel_format_t`.
   */
  uint32_t format;
  /**
   * Which row comes first: a `dreamframe_origin_t`, or 0 for the top row.
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
   * The first byte of each plane that the format has; the others are ignored. Planes of a frame are only read.
   */
  uint8_t *planes[4];
  /**
   * Bytes from the start of a row to the start of the next, in each plane.
   */
  size_t strides[4];
  /**
   * When the frame was taken, in nanoseconds on the host's own clock; comes back with its picture.
   */
  uint64_t timestamp_ns;
  /**
   * Whatever the host marks the frame with; comes back with its picture.
   */
  uint64_t user_tag;
} dreamframe_frame_t;

/**
 * What a `dreamframe_frame_t` begins with.
 */
#define DREAMFRAME_FRAME_INIT {sizeof(dreamframe_frame_t), 0, 0, 0, 0, 0, 0, {0, 0, 0, 0}, {0, 0, 0, 0}, 0, 0}

/**
 * How a picture was made: all but its pixels. Begin with `DREAMFRAME_PICTURE_INFO_INIT`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The frame with which the picture came out.
   */
  uint64_t id;
  /**
   * The frame that it was made from.
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
   * The version of the parameters that it was made with: the newest update applied, 0 before the first.
   */
  uint64_t version;
  /**
   * How it came about: a `dreamframe_picture_kind_t`.
   */
  uint32_t kind;
  /**
   * Pixels in a row of the picture.
   */
  uint32_t width;
  /**
   * Rows of the picture.
   */
  uint32_t height;
  /**
   * Always 0.
   */
  uint32_t reserved;
  /**
   * Microseconds from pixels to numbers, with the processors before the encoder.
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
   * Microseconds from numbers to pixels, with the processors after the decoder.
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
 * Takes a picture as soon as it is ready.
 *
 * - Threads: called on the session's thread, one picture at a time. It must be quick, since the next frame waits for it,
 *   and must not call `dreamframe_session_stop()`; other functions of the session are fine.
 * - Ownership: picture and info are valid during the call, and only read.
 *
 * @param user_data  that of the session's options
 * @param picture    the pixels; NULL where another thread has polled them already
 * @param info       how the picture was made
 */
typedef void (*dreamframe_picture_callback_t)(void *user_data,
                                              const dreamframe_frame_t *picture,
                                              const dreamframe_picture_info_t *info);

/**
 * What a host chooses when it starts a session. Begin with `DREAMFRAME_SESSION_OPTIONS_INIT`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Takes pictures as soon as they are ready; NULL for a host that polls.
   */
  dreamframe_picture_callback_t on_picture;
  /**
   * Given back to `on_picture`.
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
 * What a session has done so far, and does now. Begin with `DREAMFRAME_STATS_INIT`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Frames that came in.
   */
  uint64_t submitted;
  /**
   * Frames that a newer one replaced before they were worked on.
   */
  uint64_t dropped;
  /**
   * Frames that were restyled.
   */
  uint64_t computed;
  /**
   * Frames that the similar-image filter skipped.
   */
  uint64_t skipped;
  /**
   * Frames that went through unchanged.
   */
  uint64_t passed;
  /**
   * Frames for which the last picture was given again.
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
   * Events discarded because they were not taken in time.
   */
  uint64_t lost_events;
  /**
   * The version of the parameters last accepted.
   */
  uint64_t desired_version;
  /**
   * The newest version applied.
   */
  uint64_t active_version;
  /**
   * Frames that came in, in a second.
   */
  double submitted_per_second;
  /**
   * Frames that were restyled, in a second.
   */
  double computed_per_second;
  /**
   * Half of the newest restyled frames took at most this, in microseconds; 0 before the first.
   */
  double frame_median_us;
  /**
   * 95 of 100 took at most this.
   */
  double frame_p95_us;
  /**
   * Frames that wait: 0 or 1.
   */
  uint32_t waiting_frames;
  /**
   * Updates that wait or are made ready, without those that load something.
   */
  uint32_t waiting_updates;
  /**
   * Updates that load something, and wait or are made ready.
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
#define DREAMFRAME_STATS_INIT {sizeof(dreamframe_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * How connections reach the network. Begin with `DREAMFRAME_NETWORK_OPTIONS_INIT`: zeros and NULLs are defaults.
 *
 * Texts are only read during the call that takes it.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The IP addresses to receive at, with commas between them; an unspecified one stands for every interface but
   * loopback. NULL for `"0.0.0.0,127.0.0.1"`.
   */
  const char *bind;
  /**
   * The IP address to tell peers before those bound, where a NAT maps it to this machine port by port; NULL for
   * none.
   */
  const char *public_ip;
  /**
   * STUN and TURN servers to ask for further addresses, as JSON in the form that browsers take: `[{"urls":
   * ["turn:host:3478"], "username": "…", "credential": "…"}]`, the latter two for TURN only, of which viewers are
   * not reported. In place of them, `"secret": "…"` is shared with the TURN server (coturn's `static-auth-secret`),
   * and each peer gets a user name and a password made with it that hold for an hour. NULL for none.
   */
  const char *ice_servers_json;
  /**
   * The first UDP port to use, 1 to 65535; 0, here and in `last_port`, leaves the choice to the system.
   */
  uint32_t first_port;
  /**
   * The last UDP port to use, `first_port` to 65535. Each connection needs one for each address.
   */
  uint32_t last_port;
  /**
   * How long a connection may take to come about before it has failed, in milliseconds; 0 for 15 s.
   */
  uint32_t connect_timeout_ms;
  /**
   * Always 0.
   */
  uint32_t reserved;
} dreamframe_network_options_t;

/**
 * What a `dreamframe_network_options_t` begins with.
 */
#define DREAMFRAME_NETWORK_OPTIONS_INIT {sizeof(dreamframe_network_options_t), 0, 0, 0, 0, 0, 0, 0}

/**
 * What a host chooses when it starts a player. Begin with `DREAMFRAME_PLAYER_OPTIONS_INIT`: zeros and NULLs are defaults.
 *
 * Texts are UTF-8 and only read during `dreamframe_player_start()`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The bearer token, for the server whose address is given and for no other; NULL for none.
   */
  const char *token;
  /**
   * How connections reach the network; NULL for the defaults.
   */
  const dreamframe_network_options_t *network;
  /**
   * The session that the pictures are submitted to as its frames, as they are decoded; NULL for a host that polls them.
   * The host still owns it, and may stop and free it while the player runs.
   */
  dreamframe_session_t *session;
  /**
   * After how many failed attempts in a row it gives up; 0 for never.
   */
  uint32_t attempts;
  /**
   * How long to wait before the second attempt in a row, in milliseconds; doubles with each further one, up to 30 s. 0 for
   * 1 s.
   */
  uint32_t pause_ms;
  /**
   * How long a request may take, in milliseconds; 0 for 10 s.
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
 * What a publisher or a player has done, in numbers. Begin with `DREAMFRAME_CONNECTION_STATS_INIT`.
 *
 * Of the connection that is up: zeros while there is none, except where a line says otherwise.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Bytes of media that a publisher sent or a player received.
   */
  uint64_t bytes;
  /**
   * Packets of media that a publisher sent or a player received.
   */
  uint64_t packets;
  /**
   * Packets that a player should have received and never did; 0 for a publisher.
   */
  uint64_t lost_packets;
  /**
   * Pictures that a publisher encoded since it was started, or that a player decoded.
   */
  uint64_t pictures;
  /**
   * Pictures that newer ones replaced on their way, or that the encoder left out to keep to the bitrate; a
   * publisher's since it was started.
   */
  uint64_t dropped;
  /**
   * Pictures that could not be encoded or decoded; a publisher's since it was started.
   */
  uint64_t failed;
  /**
   * Key frames that the server asked a publisher for, or a player the server.
   */
  uint64_t key_frame_requests;
  /**
   * The time to the server and back, in microseconds; 0 before it was measured.
   */
  uint64_t round_trip_us;
  /**
   * How much the delay of a player's packets varies, in microseconds; 0 for a publisher.
   */
  uint64_t jitter_us;
  /**
   * Pictures encoded or decoded, in a second.
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
 * What a host chooses when it starts a publisher. Begin with `DREAMFRAME_PUBLISHER_OPTIONS_INIT`: zeros and NULLs are
 * defaults.
 *
 * Texts are UTF-8 and only read during `dreamframe_publisher_start()`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * The bearer token, for the server whose address is given and for no other; NULL for none.
   */
  const char *token;
  /**
   * How connections reach the network; NULL for the defaults.
   */
  const dreamframe_network_options_t *network;
  /**
   * After how many failed attempts in a row it gives up; 0 for never.
   */
  uint32_t attempts;
  /**
   * How long to wait before the second attempt in a row, in milliseconds; doubles with each further one, up to 30 s. 0 for
   * 1 s.
   */
  uint32_t pause_ms;
  /**
   * How long a request may take, in milliseconds; 0 for 10 s.
   */
  uint32_t request_timeout_ms;
  /**
   * Bits in a second that the encoder aims at; 0 for 3,000,000.
   */
  uint32_t bitrate;
  /**
   * Pictures in a second that are hardly ever exceeded, by which the encoder plans its bits until it has seen some; 0 for 30.
   */
  float frame_rate;
  /**
   * The interval of key frames without requests, in milliseconds; 0 for 10 s.
   */
  uint32_t key_frame_interval_ms;
} dreamframe_publisher_options_t;

/**
 * What a `dreamframe_publisher_options_t` begins with.
 */
#define DREAMFRAME_PUBLISHER_OPTIONS_INIT {sizeof(dreamframe_publisher_options_t), 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * What a host chooses when it starts a server. Begin with `DREAMFRAME_SERVER_OPTIONS_INIT`: zeros and NULLs are defaults.
 *
 * Texts are UTF-8 and only read during `dreamframe_server_start()`.
 */
typedef struct {
  /**
   * The size of this struct in bytes.
   */
  size_t struct_size;
  /**
   * Where to listen: an IP address and a port; NULL for `"127.0.0.1:8080"`. Port 0 leaves the choice to the system. An
   * address that other machines reach needs a `token`.
   */
  const char *address;
  /**
   * What publishers and viewers must know, as `Authorization: Bearer <token>`; NULL for nothing.
   */
  const char *token;
  /**
   * The address that clients know the server by, such as `"https://host"`, where it is behind a proxy that does not say;
   * NULL for the one that a request was made to.
   */
  const char *public_url;
  /**
   * How connections reach the network; NULL for the defaults.
   */
  const dreamframe_network_options_t *network;
  /**
   * How many viewers there may be at once; 0 for 32.
   */
  uint32_t max_viewers;
  /**
   * Bits in a second that the encoder aims at; 0 for 3,000,000.
   */
  uint32_t bitrate;
  /**
   * Pictures in a second that are hardly ever exceeded, by which the encoder plans its bits until it has seen some; 0 for 30.
   */
  float frame_rate;
  /**
   * The interval of key frames without requests, in milliseconds; 0 for 10 s.
   */
  uint32_t key_frame_interval_ms;
  /**
   * The origins whose pages may use a server without a `token`, with commas between, such as
   * `"https://app.example,http://10.0.0.5:3000"`, besides those of this machine and of `public_url`; NULL for no others.
   * With a token pages of every origin may, if they know it.
   */
  const char *allow_origins;
} dreamframe_server_options_t;

/**
 * What a `dreamframe_server_options_t` begins with.
 */
#define DREAMFRAME_SERVER_OPTIONS_INIT {sizeof(dreamframe_server_options_t), 0, 0, 0, 0, 0, 0, 0, 0, 0}

/**
 * It is done, and the output arguments are written.
 */
#define DREAMFRAME_OK 0

/**
 * No error: there is no picture, or no event, yet.
 */
#define DREAMFRAME_NOT_READY 1

/**
 * The call is wrong in itself (NULL, a freed object, `struct_size`, state): correct the call.
 */
#define DREAMFRAME_ERROR_INVALID_ARGUMENT -1

/**
 * Parameters break a rule: correct the values that `dreamframe_last_error_json()` lists.
 */
#define DREAMFRAME_ERROR_INVALID_PARAMS -2

/**
 * A frame's size, format or strides do not fit: correct them.
 */
#define DREAMFRAME_ERROR_INVALID_FRAME -3

/**
 * A model or file is not there: bring it.
 */
#define DREAMFRAME_ERROR_NOT_FOUND -4

/**
 * A model's file is broken, or its names or shapes do not fit: replace the file.
 */
#define DREAMFRAME_ERROR_BAD_MODEL -5

/**
 * Not built in, or not built yet: use another build, or ask for less.
 */
#define DREAMFRAME_ERROR_UNSUPPORTED -6

/**
 * Too little memory: a smaller size, fewer networks.
 */
#define DREAMFRAME_ERROR_OUT_OF_MEMORY -7

/**
 * The device failed: look at the driver; a retry may help.
 */
#define DREAMFRAME_ERROR_DEVICE -8

/**
 * The session has ended: stop using it.
 */
#define DREAMFRAME_ERROR_CLOSED -9

/**
 * It took too long; the caller may wait longer, or continue without it.
 */
#define DREAMFRAME_ERROR_TIMEOUT -10

/**
 * Reading or writing failed: look at the path in the message.
 */
#define DREAMFRAME_ERROR_IO -11

/**
 * The progress callback asked for it to stop, and nothing has changed.
 */
#define DREAMFRAME_ERROR_CANCELLED -12

/**
 * A bug of this library, such as a caught panic: report it.
 */
#define DREAMFRAME_ERROR_INTERNAL -99

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Creates an engine: loads the models and gets everything ready for the first frame. Slow; `progress` may stop it.
 *
 * - Threads: any thread.
 * - Ownership: nothing of `options` is kept but the callbacks and their `user_data`. The engine is the host's, who frees
 *   it with `dreamframe_engine_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size` or an option that cannot be;
 *   `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation; `DREAMFRAME_ERROR_NOT_FOUND`, `_BAD_MODEL`, `_UNSUPPORTED`,
 *   `_OUT_OF_MEMORY`, `_IO`, `_CANCELLED`.
 *
 * @param[in]  options     begun with `DREAMFRAME_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_engine  the new engine
 */
dreamframe_status_t dreamframe_engine_create(const dreamframe_options_t *options,
                                             dreamframe_engine_t **out_engine);

/**
 * Frees an engine. NULL or a handle that was freed has no effect. A session that was started from it keeps running
 * until the session is freed.
 *
 * - Threads: any thread, but not while another call uses the engine: that call then ends first. From within a function of
 *   the host, be it of another object, the engine's own functions are waited for no longer than 5 seconds.
 * - Ownership: the engine is gone. When the call returns, its callbacks are called no more, but for those of its session
 *   and one that was waited for in vain from within another function of the host.
 */
void dreamframe_engine_free(dreamframe_engine_t *engine);

/**
 * Works on one frame and writes the picture of the frame `delay` calls ago into the host's memory.
 *
 * - Threads: one call at a time per object.
 * - Ownership: both frames stay the host's; the library keeps no pointer into them. They must not overlap.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an engine that is in use or in a session;
 *   `DREAMFRAME_ERROR_INVALID_FRAME` for what does not fit; errors of the device. The engine continues with the next
 *   frame; the pixels of `room` may then hold anything.
 *
 * @param[in]  engine    from `dreamframe_engine_create()`
 * @param[in]  frame     the frame, of any size and format
 * @param[in]  room      where the picture goes: of `dreamframe_engine_size()`, in any format
 * @param[out] out_info  how the picture was made; may be NULL
 */
dreamframe_status_t dreamframe_engine_process(dreamframe_engine_t *engine,
                                              const dreamframe_frame_t *frame,
                                              const dreamframe_frame_t *room,
                                              dreamframe_picture_info_t *out_info);

/**
 * Changes parameters before the next frame: whole, or on an error not at all. Slow where something is loaded.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the text is only read; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation;
 *   `DREAMFRAME_ERROR_NOT_FOUND`, `_BAD_MODEL`, `_UNSUPPORTED`, `_OUT_OF_MEMORY`, `_CANCELLED`. Nothing has changed then.
 *
 * @param[in]  engine      from `dreamframe_engine_create()`
 * @param[in]  patch_json  an object with the parameters to change
 * @param[out] out_cost    a `dreamframe_cost_t`, or 0 where nothing changed; may be NULL
 * @param[out] out_report  `{"cost": "hot", "changes": […], "notices": […]}`; may be NULL
 */
dreamframe_status_t dreamframe_engine_update(dreamframe_engine_t *engine,
                                             const char *patch_json,
                                             uint32_t *out_cost,
                                             char **out_report);

/**
 * Returns what `dreamframe_engine_update()` would change, and the cost; changes nothing. Quick.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the text is only read; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
 *
 * @param[in]  engine      from `dreamframe_engine_create()`
 * @param[in]  patch_json  an object with the parameters to change
 * @param[out] out_cost    a `dreamframe_cost_t`, or 0 where nothing changes; may be NULL
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
 * - Ownership: the text is only read; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, also for a text that is no transition; `DREAMFRAME_ERROR_INVALID_PARAMS`
 *   for prompts that cannot be. Nothing has changed then.
 *
 * @param[in]  engine           from `dreamframe_engine_create()` @param[in]  transition_json  `{"target_prompts":
 * "snow", "num_steps": 4, "temporal_interpolation_method": "linear"}`,
 *                              of which the first is needed; prompts as the parameter `prompt` has them
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
 * @param[out] out_width   pixels in a row
 * @param[out] out_height  rows
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
 * Returns a description of the engine, as JSON: `model`, `device`, `executor`, `dtype`, `threads`,
 * `evaluations_per_frame`, and `notices` on what was accepted at the start and means something else here.
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
 * Describes pixels whose rows and planes follow each other without a gap: fills in size, format, planes and strides, and
 * zeros for the rest.
 *
 * - Threads: any thread.
 * - Ownership: the pixels stay the host's; the frame points to them.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME` for a
 *   format that is none, a side outside 1 to 8192, or less than the pixels need.
 *
 * @param[in]  format     a `dreamframe_pixel_format_t`
 * @param[in]  width      pixels in a row
 * @param[in]  height     rows
 * @param[in]  pixels     the first byte
 * @param[in]  len        bytes that there are
 * @param[out] out_frame  begun with `DREAMFRAME_FRAME_INIT`
 */
dreamframe_status_t dreamframe_frame_packed(uint32_t format,
                                            uint32_t width,
                                            uint32_t height,
                                            uint8_t *pixels,
                                            size_t len,
                                            dreamframe_frame_t *out_frame);

/**
 * Returns the message of the last error on this thread, with the value and the bound: one line without a full stop.
 * An empty text where none has failed; calls that succeed leave it as it is.
 *
 * - Threads: any thread; each has its own.
 * - Ownership: the text belongs to the library, and is valid until the next call of this thread that fails.
 */
const char *dreamframe_last_error(void);

/**
 * Returns the last error on this thread as JSON: `{"kind": "invalid_params", "message": "…", "violations": [{"path": "…", "message": "…"}]}`,
 * with every violation of parameters that were refused. An empty text where no call has failed.
 *
 * - Threads: any thread; each has its own.
 * - Ownership: the text belongs to the library, and is valid until the next call of this thread that fails.
 */
const char *dreamframe_last_error_json(void);

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
 * Returns the JSON Schema of the parameters: names, types, ranges, defaults, and the cost of a change of each.
 *
 * - Threads: any thread.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[out] out_json  the schema
 */
dreamframe_status_t dreamframe_params_schema(char **out_json);

/**
 * Checks parameters without an engine: a model may still refuse them.
 *
 * - Threads: any thread.
 * - Ownership: the text is only read; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
 *
 * @param[in]  params_json  an object with some of the parameters; what is missing has Daydream's default
 * @param[out] out_report   `{"params": {…}, "notices": […]}` with every field; may be NULL
 */
dreamframe_status_t dreamframe_params_check(const char *params_json, char **out_report);

/**
 * Puts a change onto parameters, without an engine: a model may still refuse them.
 *
 * - Threads: any thread.
 * - Ownership: the texts are only read; free the result with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
 *
 * @param[in]  base_json   parameters, as `dreamframe_params_check()` takes them; NULL for those of the demo model
 * @param[in]  patch_json  an object with the parameters to change
 * @param[out] out_json    the parameters with every field
 */
dreamframe_status_t dreamframe_params_merge(const char *base_json, const char *patch_json, char **out_json);

/**
 * Starts a session: moves the engine to a thread of its own, until `dreamframe_session_stop()` returns it.
 *
 * - Threads: one call at a time per object.
 * - Ownership: the engine stays the host's, to be freed by it, but is in the session until that is stopped. The session is
 *   the host's, who frees it with `dreamframe_session_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an engine that is in use or in a session;
 *   `DREAMFRAME_ERROR_DEVICE` if the system cannot start a thread; the engine is then freed.
 *
 * @param[in]  engine       from `dreamframe_engine_create()`
 * @param[in]  options      begun with `DREAMFRAME_SESSION_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_session  the new session
 */
dreamframe_status_t dreamframe_session_start(dreamframe_engine_t *engine,
                                             const dreamframe_session_options_t *options,
                                             dreamframe_session_t **out_session);

/**
 * Stops a session and returns the engine. A waiting frame is still processed, and prepared updates are
 * applied. When the call returns, `on_picture` is not called again; pictures that were not taken can still be polled.
 *
 * - Threads: any thread but the session's own: never from `on_picture`.
 * - Ownership: the session is still to be freed. The engine can be used again.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, from `on_picture`, and for the session of a server;
 *   `DREAMFRAME_ERROR_CLOSED` for a session that was stopped; `DREAMFRAME_ERROR_TIMEOUT` where frames
 *   or `on_picture` take longer: the session then ends by itself, with its engine, and `on_picture` is not called again;
 *   `DREAMFRAME_ERROR_INTERNAL` where the engine panicked.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[in]  timeout_ms  how long to wait at most, in milliseconds
 */
dreamframe_status_t dreamframe_session_stop(dreamframe_session_t *session,
                                            uint64_t timeout_ms);

/**
 * Frees a session. NULL or a handle that was freed has no effect. One that runs ends with the frame that it works on,
 * and its engine goes with it; a model that is being loaded is not waited for. The session of a server continues.
 *
 * - Threads: any thread, but not while another call uses the session: that call then ends by itself. From within a
 *   function of the host, be it of another object, the session's own functions are waited for no longer than 5 seconds, so
 *   that two threads which free each other's objects from there both continue.
 * - Ownership: the session is gone. When the call returns, `on_picture` runs no more, unless it is that which calls, or
 *   it was waited for in vain from within another function of the host.
 */
void dreamframe_session_free(dreamframe_session_t *session);

/**
 * Hands a frame to the session. Returns at once: a frame that still waits is replaced.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Ownership: the pixels are copied before the call returns; the library keeps no pointer to `frame`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME` for what
 *   cannot be; `DREAMFRAME_ERROR_CLOSED` once the session has ended; `DREAMFRAME_ERROR_OUT_OF_MEMORY`.
 *
 * @param[in]  session  from `dreamframe_session_start()`
 * @param[in]  frame    the frame, of any size and format
 * @param[out] out_id   the number by which a picture will name this frame as its source; may be NULL
 */
dreamframe_status_t dreamframe_session_submit(dreamframe_session_t *session,
                                              const dreamframe_frame_t *frame,
                                              uint64_t *out_id);

/**
 * Copies the newest picture into the host's memory, unless it was taken already. Never waits.
 *
 * Returns `DREAMFRAME_NOT_READY` where there is none yet. A picture that does not fit into `room` stays: ask
 * `dreamframe_session_size()`, and poll again.
 *
 * - Threads: any thread, also while other calls on this session run; each picture goes to one of them.
 * - Ownership: the library keeps no pointer to `room`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME` for room
 *   that cannot be or has another size; `DREAMFRAME_ERROR_CLOSED` once the session has ended and all pictures are taken.
 *
 * @param[in]  session   from `dreamframe_session_start()`
 * @param[in]  room      where the picture goes, in any format
 * @param[out] out_info  how the picture was made; may be NULL
 */
dreamframe_status_t dreamframe_session_poll(dreamframe_session_t *session,
                                            const dreamframe_frame_t *room,
                                            dreamframe_picture_info_t *out_info);

/**
 * As `dreamframe_session_poll()`, but waits for a picture. For sessions without `on_picture`.
 *
 * Returns `DREAMFRAME_NOT_READY` where none came in time.
 *
 * - Threads: any thread, also while other calls on this session run; each picture goes to one of them.
 * - Ownership: the library keeps no pointer to `room`.
 * - Errors: those of `dreamframe_session_poll()`; `DREAMFRAME_ERROR_INVALID_ARGUMENT` also for a session with `on_picture`.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[in]  timeout_ms  how long to wait at most, in milliseconds
 * @param[in]  room        where the picture goes, in any format
 * @param[out] out_info    how the picture was made; may be NULL
 */
dreamframe_status_t dreamframe_session_wait(dreamframe_session_t *session,
                                            uint64_t timeout_ms,
                                            const dreamframe_frame_t *room,
                                            dreamframe_picture_info_t *out_info);

/**
 * Returns the size of the picture that the next poll takes, in pixels; if none waits, that of the last one, and of the
 * engine's pictures before the first.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[out] out_width   pixels in a row
 * @param[out] out_height  rows
 */
dreamframe_status_t dreamframe_session_size(dreamframe_session_t *session, uint32_t *out_width, uint32_t *out_height);

/**
 * Returns whether the session accepts frames.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[out] out_running  false once it was stopped or has ended by itself
 */
dreamframe_status_t dreamframe_session_is_running(dreamframe_session_t *session, bool *out_running);

/**
 * Changes parameters while frames are processed. The patch is checked now, prepared on another thread, and applied
 * between two of them. What turns out later, such as a missing model, comes as an event and from
 * `dreamframe_session_wait_for()`.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Ownership: the text is only read; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`; `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation;
 *   `DREAMFRAME_ERROR_UNSUPPORTED`, `_CLOSED`. Nothing has changed then.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  patch_json   an object with the parameters to change
 * @param[out] out_version  numbers the update; pictures made since have at least this version; may be NULL
 * @param[out] out_report   `{"version": 1, "cost": "hot", "changes": […], "notices": […]}`; may be NULL
 */
dreamframe_status_t dreamframe_session_update(dreamframe_session_t *session,
                                              const char *patch_json,
                                              uint64_t *out_version,
                                              char **out_report);

/**
 * Changes one number, such as `"guidance_scale"` or `"ip_adapter.scale"`; otherwise as `dreamframe_session_update()`.
 *
 * The value is taken as the shortest decimal that means the same float: `0.7f` is 0.7.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Errors: those of `dreamframe_session_update()`; `DREAMFRAME_ERROR_INVALID_ARGUMENT` also for what is no finite number.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  name         a parameter, or a field of an object with a dot between the two
 * @param[in]  value        the new value
 * @param[out] out_version  as of `dreamframe_session_update()`; may be NULL
 */
dreamframe_status_t dreamframe_session_set_f32(dreamframe_session_t *session,
                                               const char *name,
                                               float value,
                                               uint64_t *out_version);

/**
 * Changes one whole number, such as `"seed"` or `"num_inference_steps"`; otherwise as `dreamframe_session_set_f32()`.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Errors: those of `dreamframe_session_update()`.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  name         a parameter, or a field of an object with a dot between the two
 * @param[in]  value        the new value
 * @param[out] out_version  as of `dreamframe_session_update()`; may be NULL
 */
dreamframe_status_t dreamframe_session_set_i64(dreamframe_session_t *session,
                                               const char *name,
                                               int64_t value,
                                               uint64_t *out_version);

/**
 * Changes one switch, such as `"skip_diffusion"`; otherwise as `dreamframe_session_set_f32()`.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Errors: those of `dreamframe_session_update()`.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  name         a parameter, or a field of an object with a dot between the two
 * @param[in]  value        the new value
 * @param[out] out_version  as of `dreamframe_session_update()`; may be NULL
 */
dreamframe_status_t dreamframe_session_set_bool(dreamframe_session_t *session,
                                                const char *name,
                                                bool value,
                                                uint64_t *out_version);

/**
 * Changes one text, such as `"prompt"`, which needs no quoting; otherwise as `dreamframe_session_set_f32()`.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Ownership: the text is only read.
 * - Errors: those of `dreamframe_session_update()`.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  name         a parameter, or a field of an object with a dot between the two
 * @param[in]  value        the new value
 * @param[out] out_version  as of `dreamframe_session_update()`; may be NULL
 */
dreamframe_status_t dreamframe_session_set_text(dreamframe_session_t *session,
                                                const char *name,
                                                const char *value,
                                                uint64_t *out_version);

/**
 * Changes the prompt gradually, over a number of pictures, while frames are processed.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Ownership: the text is only read.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, also for a text that is no transition; `DREAMFRAME_ERROR_INVALID_PARAMS`
 *   for prompts that cannot be; `DREAMFRAME_ERROR_CLOSED`. Nothing has changed then.
 *
 * @param[in]  session          from `dreamframe_session_start()`
 * @param[in]  transition_json  as for `dreamframe_engine_transition()`
 * @param[out] out_version      numbers the update that begins it; may be NULL
 */
dreamframe_status_t dreamframe_session_transition(dreamframe_session_t *session,
                                                  const char *transition_json,
                                                  uint64_t *out_version);

/**
 * Returns the desired parameters, as JSON with every field: with all accepted updates, without those rejected since.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  session   from `dreamframe_session_start()`
 * @param[out] out_json  the parameters
 */
dreamframe_status_t dreamframe_session_params(dreamframe_session_t *session, char **out_json);

/**
 * Returns what `dreamframe_session_update()` would change, and the cost; changes nothing. Quick.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Ownership: the text is only read; free the report with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT`, also while one pipeline went and the next is not there yet;
 *   `DREAMFRAME_ERROR_INVALID_PARAMS` with every violation.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[in]  patch_json  an object with the parameters to change
 * @param[out] out_cost    a `dreamframe_cost_t`, or 0 where nothing changes; may be NULL
 * @param[out] out_report  `{"cost": "hot", "changes": […], "notices": […]}`; may be NULL
 */
dreamframe_status_t dreamframe_session_plan(dreamframe_session_t *session,
                                            const char *patch_json,
                                            uint32_t *out_cost,
                                            char **out_report);

/**
 * Waits until an update is applied, superseded or rejected. For a rejected one, returns the status of its error.
 *
 * - Threads: any thread, also while other calls on this session run; not from `on_picture`.
 * - Errors: `DREAMFRAME_ERROR_TIMEOUT`; `DREAMFRAME_ERROR_CLOSED` where the session ends first;
 *   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and an update so long ago that it was forgotten; those of a rejected update.
 *
 * @param[in]  session      from `dreamframe_session_start()`
 * @param[in]  version      what the update gave
 * @param[in]  timeout_ms   how long to wait at most, in milliseconds
 * @param[out] out_outcome  a `dreamframe_outcome_t`; may be NULL
 */
dreamframe_status_t dreamframe_session_wait_for(dreamframe_session_t *session,
                                                uint64_t version,
                                                uint64_t timeout_ms,
                                                uint32_t *out_outcome);

/**
 * Takes the oldest waiting event; waits for one if there is none.
 *
 * Returns `DREAMFRAME_NOT_READY` where none came in time. `type` says what happened: `update_applied`,
 * `update_rejected`, `update_superseded` (each with `version`), `frame_failed` (with `id`), `degraded`, `recovered`,
 * `callback_failed`, `transition_failed`, `stopped`; `error` is as `dreamframe_last_error_json()` has it. Later
 * versions may add types and fields.
 *
 * - Threads: any thread, also while other calls on this session run; each event goes to one of them.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  session     from `dreamframe_session_start()`
 * @param[in]  timeout_ms  how long to wait at most, in milliseconds; 0 not to wait
 * @param[out] out_json    one object
 */
dreamframe_status_t dreamframe_session_next_event(dreamframe_session_t *session, uint64_t timeout_ms, char **out_json);

/**
 * Returns statistics of a session.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`.
 *
 * @param[in]  session    from `dreamframe_session_start()`
 * @param[out] out_stats  begun with `DREAMFRAME_STATS_INIT`
 */
dreamframe_status_t dreamframe_session_stats(dreamframe_session_t *session, dreamframe_stats_t *out_stats);

/**
 * Returns statistics of a session as JSON, with all rates and the times of each stage.
 *
 * - Threads: any thread, also while other calls on this session run.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  session   from `dreamframe_session_start()`
 * @param[out] out_json  one object
 */
dreamframe_status_t dreamframe_session_stats_json(dreamframe_session_t *session, char **out_json);

/**
 * Names a status: `"ok"`, `"not_ready"`, `"invalid_params"`; `"unknown"` for a number that is none.
 *
 * - Threads: any thread.
 * - Ownership: the text is static; never free it.
 */
const char *dreamframe_status_name(dreamframe_status_t status);

/**
 * Answers with bytes.
 *
 * - Threads: only inside the callback that `reply` came with.
 * - Ownership: the bytes are copied before the call returns.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose question is over.
 *
 * @param[in]  reply  what the answer goes to
 * @param[in]  data   the first byte
 * @param[in]  len    how many there are
 */
dreamframe_status_t dreamframe_reply_bytes(dreamframe_reply_t *reply, const uint8_t *data, size_t len);

/**
 * Answers with numbers.
 *
 * - Threads: only inside the callback that `reply` came with.
 * - Ownership: the numbers are copied before the call returns.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose question is over.
 *
 * @param[in]  reply  what the answer goes to
 * @param[in]  data   the first number
 * @param[in]  len    how many there are
 */
dreamframe_status_t dreamframe_reply_floats(dreamframe_reply_t *reply, const float *data, size_t len);

/**
 * Answers that there is nothing, and why; the update is then refused with that text.
 *
 * - Threads: only inside the callback that `reply` came with.
 * - Ownership: the text is copied before the call returns.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a reply whose question is over.
 *
 * @param[in]  reply    what the answer goes to
 * @param[in]  message  why
 */
dreamframe_status_t dreamframe_reply_error(dreamframe_reply_t *reply, const char *message);

/**
 * Writes the bytes of an image file (PNG, JPEG, WebP) as a text for the parameter `ip_adapter_style_image_url`.
 *
 * - Threads: any thread.
 * - Ownership: the bytes are only read; free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, another format, or too many bytes.
 *
 * @param[in]  data      the first byte of the file
 * @param[in]  len       how many there are
 * @param[out] out_text  a data URI
 */
dreamframe_status_t dreamframe_style_data_uri(const uint8_t *data, size_t len, char **out_text);

/**
 * Frees a text that the library gave through a `char **`.
 *
 * NULL has no effect. Neither has a text that is not the library's, or was freed already; `dreamframe_last_error()` then
 * reports it.
 *
 * - Threads: any thread.
 * - Ownership: the text is gone when the call returns.
 */
void dreamframe_string_free(char *text);

/**
 * Begins to play from a WHEP server, whose pictures `dreamframe_player_poll()` then gives or a session gets. Returns at once:
 * the connection is made on a thread of the player's own.
 *
 * - Threads: any thread.
 * - Ownership: texts and options are only read. The player is the host's, who frees it with `dreamframe_player_free()`.
 * - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` where `dreamframe_build_info()` has no feature `transport`;
 *   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an option that cannot be, and an address that is not
 *   of http or https; `DREAMFRAME_ERROR_DEVICE` if the system cannot start a thread. What goes wrong with the connection
 *   comes as an event, and from `dreamframe_player_wait_for()`.
 *
 * @param[in]  url         what to watch, such as `"https://host/whep/key"`
 * @param[in]  options     begun with `DREAMFRAME_PLAYER_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_player  the new player
 */
dreamframe_status_t dreamframe_player_start(const char *url,
                                            const dreamframe_player_options_t *options,
                                            dreamframe_player_t **out_player);

/**
 * Ends the connection, and the session on the server, and waits for both, for some seconds at most. Once more does nothing.
 * The last picture can still be polled, unless it was taken.
 *
 * - Threads: any thread; who waits for a picture, an event or a state then hears of it.
 * - Ownership: the player is still to be freed.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 */
dreamframe_status_t dreamframe_player_stop(dreamframe_player_t *player);

/**
 * Frees a player, and stops it if it was not. NULL or a handle that was freed has no effect.
 *
 * - Threads: any thread; calls of others that use the player then end by themselves.
 * - Ownership: the player is gone.
 */
void dreamframe_player_free(dreamframe_player_t *player);

/**
 * Copies the newest picture into the host's memory, unless it was taken already. Never waits.
 *
 * Returns `DREAMFRAME_NOT_READY` where there is none yet. A picture that does not fit into `room` stays: ask
 * `dreamframe_player_size()`, and poll again. The size may change from one picture to the next.
 *
 * - Threads: any thread; each picture goes to one of them.
 * - Ownership: the library keeps no pointer to `room`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, and a player whose pictures go to a session;
 *   `DREAMFRAME_ERROR_INVALID_FRAME` for room that cannot be or has another size; `DREAMFRAME_ERROR_CLOSED` once the player
 *   was stopped or has given up, and the last picture is taken.
 *
 * @param[in]  player  from `dreamframe_player_start()`
 * @param[in]  room    where the picture goes, in any format
 * @param[out] out_id  how many pictures came before it, seen or not; may be NULL
 */
dreamframe_status_t dreamframe_player_poll(dreamframe_player_t *player,
                                           const dreamframe_frame_t *room,
                                           uint64_t *out_id);

/**
 * As `dreamframe_player_poll()`, but waits for a picture.
 *
 * Returns `DREAMFRAME_NOT_READY` where none came in time.
 *
 * - Threads: any thread, but none that the library calls the host on; each picture goes to one of them.
 * - Ownership: the library keeps no pointer to `room`.
 * - Errors: those of `dreamframe_player_poll()`.
 *
 * @param[in]  player      from `dreamframe_player_start()`
 * @param[in]  timeout_ms  how long to wait at most, in milliseconds
 * @param[in]  room        where the picture goes, in any format
 * @param[out] out_id      how many pictures came before it, seen or not; may be NULL
 */
dreamframe_status_t dreamframe_player_wait(dreamframe_player_t *player,
                                           uint64_t timeout_ms,
                                           const dreamframe_frame_t *room,
                                           uint64_t *out_id);

/**
 * Returns the size of the picture that the next poll takes, in pixels; if none waits, that of the last one.
 *
 * Returns `DREAMFRAME_NOT_READY` before the first picture.
 *
 * - Threads: any thread.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, and for a player whose pictures go to a session.
 *
 * @param[in]  player      from `dreamframe_player_start()`
 * @param[out] out_width   pixels in a row
 * @param[out] out_height  rows
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
 * - Threads: any thread, but none that the library calls the host on.
 * - Errors: those of `dreamframe_publisher_wait_for()`.
 *
 * @param[in] player      from `dreamframe_player_start()`
 * @param[in] state       a `dreamframe_peer_state_t`
 * @param[in] timeout_ms  how long to wait at most, in milliseconds
 */
dreamframe_status_t dreamframe_player_wait_for(dreamframe_player_t *player, uint32_t state, uint64_t timeout_ms);

/**
 * Takes the oldest waiting event; waits for one if there is none; as `dreamframe_publisher_next_event()`.
 *
 * - Threads: any thread; each event goes to one of them.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  player      from `dreamframe_player_start()`
 * @param[in]  timeout_ms  how long to wait at most, in milliseconds; 0 not to wait
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
 * @param[out] out_stats  begun with `DREAMFRAME_CONNECTION_STATS_INIT`
 */
dreamframe_status_t dreamframe_player_stats(dreamframe_player_t *player, dreamframe_connection_stats_t *out_stats);

/**
 * Begins to publish to a WHIP server what `dreamframe_publisher_show()` is given, as H.264. Returns at once: the connection
 * is made on a thread of the publisher's own.
 *
 * - Threads: any thread.
 * - Ownership: texts and options are only read. The publisher is the host's, who frees it with
 *   `dreamframe_publisher_free()`.
 * - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` where `dreamframe_build_info()` has no feature `transport`;
 *   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an option that cannot be, and an address that is not
 *   of http or https; `DREAMFRAME_ERROR_DEVICE` if the system cannot start a thread. What goes wrong with the connection
 *   comes as an event, and from `dreamframe_publisher_wait_for()`.
 *
 * @param[in]  url            where to publish, such as `"https://host/whip/key"`
 * @param[in]  options        begun with `DREAMFRAME_PUBLISHER_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_publisher  the new publisher
 */
dreamframe_status_t dreamframe_publisher_start(const char *url,
                                               const dreamframe_publisher_options_t *options,
                                               dreamframe_publisher_t **out_publisher);

/**
 * Ends the connection, and the session on the server, and waits for both, for some seconds at most. Once more does nothing.
 *
 * - Threads: any thread; who waits for an event or a state then hears of it.
 * - Ownership: the publisher is still to be freed.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 */
dreamframe_status_t dreamframe_publisher_stop(dreamframe_publisher_t *publisher);

/**
 * Frees a publisher, and stops it if it was not. NULL or a handle that was freed has no effect.
 *
 * - Threads: any thread; calls of others that use the publisher then end by themselves.
 * - Ownership: the publisher is gone.
 */
void dreamframe_publisher_free(dreamframe_publisher_t *publisher);

/**
 * Shows a picture. Returns at once: it is copied where a connection is up, and one that was not encoded yet is replaced.
 * Sizes and formats may change from one to the next. Its `timestamp_ns` does not count: the picture is of now.
 *
 * To publish a session's pictures, call it from `on_picture` with the picture that comes, unless that is NULL.
 *
 * - Threads: any thread, also from `on_picture`.
 * - Ownership: the pixels are copied before the call returns; the library keeps no pointer to `picture`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a wrong `struct_size`; `DREAMFRAME_ERROR_INVALID_FRAME` for what
 *   cannot be.
 *
 * @param[in] publisher  from `dreamframe_publisher_start()`
 * @param[in] picture    the picture, of any size and format
 */
dreamframe_status_t dreamframe_publisher_show(dreamframe_publisher_t *publisher,
                                              const dreamframe_frame_t *picture);

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
 * - Threads: any thread, but none that the library calls the host on.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL or a number that is no state; `DREAMFRAME_ERROR_TIMEOUT`;
 *   `DREAMFRAME_ERROR_CLOSED` where it ends in another state. `dreamframe_last_error()` has what went wrong last.
 *
 * @param[in] publisher   from `dreamframe_publisher_start()`
 * @param[in] state       a `dreamframe_peer_state_t`
 * @param[in] timeout_ms  how long to wait at most, in milliseconds
 */
dreamframe_status_t dreamframe_publisher_wait_for(dreamframe_publisher_t *publisher,
                                                  uint32_t state,
                                                  uint64_t timeout_ms);

/**
 * Returns the URL to play the stream from, if the server names one.
 *
 * Returns `DREAMFRAME_NOT_READY` where it has not said any.
 *
 * - Threads: any thread.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  publisher  from `dreamframe_publisher_start()`
 * @param[out] out_url    an address of WHEP
 */
dreamframe_status_t dreamframe_publisher_playback_url(dreamframe_publisher_t *publisher, char **out_url);

/**
 * Takes the oldest waiting event; waits for one if there is none. 64 are kept.
 *
 * Returns `DREAMFRAME_NOT_READY` where none came in time, and once there can be none. `type` says what happened: `state`, with
 * `state`; or `attempt_failed`, with `error` as `dreamframe_last_error_json()` has it, and `retry_ms`, or null where there
 * will be no other attempt. Later versions may add types and fields.
 *
 * - Threads: any thread; each event goes to one of them.
 * - Ownership: free the text with `dreamframe_string_free()`.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  publisher   from `dreamframe_publisher_start()`
 * @param[in]  timeout_ms  how long to wait at most, in milliseconds; 0 not to wait
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
 * @param[out] out_stats  begun with `DREAMFRAME_CONNECTION_STATS_INIT`
 */
dreamframe_status_t dreamframe_publisher_stats(dreamframe_publisher_t *publisher,
                                               dreamframe_connection_stats_t *out_stats);

/**
 * Starts a session of an engine and serves it: who publishes to `/whip` gives its frames, who watches `/whep` sees its
 * pictures, and both may change parameters by the data channel `parameters`. Frames are H.264.
 *
 * - Threads: one call at a time per object.
 * - Ownership: nothing of `options` is kept. The engine stays the host's, to be freed by it, but is in the server until that
 *   is stopped. The server is the host's, who frees it with `dreamframe_server_free()`.
 * - Errors: `DREAMFRAME_ERROR_UNSUPPORTED` where `dreamframe_build_info()` has no feature `transport`;
 *   `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL, a wrong `struct_size`, an option that cannot be, an engine that is in use or
 *   in a session; `DREAMFRAME_ERROR_IO` where the address cannot be listened at; `DREAMFRAME_ERROR_DEVICE` where the system
 *   cannot start a thread. The engine can be used again, unless it is the session that got no threads.
 *
 * @param[in]  engine      from `dreamframe_engine_create()`
 * @param[in]  options     begun with `DREAMFRAME_SERVER_OPTIONS_INIT`; NULL for the defaults
 * @param[out] out_server  the new server
 */
dreamframe_status_t dreamframe_server_start(dreamframe_engine_t *engine,
                                            const dreamframe_server_options_t *options,
                                            dreamframe_server_t **out_server);

/**
 * Ends all connections and the session, and returns the engine.
 *
 * - Threads: any thread, but none that the library calls the host on.
 * - Ownership: the server is still to be freed. The engine can be used again.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` for a server that was stopped;
 *   `DREAMFRAME_ERROR_TIMEOUT` where frames take longer: the session then ends by itself, with its engine;
 *   `DREAMFRAME_ERROR_INTERNAL` where the engine panicked.
 *
 * @param[in]  server      from `dreamframe_server_start()`
 * @param[in]  timeout_ms  how long to wait for the session at most, in milliseconds; connections take up to some seconds
 *                         before that
 */
dreamframe_status_t dreamframe_server_stop(dreamframe_server_t *server,
                                           uint64_t timeout_ms);

/**
 * Frees a server. NULL or a handle that was freed has no effect. One that runs ends its connections, for some seconds at
 * most, and its session with the frame that it works on; its engine goes with it.
 *
 * - Threads: any thread, but none that the library calls the host on.
 * - Ownership: the server is gone. Sessions that `dreamframe_server_session()` gave are still to be freed.
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
 * Gives the server's session: for its parameters and figures; for frames of the host's own, with `timestamp_ns` 0, whether
 * or not somebody publishes; and for pictures, which `dreamframe_session_poll()` takes from no viewer. Its events go to the
 * data channels of those who are connected. `dreamframe_session_stop()` refuses it, as only its server ends it, and
 * `dreamframe_session_wait()`, as if it had an `on_picture`. Each call gives a further handle of the same session.
 *
 * - Threads: any thread.
 * - Ownership: free the session with `dreamframe_session_free()`, before or after the server; that ends nothing.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL.
 *
 * @param[in]  server       from `dreamframe_server_start()`
 * @param[out] out_session  the session, which has ended once the server has
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
 * @param[out] out_viewers  how many
 */
dreamframe_status_t dreamframe_server_viewers(dreamframe_server_t *server, uint32_t *out_viewers);

/**
 * Returns whether there is a publisher, including one that is connecting.
 *
 * - Threads: any thread.
 * - Errors: `DREAMFRAME_ERROR_INVALID_ARGUMENT` for NULL; `DREAMFRAME_ERROR_CLOSED` for a server that was stopped.
 *
 * @param[in]  server          from `dreamframe_server_start()`
 * @param[out] out_publishing  whether somebody does
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
 * Servers, publishers and players need the feature `transport`.
 *
 * - Threads: any thread.
 * - Ownership: the text is static; never free it.
 */
const char *dreamframe_build_info(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DREAMFRAME_H */
