"""WebSocket /api/kernels/ID/channels over a real ipykernel (contracts/jupyter.md 2.7, 7)."""

import json
import sys
import time
import uuid
from functools import partial

import pytest

from harness.channels import V1, Channels, Closed, encode_v1, ends_a_line, is_status, reply_of, text_of, types
from harness.execd import Execd, eventually
from harness.python_kernels import start_with_python
from harness.ws import BINARY, PING, PONG, TEXT, Refused


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("channels")
    with start_with_python(partial(Execd, folder), folder, "--zygote", "off") as running:
        yield running


def new_kernel(agent):
    response = agent.client.post("/api/kernels", json={"name": "python3"})
    assert response.status_code == 201, response.text
    return response.json()["id"]


@pytest.fixture(scope="module")
def kernel(agent):
    """One for all tests that leave it as it was."""
    return new_kernel(agent)


@pytest.fixture
def own_kernel(agent):
    kernel = new_kernel(agent)
    yield kernel
    agent.client.delete(f"/api/kernels/{kernel}")


@pytest.fixture(params=[False, True], ids=["legacy", "v1"])
def client(agent, kernel, request):
    with Channels(agent, kernel, v1=request.param) as connected:
        yield connected


# ---- messages, in both framings ---------------------------------------------------------------------

def test_outputs_then_reply_then_idle(client):
    seen = client.run("print('a')\n1+1")
    assert types(seen) == ["busy", "execute_input", "stream", "execute_result", "execute_reply", "idle"]
    assert [m.channel for m in seen].count("iopub") == 5
    assert text_of(seen) == "a\n"
    assert seen[3].content["data"]["text/plain"] == "2"
    assert reply_of(seen).content["status"] == "ok" and reply_of(seen).channel == "shell"


def test_the_order_holds_under_pipelining(client):
    ids = [client.execute(f"print({n}); {n}") for n in range(100)]
    seen = client.until(lambda m: m.parent == ids[-1] and is_status(m, "idle"), 30)
    for n, msg_id in enumerate(ids):
        mine = [m for m in seen if m.parent == msg_id]
        # The kernel may cut its output at any place.
        assert list(dict.fromkeys(types(mine))) == ["busy", "execute_input", "stream", "execute_result",
                                                    "execute_reply", "idle"], n
        assert text_of(mine) == f"{n}\n"


def test_errors_carry_their_traceback(client):
    seen = client.run("1/0")
    assert types(seen)[-3:] == ["error", "execute_reply", "idle"]
    assert seen[-3].content["ename"] == reply_of(seen).content["ename"] == "ZeroDivisionError"


def test_kernel_info_completion_inspection_history(client):
    info = reply_of(client.result(client.send("kernel_info_request")))
    assert info.msg_type == "kernel_info_reply" and info.content["implementation"] == "ipython"
    client.run("import textwrap; marker = 'äöü'")
    complete = reply_of(client.result(client.send("complete_request", {"code": "textwrap.ded", "cursor_pos": 12})))
    assert "dedent" in "".join(complete.content["matches"])
    inspect = reply_of(client.result(client.send("inspect_request", {"code": "textwrap", "cursor_pos": 8})))
    assert inspect.content["found"]
    done = reply_of(client.result(client.send("is_complete_request", {"code": "for x in y:"})))
    assert done.content["status"] == "incomplete"
    history = reply_of(client.result(client.send("history_request", {"hist_access_type": "tail", "n": 1, "raw": True,
                                                                     "output": False})))
    assert history.content["history"][0][2].endswith("'äöü'")


def test_comms_with_buffers_both_ways(client):
    client.run("""
        def opened(comm, message):
            comm.on_msg(lambda m: comm.send({"n": len(m["buffers"])}, buffers=[bytes(b)[::-1] for b in m["buffers"]]))
        get_ipython().kernel.comm_manager.register_target("echo", opened)
    """)
    comm = uuid.uuid4().hex
    client.send("comm_open", {"comm_id": comm, "target_name": "echo", "data": {}})
    msg_id = client.send("comm_msg", {"comm_id": comm, "data": {}}, buffers=[b"abc", b"", bytes(range(256)) * 5000])
    answer = next(m for m in client.result(msg_id) if m.msg_type == "comm_msg")
    assert answer.content["data"] == {"n": 3}
    assert answer.buffers == [b"cba", b"", (bytes(range(256)) * 5000)[::-1]]


