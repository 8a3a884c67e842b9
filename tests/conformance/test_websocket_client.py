"""A WebSocket library that we did not write, against the terminals of a real execd: directly and through its proxy."""

import asyncio
import json

import httpx
import pytest
import websockets
from websockets.asyncio.client import connect, unix_connect

from harness import web
from harness.execd import TOKEN, TOKEN_HEADER, Execd

HEADERS = {TOKEN_HEADER: TOKEN}


@pytest.fixture
def execd(tmp_path):
    with Execd(tmp_path) as agent:
        yield agent


def create(execd, **body):
    return execd.client.post("/pty", json=body).json()["session_id"]


def url(execd, session, query=""):
    return f"ws://127.0.0.1:{execd.port}/pty/{session}/ws{query}"


async def read_all(ws):
    """Texts, output, replay and the close code of a connection."""
    texts, out, replay = [], b"", b""
    try:
        while True:
            message = await asyncio.wait_for(ws.recv(), 10)
            if isinstance(message, str):
                texts.append(json.loads(message))
            elif message[0] == 3:
                replay += message[9:]
            else:
                out += message[1:]
    except websockets.ConnectionClosed as end:
        return texts, out, replay, end.rcvd.code


def test_a_whole_session(execd):
    async def run():
        async with connect(url(execd, create(execd)), additional_headers=HEADERS) as ws:
            assert json.loads(await ws.recv())["type"] == "connected"
            await (await ws.ping())  # answered by the server
            await ws.send(b"\0stty -echo; printf 'a%.0s' $(seq 1 70000); exit 7\n")
            texts, out, _, code = await read_all(ws)
            assert out.count(b"a" * 50) >= 1400 and texts == [{"type": "exit", "exit_code": 7}] and code == 1000

    asyncio.run(run())


def test_replay_of_a_full_ring_fits_the_default_limit(execd):
    async def run():
        session = create(execd, command="head -c 3000000 /dev/zero")
        async with connect(url(execd, session, "?pty=0"), additional_headers=HEADERS) as ws:
            assert len((await read_all(ws))[1]) == 3000000
        async with connect(url(execd, session, "?viewer=1"), additional_headers=HEADERS) as ws:
            assert len((await read_all(ws))[2]) == 1 << 20

    asyncio.run(run())


def test_a_large_paste(execd):
    async def run():
        session = create(execd, command="head -c 1000000 | wc -c")
        async with connect(url(execd, session, "?pty=0"), additional_headers=HEADERS) as ws:
            await ws.send(b"\0" + bytes(750000))
            await ws.send([b"\0" + bytes(125000), bytes(125000)])  # a fragmented message
            assert (await read_all(ws))[1].strip() == b"1000000"

    asyncio.run(run())


def test_many_clients_at_once(execd):
    async def one(i):
        session = create(execd, command=f"read x; echo {i}-$x")
        async with connect(url(execd, session), additional_headers=HEADERS) as ws:
            await ws.send(json.dumps({"type": "stdin", "data": "y\n"}))
            assert f"{i}-y".encode() in (await read_all(ws))[1]

    async def run():
        await asyncio.gather(*(one(i) for i in range(30)))

    asyncio.run(run())


def test_the_client_closes(execd):
    async def run():
        session = create(execd, command="sleep 60")
        ws = await connect(url(execd, session), additional_headers=HEADERS)
        await ws.close(1001, "bye")
        assert ws.close_code == 1001

    asyncio.run(run())


def test_a_refusal_is_an_http_answer(execd):
    async def run():
        with pytest.raises(websockets.InvalidStatus) as refusal:
            await connect(url(execd, "nope"), additional_headers=HEADERS)
        assert refusal.value.response.status_code == 404
        assert json.loads(refusal.value.response.body)["code"] == "CONTEXT_NOT_FOUND"

    asyncio.run(run())


def test_a_page_gives_its_token_as_a_subprotocol(execd):
    async def run():
        session = create(execd, command="echo hi")
        async with connect(url(execd, session), subprotocols=["execd.pty.v1", f"execd.token.{TOKEN}"]) as ws:
            assert ws.subprotocol == "execd.pty.v1"
            assert (await read_all(ws))[1] == b"hi\r\n"

    asyncio.run(run())


def test_through_execds_own_proxy(execd):
    async def run():
        path = f"ws://execd/proxy/{execd.port}/pty/{create(execd, command='echo hi; exit 2')}/ws"
        for credentials in ({"additional_headers": HEADERS}, {"subprotocols": ["execd.pty.v1", f"execd.token.{TOKEN}"]}):
            async with unix_connect(str(execd.socket), uri=path, **credentials) as ws:
                texts, out, _, code = await read_all(ws)
                assert out == b"hi\r\n" and texts[-1]["exit_code"] == 2 and code == 1000

    asyncio.run(run())


def test_in_a_sandbox_through_the_servers_proxy(sandbox):
    endpoint = sandbox.get_endpoint(44772)
    headers = endpoint.headers
    made = web.post(f"http://{endpoint.endpoint}/pty", headers=headers, json={"command": "tty; id -u; read x; echo got-$x"})
    assert made.status_code == 201, made.text
    session = made.json()["session_id"]

    async def run():
        path = f"ws://{endpoint.endpoint}/pty/{session}/ws"
        async with connect(path, additional_headers=headers) as ws:
            assert json.loads(await ws.recv())["mode"] == "pty"
            await ws.send(b"\0hello\n")
            texts, out, _, code = await read_all(ws)
            assert b"/dev/pts/0\r\n" in out and b"got-hello\r\n" in out
            assert texts == [{"type": "exit", "exit_code": 0}] and code == 1000

    asyncio.run(run())
    assert httpx.delete(f"http://{endpoint.endpoint}/pty/{session}", headers=headers).status_code == 200
