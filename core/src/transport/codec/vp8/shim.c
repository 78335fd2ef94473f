/* libvpx behind a handful of plain calls: its structures and their versions stay on this side. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <vpx/vp8cx.h>
#include <vpx/vp8dx.h>
#include <vpx/vpx_decoder.h>
#include <vpx/vpx_encoder.h>

/* The same as `Planes` in ffi.rs. */
struct planes {
    const uint8_t *pixels[3];
    uint32_t strides[3];
    uint32_t width;
    uint32_t height;
};

/* The same as `Coded` in ffi.rs. */
struct coded {
    const uint8_t *data;
    size_t len;
    int key;
};

struct encoder {
    vpx_codec_ctx_t codec;
    vpx_codec_enc_cfg_t config;
};

vpx_codec_ctx_t *dreamframe_vp8_decoder(void) {
    vpx_codec_ctx_t *codec = calloc(1, sizeof *codec);
    vpx_codec_dec_cfg_t config = {.threads = 1};
    if (codec && vpx_codec_dec_init(codec, vpx_codec_vp8_dx(), &config, 0) != VPX_CODEC_OK) {
        free(codec);
        return NULL;
    }
    return codec;
}

void dreamframe_vp8_decoder_free(vpx_codec_ctx_t *codec) {
    vpx_codec_destroy(codec);
    free(codec);
}

/* 1 where there is a picture, which lasts until the next call; 0 where there is none; -1 for what cannot be decoded. */
int dreamframe_vp8_decode(vpx_codec_ctx_t *codec, const uint8_t *data, uint32_t len, struct planes *picture) {
    vpx_codec_iter_t place = NULL;
    vpx_image_t *image;
    if (vpx_codec_decode(codec, data, len, NULL, VPX_DL_REALTIME) != VPX_CODEC_OK)
        return -1;
    image = vpx_codec_get_frame(codec, &place);
    if (!image)
        return 0;
    if (image->fmt != VPX_IMG_FMT_I420)
        return -1;
    for (int plane = 0; plane < 3; plane++) {
        if (image->stride[plane] < 0)
            return -1;
        picture->pixels[plane] = image->planes[plane];
        picture->strides[plane] = (uint32_t)image->stride[plane];
    }
    picture->width = image->d_w;
    picture->height = image->d_h;
    return 1;
}

/* Ticks are those of RTP, 90,000 in a second. */
struct encoder *dreamframe_vp8_encoder(uint32_t width, uint32_t height, uint32_t kilobits) {
    struct encoder *encoder = calloc(1, sizeof *encoder);
    if (!encoder)
        return NULL;
    vpx_codec_enc_cfg_t *config = &encoder->config;
    if (vpx_codec_enc_config_default(vpx_codec_vp8_cx(), config, 0) != VPX_CODEC_OK)
        goto failed;
    config->g_w = width;
    config->g_h = height;
    config->g_timebase.num = 1;
    config->g_timebase.den = 90000;
    config->g_threads = 1;
    config->g_lag_in_frames = 0;
    config->g_error_resilient = VPX_ERROR_RESILIENT_DEFAULT;
    config->rc_end_usage = VPX_CBR;
    config->rc_target_bitrate = kilobits;
    config->rc_dropframe_thresh = 30;
    config->rc_min_quantizer = 4;
    config->rc_max_quantizer = 56;
    config->rc_buf_sz = 1000;
    config->rc_buf_initial_sz = 500;
    config->rc_buf_optimal_sz = 600;
    config->rc_overshoot_pct = 15;
    config->kf_mode = VPX_KF_DISABLED;
    if (vpx_codec_enc_init(&encoder->codec, vpx_codec_vp8_cx(), config, 0) != VPX_CODEC_OK)
        goto failed;
    /* As fast as it can: no search that costs more than it gains at these sizes. */
    vpx_codec_control(&encoder->codec, VP8E_SET_CPUUSED, -8);
    vpx_codec_control(&encoder->codec, VP8E_SET_STATIC_THRESHOLD, 1);
    return encoder;
failed:
    free(encoder);
    return NULL;
}

void dreamframe_vp8_encoder_free(struct encoder *encoder) {
    vpx_codec_destroy(&encoder->codec);
    free(encoder);
}

/* 1 where a picture was coded, whose bytes last until the next call; 0 where it was left out; -1 where that failed. */
int dreamframe_vp8_encode(struct encoder *encoder, const struct planes *picture, int64_t at, uint32_t ticks, int key,
                          struct coded *coded) {
    vpx_image_t image;
    vpx_codec_iter_t place = NULL;
    const vpx_codec_cx_pkt_t *packet;
    /* No memory of its own; the planes are told below, and only read. */
    if (!vpx_img_wrap(&image, VPX_IMG_FMT_I420, picture->width, picture->height, 1, (uint8_t *)picture->pixels[0]))
        return -1;
    for (int plane = 0; plane < 3; plane++) {
        image.planes[plane] = (uint8_t *)picture->pixels[plane];
        image.stride[plane] = (int)picture->strides[plane];
    }
    if (vpx_codec_encode(&encoder->codec, &image, at, ticks, key ? VPX_EFLAG_FORCE_KF : 0, VPX_DL_REALTIME) != VPX_CODEC_OK)
        return -1;
    while ((packet = vpx_codec_get_cx_data(&encoder->codec, &place))) {
        if (packet->kind == VPX_CODEC_CX_FRAME_PKT) {
            coded->data = packet->data.frame.buf;
            coded->len = packet->data.frame.sz;
            coded->key = (packet->data.frame.flags & VPX_FRAME_IS_KEY) != 0;
            return 1;
        }
    }
    return 0;
}

int dreamframe_vp8_tune(struct encoder *encoder, uint32_t kilobits) {
    encoder->config.rc_target_bitrate = kilobits;
    return vpx_codec_enc_config_set(&encoder->codec, &encoder->config) == VPX_CODEC_OK;
}