def test_input_is_asked_for_and_given(client):
    msg_id = client.execute("print('got ' + input('name? '))", allow_stdin=True)
    asked = client.until(lambda m: m.msg_type == "input_request")[-1]
    assert asked.channel == "stdin" and asked.parent == msg_id and asked.content["prompt"] == "name? "
    client.send("input_reply", {"value": "bob"}, channel="stdin", parent=asked.header)
    assert "got bob" in text_of(client.result(msg_id))


def test_H11_input_that_is_not_allowed_is_an_error(client):
    seen = client.run("input()")
    assert reply_of(seen).content["ename"] == "StdinNotImplementedError"


def test_interrupt_by_message_and_by_rest(client, agent, kernel):
    for interrupt in (lambda: client.send("interrupt_request", channel="control"),
                      lambda: agent.client.post(f"/api/kernels/{kernel}/interrupt")):
        msg_id = client.execute("import time\nprint('go', flush=True)\ntime.sleep(60)")
        client.until(ends_a_line)
        interrupt()
        seen = client.until(lambda m: m.parent == msg_id and is_status(m, "idle"))
        assert [m.content["ename"] for m in seen if m.parent == msg_id and m.msg_type == "execute_reply"] == ["KeyboardInterrupt"]


def test_display_data_and_updates_pass_with_all_their_types(client):
    seen = client.run("""
        from IPython.display import display, update_display, HTML, clear_output
        handle = display(HTML('<b>x</b>'), display_id='d1')
        update_display(HTML('<i>y</i>'), display_id='d1')
        clear_output(wait=True)
        display({'application/x-odd+json': {'k': [1, 2.5, None]}}, raw=True)
    """)
    assert types(seen)[2:-2] == ["display_data", "update_display_data", "clear_output", "display_data"]
    assert seen[2].content["data"]["text/html"] == "<b>x</b>"
    assert seen[3].content["transient"]["display_id"] == "d1"
    assert seen[5].content["data"]["application/x-odd+json"] == {"k": [1, 2.5, None]}


def test_text_that_is_no_utf8_is_repaired(client):
    seen = client.run("print('a\\udcffz')")
    assert "a" in text_of(seen) and "z" in text_of(seen)


def test_a_large_stream_comes_in_pieces_and_whole(client):
    seen = client.run("print('ä' * 1000000 + 'end')")
    pieces = [m for m in seen if m.msg_type == "stream"]
    assert len(pieces) > 1 and max(len(json.dumps(m.content)) for m in pieces) < 1 << 20
    assert text_of(seen) == "ä" * 1000000 + "end\n"
    assert len({m.msg_id for m in pieces}) == len(pieces)


# ---- what clients leave out ----------------------------------------------------------------------------

def test_the_least_that_a_legacy_client_may_send(agent, kernel):
    with Channels(agent, kernel) as client:
        for extra in ({}, {"buffers": {}, "metadata": None, "tracker": 1, "msg_id": "x"}):
            msg_id = uuid.uuid4().hex
            client.ws.send(TEXT, json.dumps({"header": {"msg_id": msg_id, "msg_type": "execute_request"},
                                             "content": {"code": "6*7", "silent": False}, **extra}))
            seen = client.result(msg_id)
            assert seen[2].content["data"]["text/plain"] == "42"
            assert "date" in seen[-1].parent_header


def test_messages_without_a_channel_go_where_their_type_belongs(agent, kernel):
    with Channels(agent, kernel) as client:
        msg_id = client.execute("print(input())", allow_stdin=True)
        asked = client.until(lambda m: m.msg_type == "input_request")[-1]
        client.ws.send(TEXT, json.dumps({"header": {"msg_id": "i1", "msg_type": "input_reply"},
                                         "parent_header": asked.header, "content": {"value": "routed"}}))
        assert "routed" in text_of(client.result(msg_id))
        client.ws.send(TEXT, json.dumps({"header": {"msg_id": "u1", "msg_type": "usage_request"}, "content": {}}))
        assert client.until(lambda m: m.parent == "u1" and m.msg_type == "usage_reply")[-1].channel == "control"


