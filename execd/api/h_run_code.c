/*
 * POST /run_code as SandboxFusion has it: one program in, one result out (contracts/jupyter.md 3.5).
 */
#include <errno.h>
#include <string.h>

#include "execd/api/api.h"
#include "execd/runcode/runcode.h"
#include "proto/api/errors.h"
#include "proto/http/resp.h"
#include "proto/json/jfield.h"

#define CODE_MAX (16 * 1024 * 1024)
#define TIMEOUT_DEFAULT_S 10.0
#define TIMEOUT_MAX_S 3600.0
#define MEMORY_MAX_MB (1 << 24)
/* Four streams of which each byte may need six, files, and the rest. */
#define ANSWER_MAX (64U << 20)

struct body {
    const char *code, *language, *input;
    bool has_compile_timeout, has_run_timeout;
    double compile_timeout, run_timeout;
    int64_t memory_mb;
    json_t *files;
    struct jstrings fetch;
    bool has_sweep, sweep;
};

#define BODY(wire, member, kind_, ...)                                                             \
    {                                                                                              \
        .name = (wire), .kind = (kind_), .offset = offsetof(struct body, member), __VA_ARGS__      \
    }

static const struct jfield body_fields[] = {
    BODY("code", code, JFIELD_STRING, .flags = JFIELD_REQUIRED, .max = CODE_MAX),
    BODY("language", language, JFIELD_STRING, .flags = JFIELD_REQUIRED, .min = 1, .max = 64),
    BODY("compile_timeout", compile_timeout, JFIELD_DOUBLE,
         .has_offset = offsetof(struct body, has_compile_timeout)),
    BODY("run_timeout", run_timeout, JFIELD_DOUBLE,
         .has_offset = offsetof(struct body, has_run_timeout)),
    BODY("memory_limit_MB", memory_mb, JFIELD_I64, .min = -1, .max = MEMORY_MAX_MB),
    BODY("stdin", input, JFIELD_STRING, .max = 6 * 1024 * 1024),
    BODY("files", files, JFIELD_RAW),
    BODY("sweep", sweep, JFIELD_BOOL, .has_offset = offsetof(struct body, has_sweep)),
    BODY("fetch_files", fetch, JFIELD_STRINGS, .max = RUNCODE_FETCH_MAX),
};

static int take_timeout(const char *key, bool given, double seconds, int64_t *ret_ms,
                        struct err *err)
{
    if (!given)
        seconds = TIMEOUT_DEFAULT_S;
    if (!(seconds >= 0.001 && seconds <= TIMEOUT_MAX_S))
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       "%s: expected seconds from 0.001 to %.0f", key, TIMEOUT_MAX_S);
    *ret_ms = (int64_t)(seconds * 1000);
    return 0;
}

static int check_files(const json_t *files, struct err *err)
{
    if (files == NULL || json_is_null(files))
        return 0;
    if (!json_is_object(files) || json_object_size(files) > RUNCODE_FILES_MAX)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                       "files: expected an object of at most %d paths", RUNCODE_FILES_MAX);
    for (void *at = json_object_iter((json_t *)files); at != NULL;
         at = json_object_iter_next((json_t *)files, at)) {
        const json_t *value = json_object_iter_value(at);
        if (!json_is_string(value) && !json_is_null(value))
            return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL,
                           "files.%.80s: expected base64 text or null", json_object_iter_key(at));
    }
    return 0;
}

static int decode(struct http_req *req, json_t **ret_doc, struct runcode_request *ret,
                  struct err *err)
{
    struct slice text = http_req_body(req);
    struct body b = {.memory_mb = -1};

    int rc = jfield_decode_text(body_fields, ARRAY_LEN(body_fields), text.ptr, text.len, false, &b,
                                http_req_arena(req), ERR_INVALID_REQUEST_BODY, ret_doc, err);
    if (rc == 0)
        rc = take_timeout("compile_timeout", b.has_compile_timeout, b.compile_timeout,
                          &ret->compile_ms, err);
    if (rc == 0)
        rc = take_timeout("run_timeout", b.has_run_timeout, b.run_timeout, &ret->run_ms, err);
    if (rc == 0)
        rc = check_files(b.files, err);
    ret->language = b.language;
    ret->code = b.code;
    ret->input = b.input;
    ret->memory_bytes = b.memory_mb > 0 ? (uint64_t)b.memory_mb << 20 : 0;
    ret->files = b.files;
    ret->fetch = b.fetch;
    ret->keep_processes = b.has_sweep && !b.sweep;
    return rc;
}

/* ---- the answer ---- */

static void add_text(struct strbuf *out, const char *key, const char *text, size_t len)
{
    strbuf_addf(out, "\"%s\":", key);
    json_escape(out, text, len);
}

