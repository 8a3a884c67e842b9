"""Row D61: which texts are JSON and which are not, as the JSONTestSuite sorts them, through a real request.

The cases are made here, by the suite's rules and names (y: must be taken, n: must be refused, i: may be either), as a
value inside a body whose other keys are right; s_ are whole bodies. Stricter than JSON on purpose: duplicate keys and
NUL in texts are refused, nesting ends at 64.
"""

import time

import pytest

from harness.contract import Contract
from harness.execd import Execd

CONTRACT = Contract("execd")
DEEP = 60  # plus the body's own level: within the limit


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with Execd(tmp_path_factory.mktemp("json")) as running:
        yield running


def post(agent, body):
    return agent.client.post("/command", content=body)


def around(value):
    """A body that runs `true`, with the value at a key that nobody knows."""
    return b'{"command":"true","unknown":' + value + b"}"


YES = {
    "array_arraysWithSpaces": b"[[]   ]", "array_empty-string": b'[""]', "array_empty": b"[]", "array_ending_with_newline": b'["a"]\n',
    "array_false": b"[false]", "array_heterogeneous": b'[null, 1, "1", {}]', "array_null": b"[null]",
    "array_with_1_and_newline": b"[1\n]", "array_with_leading_space": b" [1]", "array_with_several_null": b"[1,null,null,null,2]",
    "array_with_trailing_space": b"[2] ", "number": b"[123e65]", "number_0e+1": b"[0e+1]", "number_0e1": b"[0e1]",
    "number_after_space": b"[ 4]", "number_double_close_to_zero": b"[-0.000000000000000000000000000000000000000000000000000000000001]",
    "number_int_with_exp": b"[20e1]", "number_minus_zero": b"[-0]", "number_negative_int": b"[-123]", "number_negative_one": b"[-1]",
    "number_real_capital_e": b"[1E22]", "number_real_capital_e_neg_exp": b"[1E-2]", "number_real_capital_e_pos_exp": b"[1E+2]",
    "number_real_exponent": b"[123e45]", "number_real_fraction_exponent": b"[123.456e78]", "number_real_neg_exp": b"[1e-2]",
    "number_real_pos_exponent": b"[1e+2]", "number_simple_int": b"[123]", "number_simple_real": b"[123.456789]",
    "object_basic": b'{"asd":"sdf"}', "object": b'{"asd":"sdf", "dfg":"fgh"}', "object_empty": b"{}", "object_empty_key": b'{"":0}',
    "object_extreme_numbers": b'{ "min": -1.0e+28, "max": 1.0e+28 }', "object_long_strings": b'{"x":"' + b"x" * 40 + b'"}',
    "object_simple": b'{"a":[]}', "object_string_unicode": '{"title":"\\u041f\\u043e\\u043b"}'.encode(), "object_with_newlines": b'{\n"a": "b"\n}',
    "string_1_2_3_bytes_UTF-8_sequences": b'["\\u0060\\u012a\\u12AB"]', "string_accepted_surrogate_pair": b'["\\uD801\\udc37"]',
    "string_accepted_surrogate_pairs": b'["\\ud83d\\ude39\\ud83d\\udc8d"]', "string_allowed_escapes": b'["\\"\\\\\\/\\b\\f\\n\\r\\t"]',
    "string_backslash_and_u_escaped_zero": b'["\\\\u0000"]', "string_backslash_doublequotes": b'["\\""]',
    "string_comments": b'["a/*b*/c/*d//e"]', "string_double_escape_a": b'["\\\\a"]', "string_double_escape_n": b'["\\\\n"]',
    "string_escaped_control_character": b'["\\u0012"]', "string_escaped_noncharacter": b'["\\uFFFF"]', "string_in_array": b'["asd"]',
    "string_last_surrogates_1_and_2": b'["\\uDBFF\\uDFFF"]', "string_nbsp_uescaped": b'["new\\u00A0line"]',
    "string_nonCharacterInUTF-8_U+10FFFF": '["\U0010ffff"]'.encode(), "string_nonCharacterInUTF-8_U+FFFF": '["\uffff"]'.encode(),
    "string_one-byte-utf-8": b'["\\u002c"]', "string_pi": '["π"]'.encode(), "string_simple_ascii": b'["asd "]', "string_space": b'" "',
    "string_surrogates_U+1D11E": b'["\\uD834\\uDd1e"]', "string_three-byte-utf-8": b'["\\u0821"]', "string_two-byte-utf-8": b'["\\u0123"]',
    "string_u+2028_line_sep": '["\u2028"]'.encode(), "string_u+2029_par_sep": '["\u2029"]'.encode(), "string_uEscape": b'["\\u0061\\u30af"]',
    "string_unescaped_char_delete": b'["\x7f"]', "string_unicode": b'["\\uA66D"]', "string_unicodeEscapedBackslash": b'["\\u005C"]',
    "string_unicode_2": '["⍂㈴⍂"]'.encode(), "string_unicode_U+10FFFE": b'["\\uDBFF\\uDFFE"]', "string_unicode_U+200B": b'["\\u200B"]',
    "string_unicode_U+2064": b'["\\u2064"]', "string_unicode_U+FDD0": b'["\\uFDD0"]', "string_unicode_escaped_double_quote": b'["\\u0022"]',
    "string_utf8": '["€𝄞"]'.encode(), "string_with_del_character": b'["a\x7fa"]', "structure_lonely_false": b"false",
    "structure_lonely_int": b"42", "structure_lonely_negative_real": b"-0.1", "structure_lonely_null": b"null",
    "structure_lonely_string": b'"asd"', "structure_lonely_true": b"true", "structure_string_empty": b'""',
    "structure_true_in_array": b"[true]", "structure_whitespace_array": b" [] ", "depth": b"[" * DEEP + b"]" * DEEP,
}

