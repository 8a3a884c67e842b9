// @jupyterlab/services, the library under JupyterLab, straight against execd: kernels, sessions, terminals, contents.
// Run by Node's own runner: GATEWAY, TOKEN and SDK_FOLDER (its node_modules) come from tests/conformance/test_lab_services.py.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

const load = createRequire(`${process.env.SDK_FOLDER}/package.json`);
const WebSocket = load("ws");
// The library expects a browser's names.
Object.assign(globalThis, { WebSocket, self: globalThis, location: new URL(process.env.GATEWAY) });
load("@jupyterlab/coreutils").PageConfig.setOption("terminalsAvailable", "true");
const { KernelManager, KernelSpecManager, KernelMessage, ServerConnection, SessionManager, TerminalManager, ContentsManager } =
    load("@jupyterlab/services");

const serverSettings = ServerConnection.makeSettings({
    baseUrl: process.env.GATEWAY,
    wsUrl: process.env.GATEWAY.replace("http", "ws"),
    token: process.env.TOKEN,
    appendToken: true,
    fetch, Headers, Request, WebSocket,
});

let kernels, kernel;

before(async () => {
    kernels = new KernelManager({ serverSettings });
    kernel = await kernels.startNew({ name: "python3" });
});

after(async () => {
    await kernels.shutdownAll();
    kernels.dispose();
    setTimeout(() => process.exit(), 500); // the library goes on trying to reach kernels that are gone
});

function heard(future) {
    const messages = [];
    future.onIOPub = message => messages.push(message);
    return messages;
}

function until(signal, condition) {
    return new Promise(resolve => {
        const slot = (...values) => {
            if (condition(...values)) {
                signal.disconnect(slot);
                resolve();
            }
        };
        signal.connect(slot);
    });
}

async function run(code, options = {}) {
    const future = kernel.requestExecute({ code, ...options });
    const messages = heard(future);
    const reply = await future.done;
    return { reply, messages, of: type => messages.filter(message => message.header.msg_type === type).map(message => message.content) };
}

test("kernelspecs", async () => {
    const manager = new KernelSpecManager({ serverSettings });
    await manager.ready;
    assert.equal(manager.specs.default, "python3");
    assert.equal(manager.specs.kernelspecs.python3.language, "python");
    manager.dispose();
});

test("kernel info", async () => {
    const info = await kernel.info;
    assert.equal(info.language_info.name, "python");
});

test("execute: text, a result, state", async () => {
    const first = await run("print('hello'); x = 20");
    assert.equal(first.reply.content.status, "ok");
    assert.equal(first.of("stream").map(part => part.text).join(""), "hello\n");
    const second = await run("x + 1");
    assert.equal(second.of("execute_result")[0].data["text/plain"], "21");
});

test("an error has its traceback", async () => {
    const { reply, of } = await run("1/0");
    assert.equal(reply.content.status, "error");
    assert.equal(of("error")[0].ename, "ZeroDivisionError");
});

test("complete, inspect, is_complete, history", async () => {
    await run("abcdef = 1");
    const complete = await kernel.requestComplete({ code: "abcd", cursor_pos: 4 });
    assert.deepEqual(complete.content.matches, ["abcdef"]);
    const inspect = await kernel.requestInspect({ code: "zip", cursor_pos: 3, detail_level: 0 });
    assert.equal(inspect.content.found, true);
    const whole = await kernel.requestIsComplete({ code: "def f():" });
    assert.equal(whole.content.status, "incomplete");
    const history = await kernel.requestHistory({ output: false, raw: true, hist_access_type: "tail", n: 3 });
    assert.equal(history.content.status, "ok");
});

test("input", async () => {
    const future = kernel.requestExecute({ code: "print('got', input('name? '))", allow_stdin: true });
    const messages = heard(future);
    future.onStdin = message => {
        assert.equal(message.content.prompt, "name? ");
        kernel.sendInputReply({ value: "Ada", status: "ok" }, message.header);
    };
    await future.done;
    assert.equal(messages.filter(m => m.header.msg_type === "stream").map(m => m.content.text).join("").includes("got Ada"), true);
});

