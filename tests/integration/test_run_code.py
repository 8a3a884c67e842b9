"""POST /run_code: one program in, one result out, and nothing left behind."""

import base64
import os
import shutil
import threading

import pytest

from harness.execd import TOKEN, Execd, eventually, status_field


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("agent")
    (folder / "tmp").mkdir()
    with Execd(folder, env={"TMPDIR": str(folder / "tmp")}) as running:
        yield running


def folders(agent):
    return os.listdir(agent.folder / "tmp")


def run(agent, code, language="python", status=200, **body):
    answer = agent.client.post("/run_code", json={"code": code, "language": language, **body})
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.fixture(autouse=True)
def nothing_stays(agent):
    yield
    eventually(lambda: folders(agent) == [], message="a folder of a run stays")


HELLO = {
    "python": ("python3", "print('hello')"),
    "bash": ("bash", "echo hello"),
    "sh": ("sh", "echo hello"),
    "nodejs": ("node", "console.log('hello')"),
    "c": ("cc", '#include <stdio.h>\nint main(void){puts("hello");}'),
    "cpp": ("g++", '#include <cstdio>\nint main(){std::puts("hello");}'),
    "java": ("javac", 'public class Main { public static void main(String[] a) { System.out.println("hello"); } }'),
    "perl": ("perl", 'print "hello\\n";'),
}


@pytest.mark.parametrize("language", sorted(HELLO))
def test_languages_of_this_machine(agent, language):
    program, code = HELLO[language]
    result = run(agent, code, language, compile_timeout=60)
    if shutil.which(program) is None:
        assert result["status"] == "SandboxError" and f"no '{program}' in its PATH" in result["message"]
        return
    assert result["status"] == "Success", result
    assert result["message"] == "" and result["executor_pod_name"] is None and result["files"] == {}
    assert result["run_result"]["stdout"] == "hello\n"
    assert result["run_result"]["return_code"] == 0
    assert result["run_result"]["status"] == "Finished"
    assert result["run_result"]["execution_time"] > 0
    assert (result["compile_result"] is not None) == (language in ("c", "cpp", "java"))