NO = {
    "array_1_true_without_comma": b"[1 true]", "array_a_invalid_utf8": b"[a\xe5]", "array_colon_instead_of_comma": b'["": 1]',
    "array_comma_after_close": b'[""],', "array_comma_and_number": b"[,1]", "array_double_comma": b"[1,,2]",
    "array_double_extra_comma": b'["x",,]', "array_extra_close": b'["x"]]', "array_extra_comma": b'["",]',
    "array_incomplete": b'["x"', "array_incomplete_invalid_value": b"[x", "array_inner_array_no_comma": b"[3[4]]",
    "array_invalid_utf8": b"[\xff]", "array_items_separated_by_semicolon": b"[1:2]", "array_just_comma": b"[,]", "array_just_minus": b"[-]",
    "array_missing_value": b"[   , \"\"]", "array_newlines_unclosed": b'["a",\n4\n,1,', "array_number_and_comma": b"[1,]",
    "array_number_and_several_commas": b"[1,,]", "array_spaces_vertical_tab_formfeed": b'["\x0ba"\\f]', "array_star_inside": b"[*]",
    "array_unclosed": b'[""', "array_unclosed_trailing_comma": b"[1,", "array_unclosed_with_new_lines": b"[1,\n1\n,1",
    "array_unclosed_with_object_inside": b"[{}", "incomplete_false": b"[fals]", "incomplete_null": b"[nul]", "incomplete_true": b"[tru]",
    "multidigit_number_then_00": b"123\x00", "number_++": b"[++1234]", "number_+1": b"[+1]", "number_+Inf": b"[+Inf]", "number_-01": b"[-01]",
    "number_-1.0.": b"[-1.0.]", "number_-2.": b"[-2.]", "number_-NaN": b"[-NaN]", "number_.-1": b"[.-1]", "number_.2e-3": b"[.2e-3]",
    "number_0.1.2": b"[0.1.2]", "number_0.3e+": b"[0.3e+]", "number_0.3e": b"[0.3e]", "number_0.e1": b"[0.e1]", "number_0_capital_E+": b"[0E+]",
    "number_0_capital_E": b"[0E]", "number_0e+": b"[0e+]", "number_0e": b"[0e]", "number_1.0e+": b"[1.0e+]", "number_1.0e-": b"[1.0e-]",
    "number_1.0e": b"[1.0e]", "number_1_000": b"[1 000.0]", "number_1eE2": b"[1eE2]", "number_2.e+3": b"[2.e+3]", "number_2.e-3": b"[2.e-3]",
    "number_2.e3": b"[2.e3]", "number_9.e+": b"[9.e+]", "number_Inf": b"[Inf]", "number_NaN": b"[NaN]",
    "number_U+FF11_fullwidth_digit_one": "[１]".encode(), "number_expression": b"[1+2]", "number_hex_1_digit": b"[0x1]",
    "number_hex_2_digits": b"[0x42]", "number_infinity": b"[Infinity]", "number_invalid+-": b"[0e+-1]",
    "number_invalid-negative-real": b"[-123.123foo]", "number_invalid-utf-8-in-bigger-int": b"[123\xe5]",
    "number_invalid-utf-8-in-exponent": b"[1e1\xe5]", "number_invalid-utf-8-in-int": b"[0\xe5]", "number_minus_infinity": b"[-Infinity]",
    "number_minus_sign_with_trailing_garbage": b"[-foo]", "number_minus_space_1": b"[- 1]", "number_neg_int_starting_with_zero": b"[-012]",
    "number_neg_real_without_int_part": b"[-.123]", "number_neg_with_garbage_at_end": b"[-1x]", "number_real_garbage_after_e": b"[1ea]",
    "number_real_with_invalid_utf8_after_e": b"[1e\xe5]", "number_real_without_fractional_part": b"[1.]", "number_starting_with_dot": b"[.123]",
    "number_with_alpha": b"[1.2a-3]", "number_with_alpha_char": b"[1.8011670033376514H-308]", "number_with_leading_zero": b"[012]",
    "object_bad_value": b'["x", truth]', "object_bracket_key": b'{[: "x"}', "object_comma_instead_of_colon": b'{"x", null}',
    "object_double_colon": b'{"x"::"b"}', "object_emoji": "{🇨🇭}".encode(), "object_garbage_at_end": b'{"a":"a" 123}',
    "object_key_with_single_quotes": b"{key: 'value'}", "object_lone_continuation_byte_in_key_and_trailing_comma": b'{"\xb9":"0",}',
    "object_missing_colon": b'{"a" b}', "object_missing_key": b'{:"b"}', "object_missing_semicolon": b'{"a" "b"}', "object_missing_value": b'{"a":',
    "object_no-colon": b'{"a"', "object_non_string_key": b"{1:1}", "object_non_string_key_but_huge_number_instead": b"{9999E9999:1}",
    "object_repeated_null_null": b"{null:null,null:null}", "object_several_trailing_commas": b'{"id":0,,,,,}', "object_single_quote": b"{'a':0}",
    "object_trailing_comma": b'{"id":0,}', "object_trailing_comment": b'{"a":"b"}/**/', "object_trailing_comment_open": b'{"a":"b"}/**//',
    "object_trailing_comment_slash_open": b'{"a":"b"}//', "object_trailing_comment_slash_open_incomplete": b'{"a":"b"}/',
    "object_two_commas_in_a_row": b'{"a":"b",,"c":"d"}', "object_unquoted_key": b'{a: "b"}', "object_unterminated-value": b'{"a":"a',
    "object_with_single_string": b'{ "foo" : "bar", "a" }', "object_with_trailing_garbage": b'{"a":"b"}#', "single_space": b" ",
    "string_1_surrogate_then_escape": b'["\\uD800\\"]', "string_1_surrogate_then_escape_u": b'["\\uD800\\u"]',
    "string_1_surrogate_then_escape_u1": b'["\\uD800\\u1"]', "string_1_surrogate_then_escape_u1x": b'["\\uD800\\u1x"]',
    "string_accentuated_char_no_quotes": "[é]".encode(), "string_backslash_00": b'["\\\x00"]', "string_escape_x": b'["\\x00"]',
    "string_escaped_backslash_bad": b'["\\\\\\"]', "string_escaped_ctrl_char_tab": b'["\\\t"]', "string_escaped_emoji": '["\\🌀"]'.encode(),
    "string_incomplete_escape": b'["\\"]', "string_incomplete_escaped_character": b'["\\u00A"]', "string_incomplete_surrogate": b'["\\uD834\\uDd"]',
    "string_incomplete_surrogate_escape_invalid": b'["\\uD800\\uD800\\x"]', "string_invalid-utf-8-in-escape": b'["\\u\xe5"]',
    "string_invalid_backslash_esc": b'["\\a"]', "string_invalid_unicode_escape": b'["\\uqqqq"]', "string_invalid_utf8_after_escape": b'["\\\xe5"]',
    "string_leading_uescaped_thinspace": b'[\\u0020"asd"]', "string_no_quotes_with_bad_escape": b"[\\n]", "string_single_doublequote": b'"',
    "string_single_quote": b"['single quote']", "string_single_string_no_double_quotes": b"abc", "string_start_escape_unclosed": b'["\\',
    "string_unescaped_ctrl_char": b'["a\x00a"]', "string_unescaped_newline": b'["new\nline"]', "string_unescaped_tab": b'["\t"]',
    "string_unicode_CapitalU": b'"\\UA66D"', "string_with_trailing_garbage": b'""x', "structure_U+2060_word_joined": "[\u2060]".encode(),
    "structure_angle_bracket_.": b"<.>", "structure_angle_bracket_null": b"[<null>]", "structure_array_trailing_garbage": b"[1]x",
    "structure_array_with_extra_array_close": b"[1]]", "structure_array_with_unclosed_string": b'["asd]', "structure_ascii-unicode-identifier": "aå".encode(),
    "structure_capitalized_True": b"[True]", "structure_close_unopened_array": b"1]", "structure_comma_instead_of_closing_brace": b'{"x": true,',
    "structure_double_array": b"[][]", "structure_end_array": b"]", "structure_incomplete_UTF8_BOM": b"\xef\xbb{}", "structure_lone-invalid-utf-8": b"\xe5",
    "structure_lone-open-bracket": b"[", "structure_no_data": b"", "structure_null-byte-outside-string": b"[\x00]", "structure_number_with_trailing_garbage": b"2@",
    "structure_object_followed_by_closing_object": b"{}}", "structure_object_unclosed_no_value": b'{"":', "structure_object_with_comment": b'{"a":/*comment*/"b"}',
    "structure_object_with_trailing_garbage": b'{"a": true} "x"', "structure_open_array_apostrophe": b"['", "structure_open_array_comma": b"[,",
    "structure_open_array_open_object": b"[{", "structure_open_array_open_string": b'["a', "structure_open_array_string": b'["a"',
    "structure_open_object": b"{", "structure_open_object_close_array": b"{]", "structure_open_object_comma": b"{,", "structure_open_object_open_array": b"{[",
    "structure_open_object_open_string": b'{"a', "structure_open_object_string_with_apostrophes": b"{'a'", "structure_single_eacute": b"\xe9",
    "structure_single_star": b"*", "structure_trailing_#": b'{"a":"b"}#{}', "structure_uescaped_LF_before_string": b'[\\u000A""]', "structure_unclosed_array": b"[1",
    "structure_unclosed_array_partial_null": b"[ false, nul", "structure_unclosed_array_unfinished_false": b"[ true, fals",
    "structure_unclosed_array_unfinished_true": b"[ false, tru", "structure_unclosed_object": b'{"asd":"asd"', "structure_unicode-identifier": "å".encode(),
    "structure_whitespace_U+2060_word_joiner": "\u2060".encode(), "structure_whitespace_formfeed": b"[\x0c]",
    # ours
    "object_duplicated_key": b'{"a":"b","a":"c"}', "object_duplicated_key_and_value": b'{"a":"b","a":"b"}', "object_escaped_null_in_key": b'{"a\\u0000b": 1}',
    "string_null_escape": b'["\\u0000"]', "depth": b"[" * 64 + b"]" * 64, "structure_100000_opening_arrays": b"[" * 100000,
    "structure_open_array_object": b'[{"":' * 50000, "string_invalid_utf-8": b'["\xff"]', "string_overlong": b'["\xc0\xaf"]',
    "number_then_null_byte": b"[123\x00]", "string_UTF8_surrogate": b'["\xed\xa0\x80"]', "string_lone_surrogate": b'["\\uDADA"]', "string_inverted_surrogates": b'["\\uDd1e\\uD834"]',
}