test("comm with buffers", async () => {
    await run(`
def opened(comm, message):
    @comm.on_msg
    def got(message):
        comm.send({'n': len(message['buffers'])}, buffers=[bytes(message['buffers'][0])[::-1]])
get_ipython().kernel.comm_manager.register_target('echo', opened)`);
    const comm = kernel.createComm("echo");
    const answer = new Promise(resolve => { comm.onMsg = resolve; });
    comm.open({});
    comm.send({}, {}, [new Uint8Array([1, 2, 3]).buffer]);
    const message = await answer;
    assert.equal(message.content.data.n, 1);
    const back = message.buffers[0];
    assert.deepEqual([...new Uint8Array(back.buffer ?? back, back.byteOffset ?? 0, 3)], [3, 2, 1]);
    await comm.close().done;
});

test("interrupt", async () => {
    const future = kernel.requestExecute({ code: "import time\nwhile True: time.sleep(0.01)" });
    const busy = new Promise(resolve => {
        future.onIOPub = message => message.header.msg_type === "execute_input" && resolve();
    });
    await busy;
    await kernel.interrupt();
    const reply = await future.done;
    assert.equal(reply.content.ename, "KeyboardInterrupt");
    assert.equal((await run("x")).of("execute_result")[0].data["text/plain"], "20");
});

test("restart keeps the id and forgets the state", async () => {
    const id = kernel.id;
    await kernel.restart();
    assert.equal(kernel.id, id);
    assert.equal((await run("'x' in globals()")).of("execute_result")[0].data["text/plain"], "False");
});

test("a second client of the same kernel hears what the first does", async () => {
    const other = kernels.connectTo({ model: kernel.model });
    await other.info;
    const told = until(other.iopubMessage, (_, m) => m.header.msg_type === "stream" && m.content.text === "to all\n");
    await run("print('to all')");
    await told;
    other.dispose();
});

test("a large output arrives whole", async () => {
    const { of } = await run("print('y' * 3_000_000)");
    assert.equal(of("stream").map(part => part.text).join("").length, 3_000_001);
});

test("a session", async () => {
    const sessions = new SessionManager({ serverSettings, kernelManager: kernels });
    await sessions.ready;
    const session = await sessions.startNew({ path: "a.ipynb", type: "notebook", name: "a", kernel: { name: "python3" } });
    assert.equal(session.path, "a.ipynb");
    await session.kernel.info; // or its question would end by an error that nobody waits for
    await session.setPath("b.ipynb");
    await sessions.refreshRunning();
    assert.deepEqual([...sessions.running()].map(model => model.path), ["b.ipynb"]);
    await session.shutdown();
    await sessions.refreshRunning();
    assert.deepEqual([...sessions.running()], []);
    sessions.dispose();
});

test("a terminal", async () => {
    const terminals = new TerminalManager({ serverSettings });
    const terminal = await terminals.startNew();
    let text = "";
    const answered = until(terminal.messageReceived, (_, message) => {
        text += message.type === "stdout" ? message.content.join("") : "";
        return text.includes("forty-42");
    });
    terminal.send({ type: "stdin", content: ["echo forty-$((6*7))\r"] });
    await answered;
    await terminal.shutdown();
    terminals.dispose();
});

test("contents", async () => {
    const contents = new ContentsManager({ serverSettings });
    const made = await contents.newUntitled({ type: "file", ext: ".txt" });
    await contents.save(made.path, { type: "file", format: "text", content: "some text" });
    assert.equal((await contents.get(made.path, { content: true })).content, "some text");
    const moved = await contents.rename(made.path, "named.txt");
    assert.equal(moved.path, "named.txt");
    const listed = await contents.get("", { content: true });
    assert.equal(listed.content.some(entry => entry.name === "named.txt"), true);
    await contents.delete("named.txt");
    await assert.rejects(contents.get("named.txt"));
    contents.dispose();
});

test("shut down", async () => {
    const one = await kernels.startNew({ name: "python3" });
    await one.shutdown();
    await kernels.refreshRunning();
    assert.equal([...kernels.running()].some(model => model.id === one.id), false);
});