def test_a_code_other_than_zero_is_failed(agent):
    result = run(agent, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert result["status"] == "Failed"
    assert result["run_result"]["return_code"] == 3
    assert (result["run_result"]["stdout"], result["run_result"]["stderr"]) == ("out\n", "err\n")


def test_a_signal_is_a_negative_code(agent):
    result = run(agent, "kill -ABRT $$", "bash")
    assert result["status"] == "Failed" and result["run_result"]["return_code"] == -6


def test_what_does_not_compile_is_not_run(agent):
    result = run(agent, "int main(void){ return nothing; }", "c")
    assert result["status"] == "Failed"
    assert result["compile_result"]["return_code"] != 0 and "nothing" in result["compile_result"]["stderr"]
    assert result["run_result"] is None


def test_timeouts_end_the_whole_tree(agent):
    result = run(agent, "echo begun; setsid sleep 4711 & sleep 4711", "bash", run_timeout=0.3)
    assert result["status"] == "Failed"
    assert result["run_result"]["status"] == "TimeLimitExceeded"
    assert result["run_result"]["return_code"] is None and result["run_result"]["stdout"] == "begun\n"
    eventually(lambda: not processes("4711"))


def processes(argument):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if argument.encode() in file.read().split(b"\0"):
                    found.append(pid)
        except OSError:
            pass
    return found


def test_what_a_program_leaves_running_ends_with_it(agent):
    result = run(agent, "setsid sleep 4712 >/dev/null 2>&1 & exit 0", "bash")
    assert result["status"] == "Success"
    eventually(lambda: not processes("4712"))


def test_what_it_leaves_running_goes_on_if_asked(agent):
    result = run(agent, "setsid sleep 4714 >/dev/null 2>&1 & echo $!", "bash", sweep=False)
    assert result["status"] == "Success" and processes("4714")
    run(agent, f"kill {result['run_result']['stdout']}", "bash")
    eventually(lambda: not processes("4714"))


def test_a_client_that_leaves_ends_its_program(agent):
    client = agent.new_client(timeout=0.5)

    def ask():
        with pytest.raises(Exception):
            client.post("/run_code", json={"code": "sleep 4713", "language": "bash", "run_timeout": 60})

    thread = threading.Thread(target=ask)
    thread.start()
    eventually(lambda: processes("4713"))
    thread.join()
    client.close()
    eventually(lambda: not processes("4713"))


def test_stdin_and_files_in_and_out(agent):
    code = ("import sys, pathlib\n"
            "text = pathlib.Path('in/data.bin').read_bytes()\n"
            "pathlib.Path('out.bin').write_bytes(text[::-1])\n"
            "print(sys.stdin.read().upper())\n")
    data = bytes(range(256))
    result = run(agent, code, stdin="to upper", fetch_files=["out.bin", "missing", "in"],
                 files={"in/data.bin": base64.b64encode(data).decode(), "nothing": None})
    assert result["status"] == "Success", result
    assert result["run_result"]["stdout"] == "TO UPPER\n"
    assert {name: base64.b64decode(text) for name, text in result["files"].items()} == {"out.bin": data[::-1]}


def test_stdin_is_empty_without_one(agent):
    assert run(agent, "import sys; print(repr(sys.stdin.read()))")["run_result"]["stdout"] == "''\n"


@pytest.mark.parametrize("path", ["/etc/motd", "../x", "a/../../x", ".", ""])
def test_paths_stay_in_the_folder(agent, path):
    for body in ({"files": {path: "QQ=="}}, {"fetch_files": [path]}):
        answer = run(agent, "1", status=400, **body)
        assert answer["code"] == "INVALID_REQUEST_BODY" and "relative path" in answer["message"]


def test_links_planted_by_the_code_lead_nowhere(agent):
    secret = agent.folder / "secret"
    secret.write_text("secret")
    code = f"ln -s {secret} a; ln -s ../../secret b; mkfifo c; ln -s /dev/zero d; mkdir e; echo ok >f"
    result = run(agent, code, "bash", fetch_files=["a", "b", "c", "d", "e", "f"])
    assert result["files"] == {"f": base64.b64encode(b"ok\n").decode()}
    assert secret.read_text() == "secret"


def test_what_is_too_large_to_fetch_is_left_out_and_said(agent):
    result = run(agent, "truncate -s 9M big; echo x >small", "bash", fetch_files=["big", "small"])
    assert list(result["files"]) == ["small"] and "'big' is too large" in result["message"]
    assert result["status"] == "Success"


def test_files_are_read_only_as_far_as_the_answer_takes_them(tmp_path):
    """Otherwise a hundred names of one file take a hundred times its memory."""
    with Execd(tmp_path, env={"TMPDIR": str(tmp_path)}) as agent:
        run(agent, "1")
        before = int(status_field(agent.pid, "VmHWM").split()[0])
        names = [f"f{i}" for i in range(98)]
        result = run(agent, "truncate -s 7M f0; for i in {1..97}; do ln f0 f$i; done; echo x >small", "bash",
                     fetch_files=["missing", *names, "small"])
        assert list(result["files"]) == ["f0", "f1", "small"], list(result["files"])
        assert "'f97' is too large and left out" in result["message"]
        assert all(len(base64.b64decode(result["files"][name])) == 7 << 20 for name in ("f0", "f1"))
        assert int(status_field(agent.pid, "VmHWM").split()[0]) - before < 256 << 10
        both = run(agent, "truncate -s 8M a b; echo x >c", "bash", fetch_files=["a", "b", "c"])
        assert list(both["files"]) == ["a", "b"] and "'c' is too large" in both["message"]  # 16 MiB together


def test_output_is_bounded_and_says_so(agent):
    result = run(agent, "head -c 3000000 /dev/zero | tr '\\0' a; echo end >&2", "bash")["run_result"]
    assert result["stdout"] == "a" * (1 << 20) and result["stdout_truncated"] == 3000000 - (1 << 20)
    assert result["stderr"] == "end\n" and "stderr_truncated" not in result


def test_output_that_is_no_text(agent):
    assert run(agent, "printf 'a\\377b\\0c'", "bash")["run_result"]["stdout"] == "a\ufffdb\0c"


def test_memory_limit(agent):
    code = "x = bytearray(600 << 20); print(len(x))"
    assert run(agent, code)["status"] == "Success"
    result = run(agent, code, memory_limit_MB=256)
    assert result["status"] == "Failed" and "MemoryError" in result["run_result"]["stderr"]
    assert run(agent, code, memory_limit_MB=-1)["status"] == "Success"
    if shutil.which("node"):
        answer = run(agent, "1", "nodejs", status=501, memory_limit_MB=256)
        assert answer["code"] == "POLICY_UNSUPPORTED"


def test_unknown_languages_name_the_known_ones(agent):
    answer = run(agent, "1", "cobol", status=400)
    assert answer["code"] == "INVALID_REQUEST_BODY" and "python" in answer["message"]


def test_a_missing_program_is_said(tmp_path):
    (tmp_path / "bin").mkdir()
    with Execd(tmp_path, env={"PATH": str(tmp_path / "bin")}) as agent:
        result = run(agent, "print(1)")
    assert result["status"] == "SandboxError" and "no 'python3' in its PATH" in result["message"]
    assert result["run_result"] is None and result["compile_result"] is None


@pytest.mark.parametrize("body, text", [
    ({}, "code"),
    ({"code": "1"}, "language"),
    ({"code": 1, "language": "python"}, "code"),
    ({"code": "1", "language": "python", "run_timeout": 0}, "run_timeout"),
    ({"code": "1", "language": "python", "compile_timeout": 1e9}, "compile_timeout"),
    ({"code": "1", "language": "python", "run_timeout": "1"}, "run_timeout"),
    ({"code": "1", "language": "python", "memory_limit_MB": -2}, "memory_limit_MB"),
    ({"code": "1", "language": "python", "files": []}, "files"),
    ({"code": "1", "language": "python", "files": {"a": 1}}, "files.a"),
    ({"code": "1", "language": "python", "files": {"a": "no base64!"}}, "files.a"),
    ({"code": "1", "language": "python", "files": {str(i): "" for i in range(1001)}}, "files"),
    ({"code": "1", "language": "python", "fetch_files": ["a"] * 101}, "fetch_files"),
])
def test_bad_requests(agent, body, text):
    answer = agent.client.post("/run_code", json=body)
    assert answer.status_code == 400 and answer.json()["code"] == "INVALID_REQUEST_BODY", answer.text
    assert text in answer.json()["message"]


def test_only_so_many_at_once(agent):
    hold = agent.folder / "hold"
    os.mkfifo(hold)
    body = {"code": f"exec cat {hold}", "language": "bash", "run_timeout": 30}
    clients = [agent.new_client() for _ in range(64)]
    answers = []
    threads = [threading.Thread(target=lambda c=client: answers.append(c.post("/run_code", json=body).status_code))
               for client in clients]
    for thread in threads:
        thread.start()
    eventually(lambda: len(processes(str(hold))) == 64, limit_s=15)
    answer = agent.client.post("/run_code", json=body)
    assert answer.status_code == 503 and answer.json()["code"] == "SERVICE_UNAVAILABLE"
    eventually(lambda: release(hold) or not any(thread.is_alive() for thread in threads), limit_s=25)
    assert answers == [200] * 64
    agent.close_clients()


def release(fifo):
    """Lets go whoever reads there; who comes to it only afterwards needs another round."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        pass  # nobody reads


@pytest.mark.parametrize("headers, status", [
    ({"Authorization": TOKEN}, 200),
    ({"Authorization": f"Bearer {TOKEN}"}, 200),
    ({"X-EXECD-ACCESS-TOKEN": TOKEN}, 200),
    ({"Authorization": TOKEN[:-1]}, 401),
    ({"Authorization": TOKEN, "X-EXECD-ACCESS-TOKEN": "wrong"}, 401),
    ({}, 401),
])
def test_the_key_in_authorization(agent, headers, status):
    client = agent.new_client(token=None)
    answer = client.post("/run_code", headers=headers, json={"code": "1", "language": "python"})
    assert answer.status_code == status
    # Nowhere else: pages of a browser may send that field by themselves.
    other = client.get("/metrics", headers=headers)
    assert other.status_code == (200 if "X-EXECD-ACCESS-TOKEN" in headers and status == 200 else 401)