def test_the_same_message_twice_is_answered_twice(agent, kernel):
    """A kernel drops, in silence, what is byte for byte like something it has seen."""
    with Channels(agent, kernel) as client:
        text = json.dumps({"header": {"msg_id": "same", "msg_type": "execute_request", "date": "2026-01-01T00:00:00Z"},
                           "content": {"code": "1"}})
        for _ in range(2):
            client.ws.send(TEXT, text)
            assert types(client.result("same")) == ["busy", "execute_input", "execute_result", "execute_reply", "idle"]


# ---- handshake and broken frames -------------------------------------------------------------------------

def test_unknown_kernels_and_bad_requests_are_told_in_json(agent, kernel):
    for target, query, status in (("no-such", "", 404), (uuid.uuid4(), "", 404), (kernel, "?session_id=" + "x" * 129, 400),
                                  (kernel, "?last_seq=-1", 400), (kernel, "?last_seq=1e3", 400)):
        with pytest.raises(Refused) as refused:
            Channels(agent, target, query)
        assert refused.value.status == status
        assert refused.value.json()["code"] and refused.value.json()["message"]
    plain = agent.client.get(f"/api/kernels/{kernel}/channels")
    assert plain.status_code == 400 and "WebSocket" in plain.json()["message"]


def test_without_a_token_nobody_connects(agent, kernel):
    with pytest.raises(Refused) as refused:
        from harness.ws import WebSocket
        WebSocket(agent.connect(), f"/api/kernels/{kernel}/channels")
    assert refused.value.status == 401


HEADER = {"msg_id": "m", "msg_type": "execute_request"}


@pytest.mark.parametrize("data,code", [
    ("", 1007), ("{", 1007), ("{}x", 1007), ('{"header":{"msg_id":"m","msg_type":"t","n":NaN}}', 1007), ("[" * 100000, 1007),
    ("[]", 1008), ("{}", 1008), (json.dumps({"header": {"msg_id": "m"}}), 1008),
    (json.dumps({"header": {"msg_id": "m" * 200, "msg_type": "t"}}), 1008),
    (json.dumps({"header": {**HEADER, "x": "y" * 70000}}), 1008),
    (json.dumps({"header": HEADER, "channel": "iopub"}), 1008), (json.dumps({"header": HEADER, "channel": 1}), 1008),
    (json.dumps({"header": HEADER, "content": [1]}), 1008), (b"\xff\xfe", 1007),
    ("x" * (10 << 20) + "x", 1009)], ids=range(15))
def test_H05_broken_text_frames_close_with_a_reason(agent, kernel, data, code):
    with Channels(agent, kernel) as client:
        client.ws.send(TEXT, data)
        assert client.closed()[0] == code
    with Channels(agent, kernel) as client:
        assert reply_of(client.run("1")).content["status"] == "ok"


@pytest.mark.parametrize("v1", [False, True], ids=["legacy", "v1"])
def test_H05_broken_binary_frames_close_with_a_reason(agent, kernel, v1):
    header = json.dumps(HEADER).encode()
    good = encode_v1("shell", [header, b"{}", b"{}", b"{}"])
    bad = [b"", b"\0" * 7, b"\xff" * 64, b"\0" * 64]
    if v1:
        bad += [good[:-1], good + b"x", encode_v1("shell", [header, b"{}", b"{}"]),
                encode_v1("shell", [b"{}", b"{}", b"{}", b"{}"]), encode_v1("iopub", [header, b"{}", b"{}", b"{}"]),
                encode_v1("shell", [header, b"{}", b"{}", b"{"]), encode_v1("shell", [header, b"{}", b"{}", b"{}"] + [b""] * 506)]
    for data in bad:
        with Channels(agent, kernel, v1=v1) as client:
            client.ws.send(BINARY, data)
            assert client.closed()[0] in (1007, 1008), data[:80]


def test_text_in_the_binary_protocol_is_refused(agent, kernel):
    with Channels(agent, kernel, v1=True) as client:
        client.ws.send(TEXT, json.dumps({"header": HEADER}))
        assert client.closed()[0] == 1007


def test_pings_are_answered_while_the_kernel_is_busy(client, agent, kernel):
    msg_id = client.execute("import time\nprint('go', flush=True)\ntime.sleep(60)")
    client.until(ends_a_line)
    client.ws.send(PING, b"there?")
    frame = client.ws.read_frame()
    while frame.opcode != PONG:  # the rest of the line may come first
        frame = client.ws.read_frame()
    assert frame.payload == b"there?"
    agent.client.post(f"/api/kernels/{kernel}/interrupt")
    client.result(msg_id)