EITHER = {
    "number_double_huge_neg_exp": b"[123.456e-789]", "number_huge_exp": b"[0.4e00669999999999999999999999]", "number_neg_int_huge_exp": b"[-1e+9999]",
    "number_pos_double_huge_exp": b"[1.5e+9999]", "number_real_neg_overflow": b"[-123123e100000]", "number_real_pos_overflow": b"[123123e100000]",
    "number_real_underflow": b"[123e-10000000]", "number_too_big_neg_int": b"[-123123123123123123123123123123]",
    "number_too_big_pos_int": b"[100000000000000000000]", "number_very_big_negative_int": b"[-237462374673276894279832749832423479823246327846]",
    "number_past_2_53": b"[9007199254740993]", "number_1e400": b"[1e400]", "string_iso_latin_1": b'["\xe9"]',
}

WHOLE = {
    "no body": b"", "a byte order mark": b"\xef\xbb\xbf" + around(b"1"), "UTF-16LE": around(b"1").decode().encode("utf-16-le"),
    "UTF-16BE with mark": b"\xfe\xff" + around(b"1").decode().encode("utf-16-be"), "an array": b"[" + around(b"1") + b"]", "a text": b'"true"',
    "null": b"null", "twice": around(b"1") * 2, "with a comma behind": around(b"1") + b",", "with a NUL behind": around(b"1") + b"\0",
    "the key twice": b'{"command":"true","command":"true"}', "the key twice, once escaped": b'{"command":"true","comm\\u0061nd":"true"}',
    "an unclosed string": b'{"command":"true', "a newline inside": b'{"command":"true\n"}', "100,000 brackets": b"[" * 100000,
}


