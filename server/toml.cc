#include <cerrno>
#include <sstream>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wshadow"
#include <toml++/toml.h>
#pragma GCC diagnostic pop

#include <jansson.h>

extern "C" {
struct err;
int err_set(struct err *err, int code, int errnum, const char *fmt, ...);

int toml_to_json(const char *text, size_t len, const char *name, json_t **ret_json, struct err *err)
{
    try {
        toml::table table = toml::parse(std::string_view(text, len));
        std::ostringstream json;
        json << toml::json_formatter(table);
        *ret_json = json_loads(json.str().c_str(), 0, nullptr);
        return *ret_json != nullptr ? 0 : err_set(err, 0, ENOMEM, "%s: too large", name);
    } catch (const toml::parse_error &e) {
        return err_set(err, 0, EINVAL, "%s:%u:%u: %.150s", name,
                       static_cast<unsigned>(e.source().begin.line),
                       static_cast<unsigned>(e.source().begin.column), e.description().data());
    } catch (const std::exception &e) {
        return err_set(err, 0, EINVAL, "%s: %.150s", name, e.what());
    }
}
}