# ---- several clients ---------------------------------------------------------------------------------------

def test_everybody_hears_outputs_and_only_the_sender_replies(agent, kernel):
    with Channels(agent, kernel) as one, Channels(agent, kernel, v1=True) as two:
        msg_id = one.execute("print('for all')")
        assert reply_of(one.result(msg_id)).parent == msg_id
        seen = two.result(msg_id)
        assert types(seen) == ["busy", "execute_input", "stream", "idle"] and text_of(seen) == "for all\n"
        other = two.send("kernel_info_request")
        assert reply_of(two.result(other))
        assert types(one.result(other)) == ["busy", "idle"]


def test_two_clients_at_once_get_their_own(agent, kernel):
    with Channels(agent, kernel) as one, Channels(agent, kernel) as two:
        ids = [(client, n, client.execute(f"{n} * 2")) for n in range(20) for client in (one, two)]
        for client in (one, two):
            mine = [(n, msg_id) for owner, n, msg_id in ids if owner is client]
            seen = client.until(lambda m: m.parent == mine[-1][1] and is_status(m, "idle"), 20)
            for n, msg_id in mine:
                assert [m.content["data"]["text/plain"] for m in seen if m.parent == msg_id and
                        m.msg_type == "execute_result"] == [str(2 * n)]
                assert [m.content["status"] for m in seen if m.parent == msg_id and m.channel == "shell"] == ["ok"]


def test_runs_of_the_code_api_are_heard_and_the_state_is_shared(agent, kernel):
    with Channels(agent, kernel) as client:
        client.run("shared = 41")
        response = agent.client.post("/code", json={"context": {"id": kernel, "language": "python"}, "code": "print(shared + 1)"})
        assert "42" in response.text
        seen = client.until(lambda m: is_status(m, "idle") and m.parent_header.get("msg_type") == "execute_request")
        assert text_of(seen) == "42\n"


def test_the_number_of_connections_is_told_and_bounded(agent, own_kernel):
    connections = lambda: agent.client.get(f"/api/kernels/{own_kernel}").json()["connections"]
    assert connections() == 0
    clients = [Channels(agent, own_kernel, f"?session_id=s{n}") for n in range(3)]
    assert connections() == 3
    for client in clients:
        client.ws.drop()
    eventually(lambda: connections() == 0)
    many = [Channels(agent, own_kernel) for _ in range(64)]
    with pytest.raises(Refused) as refused:
        Channels(agent, own_kernel)
    assert refused.value.status in (429, 503)
    for client in many:
        client.ws.drop()


# ---- coming back -------------------------------------------------------------------------------------------

def in_two_steps(gate):
    """Code that prints, waits for a file, and prints again."""
    return f"""
        import os, time
        print('first', flush=True)
        while not os.path.exists({str(gate)!r}): time.sleep(0.01)
        print('second')
        'third'
    """


def test_a_second_connection_with_the_same_id_takes_the_place(agent, kernel, tmp_path):
    session = uuid.uuid4().hex
    with Channels(agent, kernel, f"?session_id={session}") as old:
        msg_id = old.execute(in_two_steps(tmp_path / "gate"))
        old.until(ends_a_line)
        with Channels(agent, kernel, f"?session_id={session}") as new:
            assert old.closed()[0] == 1000
            (tmp_path / "gate").touch()
            seen = new.result(msg_id)
            assert text_of(seen) == "second\n" and types(seen)[-2:] == ["execute_reply", "idle"]


@pytest.mark.parametrize("v1", [False, True], ids=["legacy", "v1"])
def test_what_a_client_missed_waits_for_it(agent, kernel, v1, tmp_path):
    query = f"?session_id={uuid.uuid4().hex}"
    with Channels(agent, kernel, query, v1=v1) as client:
        msg_id = client.execute(in_two_steps(tmp_path / "gate"))
        client.until(ends_a_line)
        client.ws.close()
    (tmp_path / "gate").touch()
    with Channels(agent, kernel) as other:
        other.run("print('not for the first one alone')")
    with Channels(agent, kernel, query, v1=not v1) as client:
        seen = client.result(msg_id)
        assert text_of(seen) == "second\n"
        streams = len(seen) - 3
        assert types(seen) == ["stream"] * streams + ["execute_result", "execute_reply", "idle"]
        seen = client.until(ends_a_line)
        assert text_of(seen) == "not for the first one alone\n"


