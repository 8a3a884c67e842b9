"""What kernels publish, as events: every kind, in order, bounded, and said where something is cut."""

import json

import pytest

from harness.execd import Execd, output_of, sse_events
from harness.kernels import body_of, create, error_of, results, run


@pytest.fixture(scope="module")
def agent(specs, tmp_path_factory):
    with Execd(tmp_path_factory.mktemp("output"), "--kernel-pool", "0", env={"JUPYTER_PATH": str(specs)}) as execd:
        yield execd


@pytest.fixture
def fake(agent):
    made = create(agent, "fake")["id"]
    yield made
    agent.client.delete(f"/code/contexts/{made}")


def payload(event):
    return {key: value for key, value in event.items() if key not in ("timestamp", "receipt", "execution_time")}


def test_all_kinds_arrive_in_order(agent, fake):
    events = [payload(event) for event in run(agent, "everything", "fake", fake)]
    assert events == [
        {"type": "init", "text": fake},
        {"type": "stdout", "text": "1\n"},
        {"type": "result", "results": {"text": "2", "text/plain": "2"}},
        {"type": "clear_output", "clear_output": {"wait": True}},
        {"type": "display", "display": {"display_id": "id", "update": False}},
        {"type": "result", "results": {"text": "3", "text/plain": "3", "application/x-own+json": '[1,{"a":null}]'}},
        {"type": "display", "display": {"display_id": "id", "update": True}},
        {"type": "result", "results": {"image/svg+xml": "<svg/>"}},
        {"type": "stderr", "text": "4\n"},
        {"type": "clear_output", "clear_output": {"wait": False}},
        {"type": "execution_count", "execution_count": 9},
        {"type": "result", "results": {"text": "5", "text/plain": "5"}},
        {"type": "stdout", "text": "6\n"},
        {"type": "execution_complete"},
    ]


def test_small_pieces_come_together_and_the_first_does_not_wait(agent, fake):
    events = run(agent, "many_small", "fake", fake)
    assert output_of(events) == "first\n" + "".join(f"{i}\n" for i in range(5000)) + "last\n"
    texts = [event for event in events if event["type"] in ("stdout", "stderr")]
    assert texts[0]["text"] == "first\n"
    assert [event["text"] for event in texts[-2:]] == ["between\n", "last\n"]
    assert len(texts) < 4000
    assert texts[1]["timestamp"] - texts[0]["timestamp"] >= 300


def test_the_first_text_is_there_while_the_run_goes_on(agent):
    context = create(agent)["id"]
    code = "import time\nprint('now', flush=True)\ntime.sleep(60)"
    with agent.new_client(timeout=20) as client, client.stream("POST", "/code", json=body_of(code, context=context)) as answer:
        text = ""
        for chunk in answer.iter_text():
            text += chunk
            if "now" in text:
                break
        assert agent.client.delete("/code", params={"id": context}).status_code == 200
    agent.client.delete(f"/code/contexts/{context}")


def test_H03_long_plain_text_is_cut_and_says_so(agent):
    text = results(run(agent, "'é' * 2_000_000"))[0]
    assert text["text"] == text["text/plain"]
    body, _, note = text["text"].rpartition("\n")
    assert body == "'" + "é" * ((1 << 19) - 1) and note == "[execd: cut here, 4000002 bytes in all]"
    html = run(agent, "from IPython.display import HTML\nHTML('x' * 3_000_000)")
    assert len(results(html)[0]["text/html"]) == 3_000_000


def test_H03_text_is_cut_at_the_bound_not_at_a_zero_byte(agent):
    code = "class Long:\n    def __repr__(self): return 'a\\0' + 'b' * 2_000_000\nLong()"
    body, _, note = results(run(agent, code))[0]["text"].rpartition("\n")
    assert body == "a\0" + "b" * ((1 << 20) - 2) and note == "[execd: cut here, 2000002 bytes in all]"


def publish(agent, value):
    """The JSON text that a value is shown as, and what is said about it."""
    events = run(agent, f"from IPython.display import publish_display_data\n"
                        f"publish_display_data({{'application/json': {value}, 'text/plain': 'shown'}})")
    assert [shown["text"] for shown in results(events)] == ["shown"], events
    assert output_of(events, "stderr") == ""
    return results(events)[0]["application/json"]


def test_H03_numbers_of_a_display_stay_as_they_are(agent):
    assert publish(agent, "{'a': 0.1, 'b': 1e100, 'c': 5.0, 'd': 2**63 - 1}") == \
        '{"a":0.1,"b":1e+100,"c":5.0,"d":9223372036854775807}'


def test_H03_what_json_has_no_room_for_is_kept_as_far_as_possible(agent):
    assert json.loads(publish(agent, "[10**400, 1]")) == [str(10**400), 1]
    assert json.loads(publish(agent, "{'a\\0b': 1, 'c': 2}")) == {"a": 1, "c": 2}
    deep = publish(agent, "__import__('functools').reduce(lambda inner, _: {'a': inner}, range(600), 1)")
    assert deep.startswith('{"a":' * 500) and "left out, nested too deep" in deep
    assert publish(agent, "__import__('functools').reduce(lambda inner, _: [inner], range(300), 1)") == \
        "[" * 300 + "1" + "]" * 300


def test_H03_a_result_beyond_every_bound_is_said_to_be_missing(agent):
    events = run(agent, "'x' * (40 << 20)")
    assert "output may be missing" in output_of(events, "stderr")
    assert events[-1]["type"] == "execution_complete"
    assert results(run(agent, "7"))[0]["text"] == "7"


def test_H03_long_errors_are_cut_and_say_so(agent, fake):
    events = run(agent, "huge_error", "fake", fake)
    error = error_of(events)
    note = "[execd: cut here, {} bytes in all]"
    assert error["ename"] == "E" * 1024 + "\n" + note.format(5000)
    assert error["evalue"] == "é" * 32768 + "\n" + note.format(200000)
    assert error["traceback"][-1] == "[execd: the rest is cut]"
    assert sum(map(len, error["traceback"])) < 1200 * 1024


def test_many_displays_are_all_there(agent):
    events = run(agent, "for i in range(1000): display(i)")
    assert [result["text"] for result in results(events)] == [str(i) for i in range(1000)]


def test_clear_output_and_named_displays_of_a_real_kernel(agent):
    events = run(agent, "from IPython.display import clear_output\nhandle = display(1, display_id='name')\n"
                        "clear_output(wait=True)\nhandle.update(2)")
    kinds = [payload(event) for event in events if event["type"] in ("display", "clear_output")]
    assert kinds == [{"type": "display", "display": {"display_id": "name", "update": False}},
                     {"type": "clear_output", "clear_output": {"wait": True}},
                     {"type": "display", "display": {"display_id": "name", "update": True}}]


def test_C12_a_run_of_code_is_resumed_without_loss(agent, fake):
    """From any event on, in the standard framing."""
    with agent.new_client(timeout=30) as client:
        response = client.post("/code?sse=standard", json=body_of("everything", "fake", fake))
        ids = [line.removeprefix("id: ") for line in response.text.splitlines() if line.startswith("id: ")]
        whole = [payload(event) for event in sse_events(response.text) if event["type"] != "ping"]
        for seen, position in enumerate(ids[:-1], 1):
            again = client.get(f"/command/{response.headers['X-Execd-Run-Id']}/stream",
                               params={"sse": "standard", "since": position})
            rest = [payload(event) for event in sse_events(again.text) if event["type"] != "ping"]
            assert rest == whole[seen:]
