"""Tokens: many wrong ones are slowed down, the right one never is, and none is ever repeated."""

import hashlib

import httpx

from harness.execd import TOKEN, TOKEN_HEADER

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
