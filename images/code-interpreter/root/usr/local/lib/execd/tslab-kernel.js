// Starts tslab so that results and errors are messages of their own.
//
// By itself it prints both: the value of the last expression on stdout, an exception on stderr, and its reply says
// "error" without what it was. Its executor takes the console that it prints them to as an argument, and nothing else
// goes there; so it gets one that turns a value into display_data and keeps an error for the reply.
//
// And by itself it now and then never answers: its sockets are read while they are still being bound, and whoever is
// quick enough to write just then makes zeromq.js refuse the next read ("blocked by a bind operation"), which ends its
// loop. Here they are read, and messages answered, once all of them are bound.

const { format, inspect } = require("util");
const home = "/usr/local/lib/node_modules/tslab";
const executor = require(home + "/dist/executor.js");
const jupyter = require(home + "/dist/jupyter.js");

let display = null; // of the running cell
let problem = null;

function plain(value) {
  return typeof value === "string" ? value : inspect(value);
}

// An exception of the cell's realm, another thrown value, or the compiler's findings (a format and its arguments).
function keep(first, ...rest) {
  const thrown = rest.length === 0;
  const isError = thrown && first !== null && typeof first === "object" && "stack" in first;
  const text = isError ? String(first.stack) : thrown ? inspect(first) : format(first, ...rest);
  const lines = text.split("\n");
  if (problem === null)
    problem = {
      ename: isError ? String(first.name) : thrown ? "Error" : "CompileError",
      evalue: isError ? String(first.message) : text,
      traceback: [],
    };
  else if (!thrown) problem.evalue += "\n" + text;
  problem.traceback.push(...lines);
}

const createExecutor = executor.createExecutor;
executor.createExecutor = (rootDir, converters, own) =>
  createExecutor(rootDir, converters, {
    ...own,
    log: (value) => display({ data: { "text/plain": plain(value) }, metadata: {}, transient: {} }, false),
    error: keep,
  });

const handler = jupyter.JupyterHandlerImpl.prototype;
const handleExecuteImpl = handler.handleExecuteImpl;
handler.handleExecuteImpl = function (request, writeStream, writeDisplayData) {
  display = writeDisplayData;
  problem = null;
  return handleExecuteImpl.call(this, request, writeStream, writeDisplayData);
};
const handleExecute = handler.handleExecute;
handler.handleExecute = async function (...args) {
  const reply = await handleExecute.apply(this, args);
  return reply.status === "error" && problem ? { ...reply, ...problem } : reply;
};

const server = jupyter.ZmqServer.prototype;
const { init, bindSocket, handleShellMessage } = server;
const whenBound = new Map(); // of the sockets that are being bound
server.bindSocket = async function (socket, port) {
  const bound = bindSocket.call(this, socket, port);
  whenBound.set(socket, bound);
  await bound;
  whenBound.delete(socket);
};
server.init = function () {
  const zmq = require(home + "/node_modules/zeromq"); // as late as tslab does
  for (const { prototype } of [zmq.Router, zmq.Reply]) {
    const { receive } = prototype;
    const value = async function () {
      const bound = whenBound.get(this);
      if (bound) await bound; // the first one comes before that, and at once
      return receive.call(this);
    };
    Object.defineProperty(prototype, "receive", { value });
  }
  return (this.whenReady = init.call(this));
};
server.handleShellMessage = async function (...args) {
  await this.whenReady;
  return handleShellMessage.apply(this, args);
};

process.argv[1] = home + "/bin/tslab";
require(home + "/dist/main.js").main();
