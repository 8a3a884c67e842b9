/*
 * What the framings share.
 *
 * Private to execd/gateway. Thread rule: any thread.
 */
#pragma once

#include "execd/gateway/frame.h"

/* As frame_decode and frame_encode. Decoders fill parts and buffers with what the frame holds, checked or not, and
 * ret_channel with the name of the channel, empty when the frame has none. */
int frame_v1_decode(struct slice data, struct frame *frame, struct slice *ret_channel,
                    struct err *err) must_check;
int frame_legacy_decode(bool is_binary, struct slice data, struct frame *frame,
                        struct slice *ret_channel, struct err *err) must_check;
int frame_v1_encode(const struct frame_source *source, struct frame_out *out) must_check;
int frame_legacy_encode(const struct frame_source *source, struct frame_out *out) must_check;

const char *frame_channel_name(enum kernel_channel channel);
void frame_out_add(struct frame_out *out, struct slice piece);