def test_nothing_is_kept_for_those_without_an_id(agent, kernel):
    with Channels(agent, kernel) as client:
        client.execute("print('gone')")
    with Channels(agent, kernel) as client:
        assert "gone" not in text_of(client.run("print('new')"))


def test_messages_are_numbered_and_sent_again_from_a_number_on(agent, kernel):
    query = f"?session_id={uuid.uuid4().hex}&last_seq="
    client = Channels(agent, kernel, query + "0")
    client.extra_keys = {"seq"}
    with client:
        client.send("kernel_info_request")
        msg_id = client.execute("print('again')")
        client.until(lambda m: m.parent == msg_id and is_status(m, "idle"))
    with Channels(agent, kernel, query + "0") as again:
        again.extra_keys = {"seq"}
        seen = again.until(lambda m: m.parent == msg_id and is_status(m, "idle"))
        frames = len(seen)
        assert types(seen)[:1] == ["busy"] and text_of(seen) == "again\n"
    with Channels(agent, kernel, query + str(frames - 2)) as again:
        again.extra_keys = {"seq"}
        assert types([again.read(), again.read()]) == ["execute_reply", "idle"]


def test_H03_a_client_that_is_away_costs_a_bounded_amount(agent, own_kernel):
    query = f"?session_id={uuid.uuid4().hex}"
    with Channels(agent, own_kernel, query) as client:
        client.run("1")
    with Channels(agent, own_kernel) as other:
        other.run("for n in range(200): print(str(n) * 20000, flush=True)")
    with Channels(agent, own_kernel, query) as client:
        first = client.until(lambda m: m.msg_type == "stream")[-1]
        assert "lost" in first.content["text"] and first.content["name"] == "stderr"
        seen = client.until(lambda m: is_status(m, "idle"))
        assert text_of(seen).endswith("199" * 20000 + "\n")


# ---- the kernel's life --------------------------------------------------------------------------------------

def test_the_upgrade_does_not_wait_for_the_kernel(agent):
    kernel = new_kernel(agent)
    with Channels(agent, kernel) as client:
        msg_id = client.execute("'early'")
        seen = client.result(msg_id)
        assert types(seen) == ["busy", "execute_input", "execute_result", "execute_reply", "idle"]
        agent.client.delete(f"/api/kernels/{kernel}")


@pytest.mark.parametrize("code,words", [("import os; os._exit(7)", "7"), ("import os; os.kill(os.getpid(), 9)", "killed"),
                                        ("import ctypes; ctypes.string_at(0)", "segmentation fault")], ids=["exit", "kill", "segv"])
def test_H01_death_ends_every_request_and_is_told(agent, own_kernel, code, words):
    with Channels(agent, own_kernel) as client:
        client.run("1")
        first, second = client.execute(code), client.execute("'never run'")
        info = client.send("kernel_info_request")
        seen = client.status("dead")
        for msg_id in (first, second):
            mine = [m for m in seen if m.parent == msg_id]
            assert types(mine)[-3:] == ["error", "execute_reply", "idle"]
            assert mine[-3].content["ename"] == reply_of(mine).content["ename"] == "KernelDied"
            assert words in mine[-3].content["evalue"], mine[-3].content
        if not any(m.parent == info for m in seen):  # it was not even read before
            seen += client.until(lambda m: m.parent == info and is_status(m, "idle"))
        assert reply_of([m for m in seen if m.parent == info]).msg_type == "kernel_info_reply"
        seen = client.run("1")
        assert types(seen) == ["busy", "error", "execute_reply", "idle"] and reply_of(seen).content["status"] == "error"
        with Channels(agent, own_kernel) as late:
            assert types([late.read()]) == ["dead"]


def test_H01_a_death_is_no_loss_of_output(agent):
    """The connections of a kernel that dies mostly break before its end is known."""
    for kernel in [new_kernel(agent) for _ in range(6)]:
        with Channels(agent, kernel) as client:
            msg_id = client.execute("import os; os._exit(3)")
            seen = client.status("dead")
            told = types([m for m in seen if m.parent == msg_id])
            assert told[-3:] == ["error", "execute_reply", "idle"] and "stream" not in types(seen), told
        agent.client.delete(f"/api/kernels/{kernel}")


SAID = "No module named 'no_such_module'"


