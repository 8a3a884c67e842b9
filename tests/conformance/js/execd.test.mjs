// The published JavaScript SDK against a real sandbox: every command, session, file and metric method it has.
// Run by test_javascript.py, which sets DOMAIN, API_KEY and IMAGE; the SDK lies in build/js/node_modules.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(process.env.SDK_FOLDER + "/");
const { Sandbox, SandboxManager, SandboxApiException } = await import(
  pathToFileURL(require.resolve("@alibaba-group/opensandbox")).href);

const connectionConfig = { domain: process.env.DOMAIN, apiKey: process.env.API_KEY, disableMetrics: true };
let sandbox;

before(async () => {
  sandbox = await Sandbox.create({ connectionConfig, image: process.env.IMAGE,
    resource: { cpu: "1", memory: "512Mi" }, env: { GREETING: "hello" } });
});

after(async () => {
  await sandbox?.kill();
  await sandbox?.close();
});

// This SDK gets one line per event, without its end; a blank line is "\n" (contracts/v1.1.md 1.2).
const text = (execution) => execution.logs.stdout.map((line) => line.text === "\n" ? "" : line.text).join("\n");

async function eventually(condition, limitMs = 10000) {
  const end = Date.now() + limitMs;
  while (!(await condition())) {
    assert.ok(Date.now() < end, "not in time");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function refused(promise, status) {
  await assert.rejects(promise, (error) => error instanceof SandboxApiException && error.statusCode === status);
}

test("health.ping", async () => {
  assert.equal(await sandbox.health.ping(), true);
  assert.equal(await sandbox.isHealthy(), true);
});

test("commands.run", async () => {
  const seen = [];
  const execution = await sandbox.commands.run("echo one; echo bad >&2; echo $GREETING", {}, {
    onInit: (init) => seen.push(["init", init.id]),
    onStdout: (line) => seen.push(["stdout", line.text]),
    onStderr: (line) => seen.push(["stderr", line.text]),
    onExecutionComplete: () => seen.push(["complete"]),
  });
  assert.equal(seen[0][0], "init");
  assert.equal(seen[0][1], execution.id);
  assert.equal(seen.at(-1)[0], "complete");
  assert.deepEqual(seen.filter(([kind]) => kind === "stdout").map(([, line]) => line.trimEnd()), ["one", "hello"]);
  assert.deepEqual(seen.filter(([kind]) => kind === "stderr").map(([, line]) => line.trimEnd()), ["bad"]);
  assert.equal(execution.exitCode, 0);
  assert.equal(execution.error, undefined);
});

test("commands.run options", async () => {
  const options = { workingDirectory: "/tmp", envs: { X: "y z" }, uid: 65534, gid: 65534 };
  assert.equal(text(await sandbox.commands.run("pwd; echo; echo $X; id -u; id -g", options)),
    "/tmp\n\ny z\n65534\n65534");
});

for (const code of [1, 42, 255]) {
  test(`commands.run exit ${code}`, async () => {
    const execution = await sandbox.commands.run(`exit ${code}`);
    assert.equal(execution.exitCode, code);
    assert.equal(execution.error.name, "CommandExecError");
    assert.equal(execution.error.value, String(code));
  });
}

test("commands.run timeout", async () => {
  const execution = await sandbox.commands.run("sleep 60", { timeoutSeconds: 1 });
  assert.notEqual(execution.exitCode, 0);
  assert.ok(execution.error);
});

test("commands.runStream", async () => {
  const kinds = [];
  for await (const event of sandbox.commands.runStream("printf 'a\\n\\nb €\\n'"))
    kinds.push(event.type);
  assert.equal(kinds[0], "init");
  assert.equal(kinds.filter((kind) => kind === "execution_complete" || kind === "error").length, 1);
});

test("commands.interrupt and getCommandStatus", async () => {
  let ident;
  const run = sandbox.commands.run("sleep 120", {}, { onInit: (init) => { ident = init.id; } });
  await eventually(() => ident !== undefined);
  const running = await sandbox.commands.getCommandStatus(ident);
  assert.equal(running.running, true);
  assert.equal(running.content, "sleep 120");
  await sandbox.commands.interrupt(ident);
  assert.notEqual((await run).exitCode, 0);
  const ended = await sandbox.commands.getCommandStatus(ident);
  assert.equal(ended.running, false);
  assert.equal(ended.exitCode, -1);
  assert.ok(ended.finishedAt >= ended.startedAt);
});

test("commands.getCommandStatus of nothing", async () => {
  await refused(sandbox.commands.getCommandStatus("nothing"), 404);
});

test("commands.getBackgroundCommandLogs", async () => {
  const execution = await sandbox.commands.run("echo first; sleep 0.3; echo second; exit 3", { background: true });
  await eventually(async () => !(await sandbox.commands.getCommandStatus(execution.id)).running);
  assert.equal((await sandbox.commands.getCommandStatus(execution.id)).exitCode, 3);
  const logs = await sandbox.commands.getBackgroundCommandLogs(execution.id);
  assert.equal(logs.content, "first\nsecond\n");
  const rest = await sandbox.commands.getBackgroundCommandLogs(execution.id, "first\n".length);
  assert.equal(rest.content, "second\n");
  const none = await sandbox.commands.getBackgroundCommandLogs(execution.id, logs.cursor);
  assert.equal(none.content, "");
  assert.equal(none.cursor, logs.cursor);
});

test("metrics.getMetrics", async () => {
  const metrics = await sandbox.metrics.getMetrics();
  assert.equal(metrics.cpuCount, 1);
  assert.equal(metrics.memoryTotalMiB, 512);
  assert.ok(metrics.memoryUsedMiB > 0 && metrics.memoryUsedMiB < 512);
  assert.ok(Math.abs(metrics.timestamp - Date.now()) < 60000);
});

const binary = new Uint8Array(300000).map((_, i) => (i * 7 + (i >> 8)) & 255);

test("files.writeFiles, readFile, readBytes, readBytesStream", async () => {
  await sandbox.files.writeFiles([
    { path: "/workspace/js/text.txt", data: "héllo\nworld\n", mode: 640 },
    { path: "/workspace/js/data.bin", data: binary },
    { path: "/workspace/js/blob.bin", data: new Blob([binary]) },
    { path: "/workspace/js/stream.bin", data: (async function* () { yield binary.slice(0, 1000); yield binary.slice(1000); })() },
  ]);
  assert.equal(await sandbox.files.readFile("/workspace/js/text.txt"), "héllo\nworld\n");
  for (const name of ["data", "blob", "stream"])
    assert.deepEqual(Buffer.from(await sandbox.files.readBytes(`/workspace/js/${name}.bin`)), Buffer.from(binary), name);
  assert.deepEqual(Buffer.from(await sandbox.files.readBytes("/workspace/js/data.bin", { range: "bytes=10-19" })),
    Buffer.from(binary.slice(10, 20)));
  const parts = [];
  for await (const part of sandbox.files.readBytesStream("/workspace/js/data.bin"))
    parts.push(part);
  assert.deepEqual(Buffer.concat(parts), Buffer.from(binary));
});

test("files.readFile of nothing", async () => {
  await refused(sandbox.files.readFile("/workspace/none"), 404);
});

test("files.getFileInfo", async () => {
  await sandbox.files.writeFiles([{ path: "/workspace/js/info.txt", data: "13 bytes long", mode: 600 }]);
  const info = await sandbox.files.getFileInfo(["/workspace/js/info.txt", "/workspace/js"]);
  assert.equal(info["/workspace/js/info.txt"].size, 13);
  assert.equal(info["/workspace/js/info.txt"].mode, 600);
  assert.ok(info["/workspace/js/info.txt"].modifiedAt instanceof Date);
  assert.equal(info["/workspace/js"].mode, 755);
});

const routes = new Set(process.env.ROUTES.split(" "));
const needs = (route) => ({ skip: routes.has(route) ? false : `execd has no route ${route}` });

test("commands.createSession, runInSession, deleteSession", needs("/session"), async () => {
  const ident = await sandbox.commands.createSession({ workingDirectory: "/tmp" });
  const run = (command, options) => sandbox.commands.runInSession(ident, command, options);
  assert.equal(text(await run("pwd")), "/tmp");
  assert.equal((await run("x='a  b'; f() { echo \"f: $x\"; }")).exitCode ?? 0, 0);
  assert.equal(text(await run("f")), "f: a  b");
  assert.equal(text(await run("pwd", { workingDirectory: "/" })), "/");
  const stopped = await run("sleep 60", { timeoutSeconds: 1 });
  assert.ok(stopped.error);
  await sandbox.commands.deleteSession(ident);
  await refused(run("true"), 404);
});

test("files.search", needs("/files/search"), async () => {
  await sandbox.files.writeFiles([{ path: "/workspace/jss/a.txt", data: "x" }, { path: "/workspace/jss/deep/b.txt", data: "x" },
    { path: "/workspace/jss/c.md", data: "x" }]);
  const found = await sandbox.files.search({ path: "/workspace/jss", pattern: "*.txt" });
  assert.deepEqual(found.map((file) => file.path).sort(), ["/workspace/jss/a.txt", "/workspace/jss/deep/b.txt"]);
});

test("files.moveFiles, deleteFiles", needs("/files/mv"), async () => {
  await sandbox.files.writeFiles([{ path: "/workspace/jsm/a", data: "moved" }]);
  await sandbox.files.moveFiles([{ src: "/workspace/jsm/a", dest: "/workspace/jsm/b" }]);
  assert.equal(await sandbox.files.readFile("/workspace/jsm/b"), "moved");
  await sandbox.files.deleteFiles(["/workspace/jsm/b"]);
  await refused(sandbox.files.readFile("/workspace/jsm/b"), 404);
});

test("files.setPermissions", needs("/files/permissions"), async () => {
  await sandbox.files.writeFiles([{ path: "/workspace/jsp", data: "x" }]);
  await sandbox.files.setPermissions([{ path: "/workspace/jsp", mode: 600, owner: "nobody", group: "root" }]);
  const info = (await sandbox.files.getFileInfo(["/workspace/jsp"]))["/workspace/jsp"];
  assert.deepEqual([info.mode, info.owner, info.group], [600, "nobody", "root"]);
});

test("files.replaceContents", needs("/files/replace"), async () => {
  await sandbox.files.writeFiles([{ path: "/workspace/jsr", data: "old and old" }]);
  const change = { path: "/workspace/jsr", oldContent: "old", newContent: "new" };
  assert.equal((await sandbox.files.replaceContentsDetailed([change]))[0].replacedCount, 2);
  assert.equal(await sandbox.files.readFile("/workspace/jsr"), "new and new");
  await sandbox.files.replaceContents([{ path: "/workspace/jsr", oldContent: "and", newContent: "&" }]);
  assert.equal(await sandbox.files.readFile("/workspace/jsr"), "new & new");
});

test("files.createDirectories, deleteDirectories", needs("/directories"), async () => {
  await sandbox.files.createDirectories([{ path: "/workspace/jsd/deep", mode: 750 }]);
  assert.equal((await sandbox.files.getFileInfo(["/workspace/jsd/deep"]))["/workspace/jsd/deep"].mode, 750);
  await sandbox.files.deleteDirectories(["/workspace/jsd"]);
  await refused(sandbox.files.getFileInfo(["/workspace/jsd"]), 404);
});

test("files.listDirectory", needs("/directories/list"), async () => {
  await sandbox.files.writeFiles([{ path: "/workspace/jsl/file", data: "x" }, { path: "/workspace/jsl/deep/er", data: "y" }]);
  const listed = await sandbox.files.listDirectory({ path: "/workspace/jsl", depth: 1 });
  assert.deepEqual(listed.map((file) => file.path).sort(), ["/workspace/jsl/deep", "/workspace/jsl/file"]);
});

test("the manager sees the sandbox", async () => {
  const manager = SandboxManager.create({ connectionConfig });
  assert.equal((await manager.getSandboxInfo(sandbox.id)).status.state, "Running");
  await manager.close();
});