static const char *step_status(const struct runcode_step *step)
{
    return step->end == RUNCODE_FINISHED  ? "Finished"
           : step->end == RUNCODE_TIMEOUT ? "TimeLimitExceeded"
                                          : "Error";
}

static void add_step(struct strbuf *out, const char *key, const struct runcode_step *step)
{
    static const char *const names[] = {"stdout", "stderr"};

    strbuf_addf(out, ",\"%s\":", key);
    if (step->end == RUNCODE_NOT_RUN) {
        strbuf_adds(out, "null");
        return;
    }
    strbuf_addf(out,
                "{\"status\":\"%s\",\"execution_time\":%.6f,\"return_code\":", step_status(step),
                step->seconds);
    if (step->end == RUNCODE_FINISHED)
        strbuf_addf(out, "%d", step->code);
    else
        strbuf_adds(out, "null");
    for (unsigned i = 0; i < 2; i++) {
        const struct strbuf *text = &step->output[i];
        strbuf_addc(out, ',');
        add_text(out, names[i], text->len > 0 ? text->data : "", text->len);
        if (step->dropped[i] > 0)
            strbuf_addf(out, ",\"%s_truncated\":%llu", names[i],
                        (unsigned long long)step->dropped[i]);
    }
    strbuf_addc(out, '}');
}

/* As SandboxFusion concludes: a step that could not be run is the sandbox's fault, a timeout or another code than 0 the
 * program's. */
static const char *overall_status(const struct runcode_result *r, const char **ret_message)
{
    const struct runcode_step *steps[] = {r->compile, r->run};
    const char *status = r->run->end == RUNCODE_FINISHED ? "Success" : "Failed";

    *ret_message = r->problem != NULL ? r->problem : "";
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        if (steps[i]->error[0] != '\0')
            *ret_message = steps[i]->error;
        if (steps[i]->end == RUNCODE_ERROR)
            return "SandboxError";
        if (steps[i]->end != RUNCODE_NOT_RUN && steps[i]->code != 0)
            status = "Failed";
    }
    if (r->compile->end == RUNCODE_NOT_RUN && r->run->end == RUNCODE_NOT_RUN)
        return "SandboxError"; /* `problem` says why nothing was run */
    return status;
}

static void add_result(struct strbuf *out, const struct runcode_result *r)
{
    const char *message;

    strbuf_addf(out, "{\"status\":\"%s\",", overall_status(r, &message));
    add_text(out, "message", message, strlen(message));
    add_step(out, "compile_result", r->compile);
    add_step(out, "run_result", r->run);
    strbuf_adds(out, ",\"executor_pod_name\":null,\"files\":{");
    for (size_t i = 0; i < r->n_files; i++) {
        if (i > 0)
            strbuf_addc(out, ',');
        json_escape(out, r->files[i].path, strlen(r->files[i].path));
        strbuf_adds(out, ":\"");
        strbuf_adds(out, r->files[i].base64);
        strbuf_addc(out, '"');
    }
    strbuf_adds(out, "}}");
}

/* ---- waiting ---- */

struct waiting {
    struct http_req *req;
    struct runcode *run; /* borrowed; NULL once it has answered */
};

static void on_close(void *arg)
{
    struct waiting *w = arg;

    if (w->run != NULL)
        runcode_cancel(w->run);
    free(w);
}

static void on_done(void *arg, const struct runcode_result *result, const struct err *err)
{
    struct waiting *w = arg;
    cleanup_strbuf struct strbuf out;

    w->run = NULL;
    strbuf_init(&out, ANSWER_MAX);
    if (err == NULL)
        add_result(&out, result);
    if (err != NULL)
        (void)http_resp_error(w->req, err); /* H_DONE: nobody to hand it to */
    else if (strbuf_check(&out) < 0)
        (void)http_resp_fail(w->req, ERR_OUT_OF_MEMORY, "no memory for the result");
    else
        (void)http_resp_data(w->req, 200, "application/json", out.data, out.len);
}

enum http_result h_run_code(struct http_req *req, void *app)
{
    struct api *api = app;
    struct runcode_request request = {0};
    cleanup_json json_t *document = NULL;
    struct err err = {0};
    struct runcode *run;

    if (decode(req, &document, &request, &err) < 0)
        return http_resp_error(req, &err);
    struct waiting *w = xnew(struct waiting);
    if (runcode_start(api->runcode, &request, on_done, w, &run, &err) < 0) {
        free(w);
        return http_resp_error(req, &err);
    }
    *w = (struct waiting){req, run};
    http_req_on_close(req, on_close, w);
    return H_WAIT;
}
