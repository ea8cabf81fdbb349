"""Run every notebook's examples against the module that was exported from it.

`nbdev_test` runs a notebook whole, its exported cells too, in the notebook's own namespace: a name that was never exported
or an import that is missing in the module goes unseen. Here the exported cells are left out, and the names of the
module, private ones too, stand in for them.
"""
import atexit
import importlib
import logging
import os
import sys
import traceback
from pathlib import Path
from unittest import mock

import pytest
from execnb.shell import CaptureShell
from fastcore.xtras import working_directory
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.process import NBProcessor

ROOT = Path(__file__).resolve().parents[1]
os.chdir(ROOT)   # where nbdev looks for settings.ini
sys.path.insert(0, str(ROOT))
os.environ['PYTHONPATH'] = str(ROOT)   # for examples that start an interpreter of their own
EXPORTS = {'export', 'exports', 'exporti', 'default_exp'}
SKIPPED_FLAGS = set(get_config().tst_flags.split())


def read(path):
    "The cells of the notebook at `path` and the name of the module it exports, or None."
    cells = NBProcessor(path).nb.cells
    names = [cell.directives_['default_exp'][0] for cell in cells if 'default_exp' in cell.directives_]
    return cells, f'{get_config().lib_path.name}.{names[0]}' if names else None


def is_example(cell):
    "Is this a cell that runs in a test, and is not exported?"
    flags = cell.directives_
    if cell.cell_type != 'code' or EXPORTS & flags.keys() or SKIPPED_FLAGS & flags.keys(): return False
    return flags.get('eval:', ['true'])[0].lower() != 'false' and 'nbdev_export(' not in cell.source


def run_examples(path):
    "Run the examples of the notebook at `path`; the message of the first that fails, or None."
    cells, module_name = read(path)
    module = importlib.import_module(module_name)
    logging.getLogger('akv').setLevel(logging.WARNING)   # one notebook's level is not to reach the next
    shell = CaptureShell(path, mpl_format='png')
    shell.user_ns.update({name: value for name, value in vars(module).items() if not name.startswith('__')})
    try:
        with working_directory(path.parent):
            for index, cell in enumerate(cells):
                if not is_example(cell): continue
                error = shell.run_cell(cell.source).exception
                if error is not None: return message(path, index, cell, module_name, error)
    finally:        # a shell keeps what its cells made until the process ends, and takes a second for each to let go of it
        mock.patch.stopall()
        atexit.unregister(shell.atexit_operations)
        shell.history_manager.close()
        shell.user_ns.clear()


def message(path, index, cell, module_name, error):
    "Which cell of which notebook failed, and how."
    code = '\n'.join(f'    {line}' for line in cell.source.splitlines())
    trace = ''.join(traceback.format_exception(error))
    return f'{path.relative_to(ROOT)}, cell {index} (id {cell.get("id", "none")}) against {module_name}:\n{code}\n{trace}'


NOTEBOOKS = [path.resolve() for path in sorted(nbglob(ROOT / 'nbs', as_path=True))]
WITH_MODULE = [path for path in NOTEBOOKS if read(path)[1]]


def test_there_are_notebooks():
    assert WITH_MODULE, 'no notebook under nbs/ exports a module'


@pytest.mark.parametrize('path', WITH_MODULE, ids=lambda path: path.relative_to(ROOT / 'nbs').as_posix())
def test_examples_against_the_exported_module(path):
    failure = run_examples(path)
    if failure: pytest.fail(failure, pytrace=False)