@pytest.fixture
def faulty(tmp_path, start_execd):
    """Kernels that end at their start: at once, or when the test has created the file `go`."""
    waits = f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\nimport no_such_module"
    for name, code in (("hasty", "import no_such_module"), ("late", waits)):
        spec = tmp_path / "faulty" / "kernels" / name
        spec.mkdir(parents=True)
        (spec / "kernel.json").write_text(json.dumps({"argv": [sys.executable, "-c", code, "{connection_file}"], "language": name}))
    return start_execd("--contexts-max", "3", env={"JUPYTER_PATH": str(tmp_path / "faulty")})


def start_faulty(agent, name="hasty"):
    kernel = agent.client.post("/api/kernels", json={"name": name}).json()["id"]
    if name == "hasty":
        eventually(lambda: agent.client.get(f"/api/kernels/{kernel}").json()["execution_state"] == "dead")
    return kernel


def is_start_error(messages):
    assert types(messages)[-3:] == ["error", "execute_reply", "idle"]
    for content in (messages[-3].content, messages[-2].content):
        assert content["ename"] == "KernelStartError" and "EXECD_001" in content["evalue"]
        assert SAID in content["traceback"][-1]
    return True


def test_H01_a_kernel_that_dies_at_its_start_is_explained(faulty, tmp_path):
    kernel = start_faulty(faulty, "late")
    with Channels(faulty, kernel) as client:
        msg_id = client.execute("1")
        (tmp_path / "go").touch()
        assert is_start_error(client.result(msg_id))
        assert is_start_error(client.run("2")), "also what comes later"
        model = faulty.client.get(f"/api/kernels/{kernel}").json()
        assert model["execution_state"] == "dead" and "exit status 1" in model["reason"]
        line = faulty.wait_log(msg="a kernel is dead", kernel=kernel)
        assert line["level"] == "warn" and "EXECD_001" in line["why"] and SAID in line["said"]


def test_H01_what_waited_for_a_start_that_fails_is_answered_once_and_before_the_death(faulty, tmp_path):
    with Channels(faulty, start_faulty(faulty, "late")) as client:
        first, second = client.execute("1"), client.execute("2")  # the second is not even read
        (tmp_path / "go").touch()
        seen = client.status("dead")
        third = client.execute("3")
        seen += client.until(lambda m: m.parent == third and is_status(m, "idle"))
        for msg_id in (first, second):
            mine = [m for m in seen if m.parent == msg_id]
            assert types(mine) == ["busy", "error", "execute_reply", "idle"] and is_start_error(mine)
        assert types(seen).count("dead") == 1
        assert types(seen).index("dead") > [m.parent for m in seen].index(first)


def test_H01_who_comes_after_a_failed_start_is_told_why(faulty):
    with Channels(faulty, start_faulty(faulty)) as client:
        assert types([client.read()]) == ["dead"] and is_start_error(client.run("1"))


def test_H03_kernels_that_did_not_start_are_few_and_take_no_place(faulty):
    kept = [start_faulty(faulty) for _ in range(12)]
    assert [model["id"] for model in faulty.client.get("/api/kernels").json()] == kept[-8:]
    assert faulty.client.get(f"/api/kernels/{kept[0]}").status_code == 404
    assert [start_faulty(faulty, "late") for _ in range(3)], "all that --contexts-max allows"
    refused = faulty.client.post(f"/api/kernels/{kept[-1]}/restart")
    assert refused.status_code in (403, 429, 503) and "limit" in refused.json()["message"], refused.text


def test_a_failed_start_can_be_repeated_and_a_path_is_free(faulty):
    session = {"path": "a.ipynb", "type": "notebook", "name": "a", "kernel": {"name": "hasty"}}
    first = faulty.client.post("/api/sessions", json=session).json()["kernel"]["id"]
    eventually(lambda: faulty.client.get(f"/api/kernels/{first}").json()["execution_state"] == "dead")
    assert SAID in faulty.client.post(f"/api/kernels/{first}/restart").json()["message"]
    assert faulty.client.get(f"/api/kernels/{first}").json()["execution_state"] == "dead"
    assert faulty.client.post("/api/sessions", json=session).json()["kernel"]["id"] != first


