"""The asynchronous Python SDK: the same server, many things at once."""

import asyncio

from code_interpreter import CodeInterpreter
from opensandbox import Sandbox
from opensandbox.config import ConnectionConfig
from opensandbox.models.execd import ExecutionHandlers, RunCommandOpts

from conftest import connection
from harness.server import SMALL


def test_a_life(server):
    async def life():
        sandbox = await Sandbox.create(SMALL, connection_config=connection(server, ConnectionConfig),
                                       resource={"cpu": "1", "memory": "512Mi"})
        try:
            lines = []

            async def on_stdout(message):
                lines.append(message.text)

            execution = await sandbox.commands.run("for i in 1 2 3; do echo $i; sleep 0.1; done",
                                                   handlers=ExecutionHandlers(on_stdout=on_stdout))
            assert lines == ["1\n", "2\n", "3\n"] and execution.exit_code == 0
            await sandbox.files.write_file("/tmp/f", "content")
            assert await sandbox.files.read_file("/tmp/f") == "content"
            assert (await sandbox.get_metrics()).cpu_count == 1
            background = await sandbox.commands.run("sleep 30", opts=RunCommandOpts(background=True))
            await sandbox.commands.interrupt(background.id)
            assert not (await sandbox.commands.get_command_status(background.id)).running
            interpreter = await CodeInterpreter.create(sandbox)
            execution = await interpreter.codes.run("print(sum(range(10)))", language="python")
            assert execution.logs.stdout[0].text == "45\n"
        finally:
            await sandbox.kill()
            await sandbox.close()

    asyncio.run(life())


def test_many_at_once(server):
    async def one(i):
        sandbox = await Sandbox.create(SMALL, connection_config=connection(server, ConnectionConfig),
                                       resource={"cpu": "500m", "memory": "128Mi"})
        try:
            results = await asyncio.gather(*(sandbox.commands.run(f"echo {i}.{k}; exit {k}") for k in range(4)))
            assert [r.exit_code for r in results] == [0, 1, 2, 3]
            assert [r.text for r in results] == [f"{i}.{k}" for k in range(4)]
        finally:
            await sandbox.kill()
            await sandbox.close()

    async def all_of_them():
        await asyncio.gather(*(one(i) for i in range(8)))

    asyncio.run(all_of_them())
