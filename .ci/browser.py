"""JupyterLab on this machine and a Chromium that opens notebooks in it, for tests and benchmarks of the widgets.

    with lab_page(['from akv.widgets import HeatmapChecker', 'HeatmapChecker("data/valid_scenes.csv")'], folder) as page:
        page.locator('.akv-checker').wait_for()
        page.screenshot(path='checker.png')

Nothing leaves the machine: the server listens on the loopback address, on a free port, behind a random token, and keeps its
settings in a temporary folder. `missing()` says what is not installed, for tests that are then skipped.
"""
import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHROMIUM = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
QUIET = ('--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync '
         '--disable-component-update --disable-dev-shm-usage --autoplay-policy=no-user-gesture-required').split()
SETTINGS = {'notebook-extension/tracker': dict(windowingMode='none', kernelShutdown=True),
            'apputils-extension/notification': dict(fetchNews='false', checkForUpdates=False)}


def chromium():
    "The path of a Chromium or Chrome, or None."
    return next((path for name in CHROMIUM if (path := shutil.which(name))), None)


def missing():
    "What a browser test lacks here, as text; empty where nothing is missing."
    lacks = [name for name in ('playwright', 'jupyterlab') if importlib.util.find_spec(name) is None]
    return ', '.join(lacks + ([] if chromium() else ['chromium']))


def notebook(cells):
    "The content of a notebook of code cells."
    kernel = dict(kernelspec=dict(name='python3', display_name='Python 3', language='python'))
    cells = [dict(cell_type='code', id=f'cell-{i}', metadata={}, source=text, outputs=[], execution_count=None)
             for i, text in enumerate(cells)]
    return dict(cells=cells, metadata=kernel, nbformat=4, nbformat_minor=5)


def _settings(folder, theme):
    "JupyterLab's settings as its own files hold them: no news, no virtual scrolling, a theme."
    themes = {'apputils-extension/themes': dict(theme=f'JupyterLab {theme.title()}')}
    for name, values in (SETTINGS | themes).items():
        path = folder/'@jupyterlab'/f'{name}.jupyterlab-settings'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))


def _address(runtime, server, log):
    "Wait until the server has written where it listens."
    until = time.monotonic() + 180
    while time.monotonic() < until and server.poll() is None:
        for path in runtime.glob('jpserver-*.json'):
            with contextlib.suppress(ValueError, KeyError): return json.loads(path.read_text())['url']
        time.sleep(.05)
    raise RuntimeError(f'JupyterLab did not start:\n{log.read_text()[-3000:]}')


@contextlib.contextmanager
def lab(folder, theme='light'):
    "JupyterLab with `folder` as its root: (address, token). It ends, and its kernels, with the block."
    with tempfile.TemporaryDirectory() as scratch:
        scratch, token = Path(scratch), secrets.token_hex(16)
        places = {f'JUPYTER{name}_DIR': str(scratch/name.strip('_').lower())
                  for name in ('_CONFIG', '_RUNTIME', '_DATA', 'LAB_SETTINGS', 'LAB_WORKSPACES')}
        _settings(scratch/'lab_settings', theme)
        root = str(Path(__file__).resolve().parents[1])
        paths = os.pathsep.join(filter(None, [root, os.environ.get('PYTHONPATH')]))
        environment = os.environ | places | dict(JUPYTER_TOKEN=token, PYTHONPATH=paths, MPLBACKEND='')
        del environment['MPLBACKEND']
        command = [sys.executable, '-m', 'jupyterlab', '--no-browser', '--ip=127.0.0.1', '--port=0', '--allow-root',
                   f'--ServerApp.root_dir={Path(folder).resolve()}', '--expose-app-in-browser',
                   '--ServerApp.terminals_enabled=False']
        log = scratch/'server.log'
        with log.open('w') as handle:
            server = subprocess.Popen(command, stdout=handle, stderr=subprocess.STDOUT, env=environment,
                                      start_new_session=True)
        try: yield _address(scratch/'runtime', server, log), token
        finally:
            server.send_signal(signal.SIGTERM)
            try: server.wait(20)
            except subprocess.TimeoutExpired: os.killpg(server.pid, signal.SIGKILL)


@contextlib.contextmanager
def browser():
    "A Chromium without a window."
    from playwright.sync_api import sync_playwright
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        try: yield program
        finally: program.close()


def open_notebook(page, address, token, name, run=True):
    "Open the notebook `name` of the server's folder in `page`, without side bars, and run its cells."
    page.goto(f'{address}doc/tree/{name}?token={token}')
    page.wait_for_function('window.jupyterapp && window.jupyterapp.started', timeout=180_000)
    page.evaluate('window.jupyterapp.started')
    idle = '''() => { const shell = window.jupyterapp.shell.currentWidget;
        return shell?.sessionContext?.session?.kernel?.status === "idle" }'''
    page.wait_for_function(idle, timeout=180_000)
    if run: page.evaluate('() => { window.jupyterapp.commands.execute("notebook:run-all-cells") }')
    return page


@contextlib.contextmanager
def lab_page(
    cells,           # source of the code cells, [text]
    folder,          # where the notebook lies and runs: its working directory
    theme='light',   # or 'dark'
    width=1100,      # of the window, pixels
    height=1000,     # of the window, pixels
    run=True,        # run the cells at once; else `run_cells(page)` does
):                   # a playwright page; `page.errors` collects what the browser's console complains of
    "A notebook of these cells, open in JupyterLab in Chromium."
    folder = Path(folder)
    (folder/'browser.ipynb').write_text(json.dumps(notebook(cells)))
    with lab(folder, theme) as (address, token), browser() as program:
        page = program.new_page(viewport=dict(width=width, height=height))
        page.set_default_timeout(120_000)
        page.errors = []
        page.on('pageerror', lambda error: page.errors.append(str(error)))
        page.on('console', lambda line: line.type == 'error' and page.errors.append(line.text))
        yield open_notebook(page, address, token, 'browser.ipynb', run)


def run_cells(page):
    "Run all cells of the open notebook."
    page.evaluate('() => { window.jupyterapp.commands.execute("notebook:run-all-cells") }')


def run_python(page, source):
    "Run `source` in the open notebook's kernel and give back what it prints; raises RuntimeError where it raises."
    answer = page.evaluate('''async source => {
        const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
        const future = kernel.requestExecute({code: source, silent: false, store_history: false})
        const text = [], faults = []
        future.onIOPub = message => {
            if (message.header.msg_type === "stream") text.push(message.content.text)
            if (message.header.msg_type === "error") faults.push(message.content.traceback.join("\\n")) }
        await future.done
        return [text.join(""), faults.join("")] }''', source)
    if answer[1]: raise RuntimeError(answer[1])
    return answer[0]


def cell_errors(page):
    "The tracebacks and warnings that stand under the notebook's cells, [text]."
    return page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]').all_inner_texts()
