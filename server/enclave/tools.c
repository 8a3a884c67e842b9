#include "server/enclave/tools.h"

#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/json/jfield.h"

#define TIMEOUT_SCHEMA                                                                             \
    "\"timeout\":{\"type\":\"integer\",\"description\":\"Execution timeout in seconds\","          \
    "\"default\":30}"
#define OBJECT(properties, required)                                                               \
    "{\"type\":\"object\",\"properties\":{" properties "},\"required\":[" required                 \
    "],\"additionalProperties\":false}"

const struct tool tools[] = {
    {.name = "python_executor",
     .description = "Execute Python code in the sandbox",
     .parameters = OBJECT("\"code\":{\"type\":\"string\",\"description\":\"Python code to "
                          "execute\"}," TIMEOUT_SCHEMA,
                          "\"code\""),
     .build = tool_build_python,
     .read = tool_read_program},
    {.name = "shell_executor",
     .description = "Execute shell commands in the sandbox",
     .parameters =
         OBJECT("\"command\":{\"anyOf\":[{\"type\":\"string\",\"description\":\"Shell "
                "command to execute\"},{\"type\":\"array\",\"items\":{\"type\":"
                "\"string\"},\"description\":\"Program and arguments\"}]}," TIMEOUT_SCHEMA,
                "\"command\""),
     .build = tool_build_shell,
     .read = tool_read_program},
    {.name = "file_operation",
     .description = "Perform file operations like read, write, delete, and list files",
     .parameters = OBJECT(
         "\"operation\":{\"type\":\"string\",\"description\":\"Type of file operation to "
         "perform\",\"enum\":[\"create\",\"read\",\"write\",\"delete\",\"list\",\"exists\"]},"
         "\"file_path\":{\"type\":\"string\",\"description\":\"Path to the file or directory\"},"
         "\"content\":{\"type\":\"string\",\"description\":\"Content to write to file\"},"
         "\"encoding\":{\"type\":\"string\",\"description\":\"File encoding\",\"default\":"
         "\"utf-8\"}",
         "\"operation\",\"file_path\""),
     .build = tool_build_file,
     .read = tool_read_file},
    {.name = "multi_code_executor",
     .description = "Execute code in many languages in the sandbox",
     .parameters = OBJECT(
         "\"language\":{\"type\":\"string\",\"description\":\"Language of the code: python, cpp, "
         "go, java, nodejs, bash, R, ...\"},\"code\":{\"type\":\"string\",\"description\":"
         "\"Source code to execute\"},\"files\":{\"type\":\"object\",\"additionalProperties\":{"
         "\"type\":\"string\"},\"description\":\"Further files, name to content\"},"
         "\"compile_timeout\":{\"type\":\"integer\",\"description\":\"Compile timeout in "
         "seconds\"},\"run_timeout\":{\"type\":\"integer\",\"description\":\"Run timeout in "
         "seconds\",\"default\":30}",
         "\"language\",\"code\""),
     .build = tool_build_program,
     .read = tool_read_program},
    {.name = "notebook_executor",
     .description = "Execute Python code in a Jupyter kernel environment",
     .parameters = OBJECT("\"code\":{\"type\":\"string\",\"description\":\"Python code to execute "
                          "in the notebook kernel\"}," TIMEOUT_SCHEMA,
                          "\"code\""),
     .notebook = true,
     .build = tool_build_notebook,
     .read = tool_read_notebook},
};
const size_t n_tools = ARRAY_LEN(tools);

const struct tool *tool_find(const char *name)
{
    for (size_t i = 0; i < n_tools; i++) {
        if (strcmp(tools[i].name, name) == 0)
            return &tools[i];
    }
    return NULL;
}

json_t *tool_schema(const struct tool *tool)
{
    return json_pack("{s:s, s:{s:s, s:s, s:o}}", "type", "function", "function", "name", tool->name,
                     "description", tool->description, "parameters",
                     json_loads(tool->parameters, 0, NULL));
}

json_t *tool_text_json(const struct strbuf *text)
{
    if (strbuf_check(text) < 0)
        return NULL;
    return json_stringn(text->data != NULL ? text->data : "", text->len);
}

void tool_outcome_error(struct tool_outcome *ret, const char *status, const char *text)
{
    cleanup_strbuf struct strbuf repaired;

    strbuf_init(&repaired, 0);
    strbuf_add_repaired(&repaired, text, strlen(text));
    *ret = (struct tool_outcome){
        .status = status, .output = json_string(""), .error = tool_text_json(&repaired)};
}

int tool_text(const json_t *parameters, const char *key, bool required, const char **ret_text,
              struct err *err)
{
    const json_t *value = json_object_get(parameters, key);

    *ret_text = NULL;
    if (value == NULL || json_is_null(value))
        return required ? err_set(err, ERR_VALIDATION, EINVAL, "parameters.%s: required", key) : 0;
    if (!json_is_string(value))
        return err_set(err, ERR_VALIDATION, EINVAL, "parameters.%s: expected a text", key);
    *ret_text = json_string_value(value);
    return 0;
}

int tool_seconds(const json_t *parameters, const char *key, int64_t *value, struct err *err)
{
    const json_t *given = json_object_get(parameters, key);

    if (given == NULL || json_is_null(given))
        return 0;
    double seconds = json_is_number(given) ? json_number_value(given) : 0;
    if (!(seconds >= 1 && seconds <= TOOL_TIMEOUT_MAX_S))
        return err_set(err, ERR_VALIDATION, EINVAL, "parameters.%s: expected seconds from 1 to %d",
                       key, TOOL_TIMEOUT_MAX_S);
    *value = (int64_t)seconds;
    return 0;
}

bool tool_text_is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}
