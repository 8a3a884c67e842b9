/*
 * What kernels publish, as stream events: text, rich results, errors.
 *
 * Text goes out verbatim, in pieces of at most OUTPUT_PIECE bytes, cut between characters. Results carry every
 * MIME type; text/plain stands under "text" and "text/plain", because clients read one or the other, and values
 * that are no strings are sent as their JSON text, because some clients take strings only. Plain text, which goes out
 * twice, and every part of an error have a limit; what is cut says so.
 * Content comes from the kernel and may be of any shape: what does not fit is skipped or replaced.
 * Thread rule: loop thread only. Source: contracts/execd.md 2.1, 2.6; jupyter.md 1.8, 1.10.
 */
#pragma once

#include <jansson.h>

#include "execd/stream/channel.h"

#define OUTPUT_PIECE (256u << 10)
#define OUTPUT_TEXT_MAX (1u << 20) /* bytes of a result's plain text */

enum output_kind { OUTPUT_RESULT, OUTPUT_DISPLAY, OUTPUT_UPDATE };

/* Text and place of a stream message; borrowed, empty when it has none. */
struct slice output_text(const json_t *content, enum event_type *ret_type);

/* Appends the next piece of a stream message from *offset on and moves it; true when nothing is left. */
bool output_stream(struct channel *ch, const json_t *content, size_t *offset);
/* execute_result, display_data, update_display_data. One with a display_id is announced by a DISPLAY event. */
void output_result(struct channel *ch, const json_t *content, enum output_kind kind);
void output_clear(struct channel *ch, const json_t *content); /* clear_output */
/* Pager output, which ipykernel sends as payload of the reply (`print?`). */
void output_payloads(struct channel *ch, const json_t *reply);

/* {"ename":…, "evalue":…, "traceback":[…]} of an error message or reply, complete whatever the kernel left out. */
json_t *output_error_object(const json_t *content);
void output_error(struct channel *ch, const json_t *error);         /* terminal */
void output_error_as_text(struct channel *ch, const json_t *error); /* its traceback on STDERR */
