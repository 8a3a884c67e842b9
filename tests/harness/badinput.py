"""Wrong inputs, derived from the schemas of an OpenAPI file.

`body_mutations(contract, schema, base)` takes a body that is right and yields (label, bytes) of bodies that are
wrong in exactly one place. A new field in the contract is tested without a change here.
"""

import json

# What each JSON type looks like; the wrong ones of a place are those that its schema does not name.
SAMPLES = {"string": "word", "integer": 7, "number": 1.5, "boolean": True, "array": [], "object": {}}
STRING_LIMIT = 64 << 10  # a longer text is made only to pass a stated maxLength below this


class Raw:
    """JSON text that json.dumps would never write."""

    def __init__(self, text):
        self.text = text


def dumps(value):
    """JSON bytes; Raw values stand in it as they are."""
    if isinstance(value, Raw):
        return value.text if isinstance(value.text, bytes) else value.text.encode()
    if isinstance(value, dict):
        return b"{" + b",".join(dumps(k) + b":" + dumps(v) for k, v in value.items()) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(dumps, value)) + b"]"
    return json.dumps(value).encode()


def kinds(contract, schema):
    """The JSON types that a schema takes."""
    schema = contract.resolve(schema)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return set().union(*(kinds(contract, option) for option in schema[key]))
    named = schema.get("type", [])
    named = {named} if isinstance(named, str) else set(named)
    return named | {"integer"} if "number" in named else named


def limits(contract, schema, kind):
    """The part of a schema that speaks of one JSON type."""
    schema = contract.resolve(schema)
    for key in ("anyOf", "oneOf"):
        for option in schema.get(key, []):
            if kind in kinds(contract, option):
                return contract.resolve(option)
    return schema


def wrong_strings(schema):
    if 0 < schema.get("maxLength", 0) < STRING_LIMIT:
        yield "longer than maxLength", "x" * (schema["maxLength"] + 1)
    if schema.get("minLength"):
        yield "empty", ""
    if "enum" in schema:
        yield "not in the enum", "no-such-value"
    yield "with a NUL", Raw('"a\\u0000b"')
    yield "not UTF-8", Raw(b'"a\xff\xfeb"')
    yield "overlong UTF-8", Raw(b'"a\xc0\xafb"')
    yield "a lone surrogate", Raw('"\\ud800"')


def wrong_integers(schema):
    yield "past 64 bits", Raw("9223372036854775808")
    yield "past every double", Raw("1e400")
    yield "a fraction", 1.5
    yield "with an exponent", Raw("1e3")
    if "minimum" in schema:
        yield "below the minimum", schema["minimum"] - 1
        yield "at the end of 64 bits", -(1 << 63)
    if "maximum" in schema:
        yield "above the maximum", schema["maximum"] + 1


def wrong_values(contract, schema):
    """(label, value) for one place; whatever does not depend on what is right there."""
    allowed = kinds(contract, schema)
    if not allowed:
        return
    for kind, sample in SAMPLES.items():
        if kind not in allowed:
            yield f"{kind} instead of {'/'.join(sorted(allowed))}", sample
    if "string" in allowed:
        yield from wrong_strings(limits(contract, schema, "string"))
    if "integer" in allowed:
        yield from wrong_integers(limits(contract, schema, "integer"))
    if "array" in allowed:
        of_array = limits(contract, schema, "array")
        if 0 < of_array.get("maxItems", 0) <= 10000:
            yield "more than maxItems", ["x"] * (of_array["maxItems"] + 1)
        for label, value in wrong_values(contract, of_array.get("items", {})):
            yield f"[0]: {label}", [value]
    if "object" in allowed:
        of_object = limits(contract, schema, "object")
        extra = of_object.get("additionalProperties")
        if 0 < of_object.get("maxProperties", 0) <= 10000 and extra:
            yield "more than maxProperties", {f"K{i}": "v" for i in range(of_object["maxProperties"] + 1)}
        if isinstance(extra, dict):
            for label, value in wrong_values(contract, extra):
                yield f".K: {label}", {"K": value}
        for name, part in of_object.get("properties", {}).items():
            for label, value in wrong_values(contract, part):
                yield f".{name}: {label}", {name: value}


def body_mutations(contract, schema, base):
    """Bodies that are wrong in one place. Required fields are also left out and null."""
    schema = contract.resolve(schema)
    for kind, sample in SAMPLES.items():
        if kind not in kinds(contract, schema):
            yield f"{kind} as the body", dumps(sample)
    if "null" not in kinds(contract, schema):
        yield "null as the body", b"null"
    if "array" in kinds(contract, schema):
        for label, value in wrong_values(contract, schema):
            yield label, dumps(value)
    for name, part in schema.get("properties", {}).items():
        for label, value in wrong_values(contract, part):
            yield f"{name}: {label}", dumps({**base, name: value})
    for name in schema.get("required", []):
        rest = {key: value for key, value in base.items() if key != name}
        yield f"{name}: missing", dumps(rest)
        yield f"{name}: null", dumps({**rest, name: None})
    yield from broken_bodies(dumps(base))


def broken_bodies(good):
    """Bodies that are no JSON value, made of one that is."""
    yield "no body", b""
    yield "cut", good[:-1]
    yield "trailing junk", good + b"x"
    yield "two values", good + good
    yield "a byte order mark", b"\xef\xbb\xbf" + good
    yield "UTF-16", good.decode().encode("utf-16")
    yield "a NUL behind it", good + b"\0"
    yield "a thousand brackets", b"[" * 1000
    yield "no JSON at all", b"\xff\xfe\x00<xml/>"


def parameter_mutations(contract, parameter):
    """(label, raw query value) that a query parameter must not take."""
    schema = contract.resolve(parameter.get("schema", {}))
    allowed = kinds(contract, schema)
    if allowed <= {"integer"} and not parameter.get("x-lenient"):
        for text in ("x", "1.5", "1e3", "0x10", "%20", "+"):
            yield f"{text!r} instead of an integer", text
    if allowed <= {"integer"}:
        for text in ("99999999999999999999", "-99999999999999999999", "1%00"):
            yield f"{text!r} instead of an integer", text
        if schema.get("format") == "int64":
            yield "past 64 bits", "9223372036854775808"
        if schema.get("minimum", -1) >= 0:
            yield "negative", "-1"
    if allowed <= {"boolean"}:
        for text in ("maybe", "2", "truetrue"):
            yield f"{text!r} instead of a boolean", text
    if "enum" in schema and not parameter.get("x-lenient"):
        yield "not in the enum", "no-such-value"
    if "string" in allowed or "array" in allowed:
        yield "with a NUL", "a%00b"
        yield "a cut escape", "a%2"
        yield "no escape", "a%zz"