@pytest.mark.parametrize("value", YES.values(), ids=YES)
def test_D61_must_be_taken(agent, value):
    response = post(agent, around(value))
    assert response.status_code == 200, response.text


def check_refused(agent, body):
    CONTRACT.check_error(post(agent, body), 400)


@pytest.mark.parametrize("value", NO.values(), ids=NO)
def test_D61_must_be_refused(agent, value):
    check_refused(agent, around(value))


@pytest.mark.parametrize("value", EITHER.values(), ids=EITHER)
def test_D61_may_be_either(agent, value):
    response = post(agent, around(value))
    assert response.status_code in (200, 400)
    if response.status_code == 400:
        CONTRACT.check_error(response, 400)


@pytest.mark.parametrize("body", WHOLE.values(), ids=WHOLE)
def test_D61_whole_bodies(agent, body):
    check_refused(agent, body)


def seconds(agent, body):
    started = time.monotonic()
    CONTRACT.check_error(post(agent, body), 400, 413)
    return time.monotonic() - started


def test_D61_time_grows_with_the_length_only(agent):
    """Many keys, and keys made to share a hash in weak tables, cost what as many bytes cost."""
    many = b"{" + b",".join(b'"k%d":0' % i for i in range(200000)) + b"}x"
    alike = b"{" + b",".join(b'"' + bytes([65 + (i >> k & 1) * 32 for k in range(17)]) + b'":0' for i in range(100000)) + b"}x"
    plain = b'{"k":"' + b"x" * len(many) + b'"}x'
    base = max(seconds(agent, plain), 0.02)
    assert seconds(agent, many) < 100 * base and seconds(agent, alike) < 100 * base
    assert agent.client.get("/ping").status_code == 200
