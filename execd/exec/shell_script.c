#include "execd/exec/shell_driver_priv.h"

#include <string.h>

/* The client's text moves the shell's own descriptors away; they come back behind it. */
#define ASIDE " 3>&- 6<&- 7<&-"
#define PRINT "\\command printf '%s\\000%s\\000%s\\000' "
/* Before the text runs, the whole line has been read: from here on an interrupt hits the text and no half a line. */
#define TELL_BEGUN PRINT SHELL_BEGUN " 0 0 >&3"
/* What bash sources for every run, and for its report. Thus no line that it reads meanwhile has quotes: should an
 * interrupt make it drop a part of one, the rest does no harm. Only the client's text has the client's stderr: what
 * set -x says of our own is nobody's. */
const char shell_script_eval[] =
    TELL_BEGUN "\neval \"{ unset __execd_code __execd_err; } 2>/dev/null\n$__execd_code\""
               " 2>&$__execd_err 5>&-" ASIDE "\n";
const char shell_script_tell[] = PRINT "\"$__execd_nonce\" \"$?\" \"$PWD\" >&3\n";

const char shell_script_setup[] = "set +H +m +o history; shopt -u checkwinsize\n"
                                  "unset HISTFILE PROMPT_COMMAND ENV TMOUT; export -n PS1 PS2\n";

static void add_quoted(struct strbuf *out, const char *text)
{
    strbuf_addc(out, '\'');
    for (const char *p = text; *p != '\0'; p++) {
        const char *end = strchrnul(p, '\'');
        strbuf_add(out, p, (size_t)(end - p));
        if (*end == '\0')
            break;
        strbuf_adds(out, "'\\''");
        p = end;
    }
    strbuf_addc(out, '\'');
}

void shell_script_add_report(struct strbuf *out, const char *nonce, bool by_source)
{
    if (by_source)
        strbuf_addf(out, "__execd_nonce=%s . /dev/fd/%d\n", nonce, SHELL_FD_TELL);
    else
        strbuf_addf(out, "%s %s \"$?\" \"$PWD\" >&3\n", PRINT, nonce);
}

static void add_envs(struct strbuf *out, const struct jmap *envs)
{
    for (size_t i = 0; envs != NULL && i < envs->n; i++) {
        strbuf_adds(out, envs->items[i].key);
        strbuf_addc(out, '=');
        add_quoted(out, envs->items[i].value);
        strbuf_addc(out, ' ');
    }
}

void shell_script_add_run(struct strbuf *out, const struct shell_text *text, bool by_source)
{
    int err = text->merge ? SHELL_FD_OUT : SHELL_FD_ERR;

    if (text->cwd != NULL) {
        strbuf_adds(out, "\\command cd ");
        add_quoted(out, text->cwd);
        strbuf_adds(out, " 2>&5\n");
    }
    if (by_source) {
        strbuf_addf(out, "__execd_err=%d\n__execd_code=", err);
        add_quoted(out, text->code);
        strbuf_addc(out, '\n');
        add_envs(out, text->envs);
        strbuf_addf(out, ". /dev/fd/%d </dev/null\n", SHELL_FD_EVAL);
        return;
    }
    strbuf_adds(out, TELL_BEGUN "; ");
    add_envs(out, text->envs);
    strbuf_adds(out, "eval ");
    add_quoted(out, text->code);
    strbuf_addf(out, " </dev/null 2>&%d 5>&-" ASIDE, err);
    while ((out->len + 1) % SHELL_PACKET != 0 && !out->failed)
        strbuf_addc(out, ' ');
    strbuf_addc(out, '\n');
}
