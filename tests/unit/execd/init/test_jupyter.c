/* The command lines of Kernel Gateway and Enterprise Gateway, as execd's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "execd/init/jupyter.h"
#include "proto/base/defs.h"

#define WORDS_MAX 8
#define LISTEN "--gateway-listen"

static const struct row {
    const char *env; /* NAME=VALUE, or NULL */
    const char *in[WORDS_MAX];
    const char *out[2 * WORDS_MAX]; /* behind the program's name; none: refused */
} rows[] = {
    {NULL,
     {"jupyter", "kernelgateway", "--KernelGatewayApp.ip=0.0.0.0", "--KernelGatewayApp.port=8888",
      "--KernelGatewayApp.allow_origin=*"},
     {LISTEN, "0.0.0.0:8888", "--gateway-open", "--allow-origin", "*"}},
    {NULL,
     {"/usr/bin/jupyter", "kernelgateway", "--KernelGatewayApp.auth_token=secret",
      "--JupyterApp.answer_yes=true", "--JupyterWebsocketPersonality.list_kernels=true"},
     {LISTEN, "127.0.0.1:8888", "--gateway-token", "secret"}},
    {NULL,
     {"jupyter-kernelgateway", "--ip", "::", "--port", "0"},
     {LISTEN, "[::]:0", "--gateway-open"}},
    {NULL,
     {"jupyter", "enterprisegateway", "--EnterpriseGatewayApp.ip=fd00::1", "--debug",
      "--EnterpriseGatewayApp.auth_token="},
     {LISTEN, "[fd00::1]:8888", "--gateway-open", "--log-level", "debug"}},
    {"KG_AUTH_TOKEN=of-the-image",
     {"jupyter", "kernelgateway"},
     {LISTEN, "127.0.0.1:8888", "--gateway-token", "of-the-image"}},
    {"KG_AUTH_TOKEN=of-the-image",
     {"jupyter", "kernelgateway", "--KernelGatewayApp.auth_token=mine"},
     {LISTEN, "127.0.0.1:8888", "--gateway-token", "mine"}},
    {"KG_PRESPAWN_COUNT=2",
     {"jupyter", "kernelgateway"},
     {LISTEN, "127.0.0.1:8888", "--gateway-open", "--kernel-pool", "2"}},
    {"EG_PORT=9", {"jupyter", "kernelgateway"}, {LISTEN, "127.0.0.1:9", "--gateway-open"}},
    {"JUPYTER_TOKEN=x", {"jupyter", "kernelgateway"}, {LISTEN, "127.0.0.1:8888"}},
    {NULL,
     {"jupyter", "kernelgateway", "--max_kernels=3", "--KernelGatewayApp.default_kernel_name=ir",
      "--MappingKernelManager.cull_idle_timeout=600", "--log-level=INFO", "--ip=localhost"},
     {LISTEN, "127.0.0.1:8888", "--gateway-open", "--contexts-max", "3", "--default-kernel", "ir"}},
    {NULL,
     {"jupyter", "kernelgateway", "--KernelGatewayApp.allow_origin=lab.example"},
     {LISTEN, "127.0.0.1:8888", "--gateway-open"}},
    {NULL,
     {"jupyter", "kernelgateway", "--KernelGatewayApp.api=kernel_gateway.jupyter_websocket",
      "--KernelGatewayApp.base_url=/"},
     {LISTEN, "127.0.0.1:8888", "--gateway-open"}},
    {NULL,
     {"jupyter", "kernelgateway", "--KernelManager.x", "1", "--log-level", "10", "-y"},
     {LISTEN, "127.0.0.1:8888", "--gateway-open"}},
    {NULL, {"jupyter", "kernelgateway", "--bogus"}, {NULL}},
    {NULL, {"jupyter", "kernelgateway", "--auth_token"}, {NULL}},
    {NULL,
     {"jupyter", "kernelgateway", "--KernelGatewayApp.nonsense=1"},
     {LISTEN, "127.0.0.1:8888", "--gateway-open"}},
    {NULL, {"jupyter", "kernelgateway", "--KernelGatewayApp.auth_tokn=secret"}, {NULL}},
    {NULL, {"jupyter", "kernelgateway", "--generate-config"}, {NULL}},
    {NULL, {"jupyter", "lab"}, {NULL}},
    {NULL, {"jupyter"}, {NULL}},
    {NULL, {"jupyter", "kernelgateway", "word"}, {NULL}},
    {NULL, {"jupyter", "kernelgateway", "--KernelGatewayApp.certfile=/c"}, {NULL}},
    {NULL, {"jupyter", "kernelgateway", "--KernelGatewayApp.base_url=/x"}, {NULL}},
    {NULL, {"jupyter", "kernelgateway", "--KernelGatewayApp.api=notebook-http"}, {NULL}},
    {"KG_SEED_URI=/n.ipynb", {"jupyter", "kernelgateway"}, {NULL}},
};

static void check_row(const struct row *row)
{
    struct arena arena;
    struct err err = {.text = ""};
    int argc = 0;
    char **argv = NULL;
    int n = 0;
    while (n < WORDS_MAX && row->in[n] != NULL)
        n++;
    char *env = row->env != NULL ? strdup(row->env) : NULL;
    char *equals = env != NULL ? strchr(env, '=') : NULL;
    if (equals != NULL) {
        *equals = '\0';
        setenv(env, equals + 1, 1);
    }
    arena_init(&arena);
    assert_true(jupyter_is_wanted(n, (char *const *)row->in));
    int result = jupyter_prepare(n, (char *const *)row->in, &arena, &argc, &argv, &err);
    if (row->out[0] == NULL) {
        assert_true(result < 0);
        assert_true(err.text[0] != '\0');
    } else {
        assert_int_equal(result, JUPYTER_RUN);
        assert_string_equal(argv[0], row->in[0]);
        for (int i = 0; row->out[i] != NULL; i++)
            assert_string_equal(argv[i + 1], row->out[i]);
        assert_null(row->out[argc - 1]);
        assert_null(argv[argc]);
    }
    if (env != NULL)
        unsetenv(env);
    free(env);
    arena_done(&arena);
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_row(&rows[i]);
}

static void test_other_names(void **state)
{
    static const char *const names[] = {
        "execd", "/x/jupyterlab", "jupyter-lab", "bootstrap.sh", "my-jupyter", "jupyter-", ""};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *argv[] = {(char *)(uintptr_t)names[i], (char *)(uintptr_t) "kernelgateway", NULL};
        assert_false(jupyter_is_wanted(2, argv));
    }
}

/* A secret must be wiped where the kernel shows it, so its word is not copied. */
static void test_the_token_is_the_word_itself(void **state)
{
    char word[] = "--KernelGatewayApp.auth_token=secret";
    char *in[] = {(char *)(uintptr_t) "jupyter", (char *)(uintptr_t) "kernelgateway", word, NULL};
    struct arena arena;
    int argc;
    char **argv;
    (void)state;
    arena_init(&arena);
    assert_int_equal(jupyter_prepare(3, in, &arena, &argc, &argv, NULL), 0);
    assert_ptr_equal(argv[argc - 1], strchr(word, '=') + 1);
    arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_other_names),
        cmocka_unit_test(test_the_token_is_the_word_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
