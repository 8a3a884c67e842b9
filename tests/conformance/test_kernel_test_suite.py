"""jupyter_kernel_test, unmodified, over jupyter_server's own gateway client: every message travels through execd.

The suite wants a blocking client; jupyter_server's is asynchronous, so it is put on a loop of its own here.
"""

import asyncio
import inspect
import tempfile
import unittest
from pathlib import Path

import pytest

jupyter_kernel_test = pytest.importorskip("jupyter_kernel_test")

from jupyter_client.blocking.client import BlockingKernelClient  # noqa: E402
from jupyter_server.gateway.gateway_client import GatewayClient  # noqa: E402
from jupyter_server.gateway.managers import GatewayKernelClient, GatewayKernelManager  # noqa: E402

from harness.jupyter import Gateway  # noqa: E402

LIMIT_S = 30


class Blocking:
    """Somebody's methods, with those that are coroutines run to their end."""

    def __init__(self, wrapped, loop):
        self._wrapped, self._loop = wrapped, loop

    def __getattr__(self, name):
        value = getattr(self._wrapped, name)
        if name.endswith("_channel"):
            return Blocking(value, self._loop)
        if not callable(value):
            return value

        def call(*arguments, **options):
            result = value(*arguments, **options)
            if inspect.isawaitable(result):
                return self._loop.run_until_complete(asyncio.wait_for(result, LIMIT_S))
            return result

        return call


class ThroughGateway(jupyter_kernel_test.KernelTests):
    kernel_name = "python3"

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="execd-kernel-test-")
        cls.gateway = Gateway(Path(cls.folder.name), token=None).__enter__()
        cls.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(cls.loop)
        GatewayClient.clear_instance()
        GatewayClient.instance().url = cls.gateway.url
        cls.km = Blocking(GatewayKernelManager(), cls.loop)
        cls.km.start_kernel(kernel_name=cls.kernel_name)
        cls.kc = Blocking(GatewayKernelClient(cls.km.kernel_id), cls.loop)
        cls.kc.start_channels()

    @classmethod
    def tearDownClass(cls):
        cls.kc.stop_channels()
        cls.km.shutdown_kernel()
        cls.loop.close()
        GatewayClient.clear_instance()
        cls.gateway.__exit__(None, None, None)
        cls.folder.cleanup()


class TestPython(ThroughGateway):
    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('test', file=sys.stderr)"
    completion_samples = [{"text": "zi", "matches": {"zip"}}]
    complete_code_samples = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]
    incomplete_code_samples = ["print('''hello", "def f(x):\n  x*2"]
    invalid_code_samples = ["import = 7q"]
    code_page_something = "zip?"
    code_generate_error = "raise"
    code_execute_result = [{"code": "1+2+3", "result": "6"}, {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"}]
    code_display_data = [{"code": "from IPython.display import HTML, display; display(HTML('<b>test</b>'))", "mime": "text/html"}]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from IPython.display import clear_output; clear_output()"


# The base classes of the suite are no tests of their own here.
del ThroughGateway
