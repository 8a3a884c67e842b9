"""JupyterLab in a real browser, its kernels behind execd (`jupyter lab --gateway-url`): what its users do."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from harness.jupyter import Gateway

CHROMIUM = "/usr/bin/chromium"
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-quic"]
LIMIT_MS = 60_000
PLOT = """from IPython.display import display, Image
import base64
display(Image(data=base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="), width=40, height=40))"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(scope="module")
def lab(gateway, tmp_path_factory):
    """JupyterLab on a free port; everything it keeps is in a folder of its own."""
    home = tmp_path_factory.mktemp("lab")
    work = home / "work"
    work.mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "JUPYTER_GATEWAY_URL": gateway.url,
           "JUPYTER_GATEWAY_AUTH_TOKEN": gateway.token or "", "JUPYTER_PLATFORM_DIRS": "1"}
    log = (home / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", "--port=0", "--allow-root",
         "--IdentityProvider.token=", "--ServerApp.disable_check_xsrf=True", f"--ServerApp.root_dir={work}",
         "--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"],
        env=env, cwd=work, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield found_url(process, home / "log")
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def found_url(process, log):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:\d+/lab", log.read_text())
        if found and answers(found[0].removesuffix("lab") + "api"):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab does not answer:\n{log.read_text()[-4000:]}")


def answers(url):
    try:
        return urllib.request.urlopen(url, timeout=5).status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def page(lab):
    from playwright.sync_api import expect, sync_playwright

    if not Path(CHROMIUM).exists():
        pytest.skip("chromium is not installed (make setup)")
    expect.set_options(timeout=LIMIT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(LIMIT_MS)
        page.goto(f"{lab}?reset")
        yield page
        browser.close()


def run_cell(page, code):
    """Into the last cell, which is empty; leaves a new one below. JupyterLab may draw the first cell of a new notebook anew
    and forget what was typed: then it is typed again."""
    from playwright.sync_api import expect

    cells = page.locator(".jp-Notebook .jp-CodeCell")
    cell = cells.nth(cells.count() - 1)
    editor = cell.locator(".cm-content")
    for _ in range(5):
        editor.click()
        editor.fill(code)
        editor.press("Shift+Enter")
        try:
            expect(cell.locator(".jp-InputPrompt").first).not_to_have_text("[ ]:", timeout=3000)
            break
        except AssertionError:
            pass
    return cell


def prompt_is(cell, pattern):
    from playwright.sync_api import expect

    expect(cell.locator(".jp-InputPrompt").first).to_have_text(re.compile(pattern))


def kernel_is(page, state):
    page.locator(f".jp-Notebook-ExecutionIndicator[data-status={state}]").first.wait_for(state="attached")


def menu(page, *names):
    page.get_by_role("menuitem", name=names[0], exact=True).click()
    for name in names[1:]:
        page.get_by_role("menuitem", name=re.compile(name)).first.click()


def test_a_notebook_is_opened_run_interrupted_and_restarted(page, gateway):
    from playwright.sync_api import expect

    page.locator(".jp-LauncherCard[title*='Python 3']").first.click()
    kernel_is(page, "idle")

    first = run_cell(page, "x = 6\nx * 7")
    expect(first.locator(".jp-OutputArea-executeResult pre")).to_have_text("42")
    prompt_is(first, r"\[1\]")

    plot = run_cell(page, PLOT)
    expect(plot.locator(".jp-RenderedImage img")).to_be_visible()
    assert plot.locator(".jp-RenderedImage img").evaluate("image => image.naturalWidth") == 1

    endless = run_cell(page, "import time\nwhile True: time.sleep(0.01)")
    prompt_is(endless, r"\[\*\]")
    menu(page, "Kernel", "^Interrupt Kernel")
    expect(endless.locator(".jp-OutputArea-output").last).to_contain_text("KeyboardInterrupt")

    again = run_cell(page, "print('still', x)")
    expect(again.locator(".jp-OutputArea-output")).to_have_text("still 6\n")

    before = {kernel["id"] for kernel in gateway.client.get("/api/kernels").json()}
    menu(page, "Kernel", "^Restart Kernel…")
    page.locator(".jp-Dialog button.jp-mod-accept").click()
    kernel_is(page, "idle")
    gone = run_cell(page, "'x' in globals()")
    expect(gone.locator(".jp-OutputArea-executeResult pre")).to_have_text("False")
    prompt_is(gone, r"\[1\]")
    assert {kernel["id"] for kernel in gateway.client.get("/api/kernels").json()} == before


def test_a_kernel_that_dies_is_noticed(page):
    from playwright.sync_api import expect

    run_cell(page, "import os; os._exit(3)")
    expect(page.locator(".jp-Dialog, .jp-NotebookPanel-toolbar, #jp-main-statusbar").filter(
        has_text=re.compile("Dead|Restart|died|Unknown|Disconnected|No Kernel", re.IGNORECASE)).first).to_be_visible()