def test_restart_is_told_ends_requests_and_keeps_clients(agent, own_kernel):
    with Channels(agent, own_kernel) as one, Channels(agent, own_kernel, v1=True) as two:
        one.run("x = 1")
        msg_id = one.execute("import time\nprint('go', flush=True)\ntime.sleep(60)")
        one.until(ends_a_line)
        response = agent.client.post(f"/api/kernels/{own_kernel}/restart")
        assert response.status_code == 200
        seen = one.status("starting")
        mine = [m for m in seen if m.parent == msg_id]
        assert types(mine)[:3] == ["error", "execute_reply", "idle"] and mine[0].content["ename"] == "KernelRestarted"
        assert types(one.status("idle")) == ["idle"]
        assert types(two.status("idle"))[-2:] == ["starting", "idle"]
        for client in (one, two):
            assert reply_of(client.run("x")).content["ename"] == "NameError"


def test_requests_that_come_during_a_restart_wait_for_the_new_kernel(agent, own_kernel):
    import threading

    with Channels(agent, own_kernel) as client:
        client.run("x = 1")
        restart = threading.Thread(target=lambda: agent.new_client().post(f"/api/kernels/{own_kernel}/restart"))
        restart.start()
        client.until(lambda m: m.msg_type == "shutdown_reply")
        ids = [client.execute(f"{n}") for n in range(5)]
        for n, msg_id in enumerate(ids):
            seen = client.result(msg_id)
            assert seen[2].content["data"]["text/plain"] == str(n)
        restart.join(10)


def test_deletion_is_told_and_closes(agent):
    kernel = new_kernel(agent)
    with Channels(agent, kernel) as client, Channels(agent, kernel) as other:
        client.run("1")
        msg_id = client.execute("import time\nprint('go', flush=True)\ntime.sleep(60)")
        client.until(ends_a_line)
        assert agent.client.delete(f"/api/kernels/{kernel}").status_code == 204
        seen = client.status("dead")
        assert types([m for m in seen if m.parent == msg_id])[-2:] == ["execute_reply", "idle"]
        assert client.closed()[0] == 1000 and other.closed()[0] == 1000


# ---- slow clients -------------------------------------------------------------------------------------------

# Fewer than 1,000 messages: what a kernel cannot send at once it queues up to that number, and then drops itself.
FLOOD = "for n in range({0}): print(f'{{n:06}}' * 20000, flush=True)"


def flood_text(n):
    return "".join(f"{i:06}" * 20000 + "\n" for i in range(n))


def test_H03_a_client_alone_that_reads_on_loses_nothing(agent, own_kernel):
    with Channels(agent, own_kernel, v1=True) as client:
        msg_id = client.execute(FLOOD.format(400))
        time.sleep(0.3)
        seen = client.result(msg_id, 60)
        assert text_of(seen) == flood_text(400) and text_of(seen, "stderr") == ""


def test_H03_a_client_that_does_not_read_loses_its_own_outputs_only(agent, own_kernel):
    with Channels(agent, own_kernel) as slow, Channels(agent, own_kernel, v1=True) as quick:
        quick.run("1")
        msg_id = quick.execute(FLOOD.format(700))
        seen = quick.result(msg_id, 60)
        assert text_of(seen, "stderr") == "" and text_of(seen) == flood_text(700)
        seen = slow.result(msg_id, 60)
        assert types(seen)[-1] == "idle" and "left out" in text_of(seen, "stderr")
        assert len(text_of(seen)) < 700 * 120001
        assert agent.client.get(f"/api/kernels/{own_kernel}").json()["execution_state"] == "idle"


def test_H03_a_message_that_is_too_large_is_lost_and_told(agent, own_kernel):
    with Channels(agent, own_kernel) as client:
        client.run("from IPython.display import display")
        seen = client.run("display({'text/plain': 'x' * (33 << 20)}, raw=True)")
        assert "lost" in text_of(seen, "stderr") and types(seen)[-1] == "idle" and reply_of(seen)
        assert text_of(client.run("print('goes on')")) == "goes on\n"


# ---- nothing is left ----------------------------------------------------------------------------------------

def test_H10_connections_come_and_go_without_a_trace(agent, kernel):
    from harness.execd import Leaks

    def visit(n):
        with Channels(agent, kernel, f"?session_id=v{n % 4}" if n % 2 else "", v1=n % 3 == 0) as client:
            client.execute("1") if n % 5 == 0 else client.run("1")

    for n in range(10):
        visit(n)
    leaks = Leaks(agent)
    for n in range(40):
        visit(n)
    leaks.check()
