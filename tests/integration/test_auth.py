"""Tokens: many wrong ones are slowed down, the right one never is, and none is ever repeated."""

import hashlib
import subprocess

import httpx

from harness.execd import TOKEN, TOKEN_HEADER, Execd, fds, output_of

BURST = 100
CANARY = "canary-7d1f0c55a9"


def ask(client, token):
    return client.get("/metrics", headers={TOKEN_HEADER: token})


def test_E08_guessing_is_slowed_down_and_the_owner_is_not(execd):
    with execd.new_client(token=None) as client:
        answers = [ask(client, f"{CANARY}-{n}") for n in range(3 * BURST)]
        statuses = [answer.status_code for answer in answers]
        assert statuses[:BURST] == [401] * BURST
        late = [answer for answer in answers if answer.status_code == 429]
        assert len(late) >= BURST
        assert set(statuses) == {401, 429}
        assert late[0].json()["code"] == "TOO_MANY_REQUESTS"
        assert late[0].headers["retry-after"] == "1"
        assert ask(client, TOKEN).status_code == 200
        assert client.get("/metrics").status_code == 401, "no token is no guess"
        assert client.get("/ping").status_code == 200
    told = [entry for entry in execd.log if "wrong tokens" in entry["msg"]]
    assert len(told) == 1
    assert not [line for line in execd.lines if CANARY in line]


def test_E08_another_address_has_its_own_count(execd):
    def client(address):
        return httpx.Client(base_url=f"http://127.0.0.1:{execd.port}", timeout=20,
                            transport=httpx.HTTPTransport(local_address=address))

    with client("127.0.0.1") as one, client("127.0.0.2") as other:
        for n in range(2 * BURST):
            last = ask(one, f"wrong{n}")
        assert last.status_code == 429
        assert ask(other, "wrong").status_code == 401
        assert ask(one, TOKEN).status_code == 200


def test_E13_a_secret_is_in_no_answer_and_no_log(execd):
    """The token, right or almost right, and what looks like one in a request that fails."""
    almost = TOKEN[:-1]
    texts = []
    with execd.new_client() as client:
        for path in ("/metrics", "/capabilities", "/ports", "/nothing", "/command/status/x", "/code/contexts"):
            for token in (TOKEN, almost, f"{TOKEN} {CANARY}"):
                answer = client.get(path, headers={TOKEN_HEADER: token})
                texts.append(f"{answer.headers} {answer.text}")
        for body in (b"{", b'{"command": 5}', b'{"argv": ["/nothing/there"]}'):
            texts.append(client.post("/command", content=body).text)
        texts.append(client.post("/command", json={"command": "env; cat /proc/$PPID/environ /proc/$PPID/cmdline"}).text)
        prometheus = client.get("/metrics", headers={"accept": "text/plain"})
        texts.append(prometheus.text)
    texts += execd.lines
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    for secret in (TOKEN, almost, CANARY, digest):
        assert not [text for text in texts if secret in text], secret


def test_E15_code_in_the_sandbox_needs_the_token_too(execd, tmp_path):
    """From loopback, from a program that execd has started itself: it would become whoever execd is."""
    marker = tmp_path / "marker"
    body = '{"command":"touch %s"}' % marker
    request = (f"POST /command HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: {len(body)}\\r\\nConnection: close"
               f"\\r\\n\\r\\n" + body.replace('"', '\\"'))
    script = f'exec 3<>/dev/tcp/127.0.0.1/{execd.port}; printf "{request}" >&3; cat <&3'
    said = output_of(execd.command(argv=["bash", "-c", script]))
    assert said.startswith("HTTP/1.1 401 ") and '"UNAUTHORIZED"' in said and not marker.exists()
    said = output_of(execd.command(argv=["bash", "-c", script.replace("Host:", f"{TOKEN_HEADER}: {TOKEN}\\r\\nHost:")]))
    assert said.startswith("HTTP/1.1 200 ") and marker.exists()


def test_E07_a_rebound_name_opens_nothing(execd):
    """A page in a browser that reaches us under its own name has no token, and is told nothing that lets it read on."""
    page = {"Host": "evil.example", "Origin": "http://evil.example"}
    with execd.new_client(token=None) as client:
        for method, route in (("GET", "/metrics"), ("POST", "/command"), ("GET", "/files/info?path=/etc/passwd"),
                              ("GET", "/pty"), ("GET", "/api/kernels")):
            answer = client.request(method, route, headers=page)
            assert answer.status_code in (401, 403), (route, answer.text)
            assert not [name for name in answer.headers if name.startswith("access-control-")], route
            asked = client.request("OPTIONS", route, headers={**page, "Access-Control-Request-Method": "POST"})
            assert asked.headers.get("access-control-allow-origin") not in ("*", page["Origin"]), route


def test_I12_the_port_is_not_stolen(start_execd):
    """A listener on every address leaves no room beside it: for one family alone, one address, or a shared port."""
    agent = start_execd("--listen", "[::]:0")
    port = int(agent.wait_log(msg="listening", where="[::]:0")["port"])
    thief = """
import socket, sys
for family, address, option in ((socket.AF_INET, "0.0.0.0", 0), (socket.AF_INET, "127.0.0.1", 0), (socket.AF_INET6, "::", 1),
                                (socket.AF_INET6, "::", 0), (socket.AF_INET6, "::1", 1)):
    for reuse in ((), (socket.SO_REUSEADDR,), (socket.SO_REUSEPORT,), (socket.SO_REUSEADDR, socket.SO_REUSEPORT)):
        s = socket.socket(family)
        for r in reuse:
            s.setsockopt(socket.SOL_SOCKET, r, 1)
        if family == socket.AF_INET6:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, option)
        try:
            s.bind((address, int(sys.argv[1])))
            s.listen()
        except OSError as e:
            print(e.errno)
        else:
            print("stolen", family, address, option, reuse)
"""
    ended = subprocess.run(["python3", "-c", thief, str(port)], capture_output=True, text=True, timeout=20)
    assert ended.stdout.split() == ["98"] * 20, ended.stdout + ended.stderr  # EADDRINUSE


def test_I13_it_listens_where_it_was_told(execd):
    with open(f"/proc/{execd.pid}/net/tcp", encoding="ascii") as four, open(f"/proc/{execd.pid}/net/tcp6", encoding="ascii") as six:
        rows = [line.split() for table in (four, six) for line in table.readlines()[1:]]
    own = {link.removeprefix("socket:[").rstrip("]") for link in fds(execd.pid).values() if link.startswith("socket:[")}
    heard = [row[1] for row in rows if row[3] == "0A" and row[9] in own]
    assert heard == [f"0100007F:{execd.port:04X}"]


def test_N09_no_secret_without_randomness(tmp_path):
    """getrandom that fails ends execd; nothing is made from something weaker."""
    agent = Execd(tmp_path, launcher=["strace", "-f", "-o", "/dev/null", "-e", "inject=getrandom:error=EIO:when=1+"])
    try:
        try:
            answer = agent.client.post("/command", json={"command": "echo made"})
            assert "made" not in answer.text
        except (httpx.TransportError, AssertionError):
            pass
        assert agent.process.wait(10) != 0
        assert any("getrandom failed" in line for line in agent.lines), agent.lines
    finally:
        agent.process.kill()
