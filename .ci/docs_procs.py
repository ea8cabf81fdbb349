"""The API parts of the documentation, from the exported modules: `PYTHONPATH=.ci nbdev_docs`.

nbdev's own `exec_show_docs` runs cells of a notebook in order to document what it exports: exported cells, and all that
import something. Where such a cell is also an example, it needs the examples before it, which are not run, and the
documentation stops there. Here nothing of a notebook is run: names are looked up in the module exported from it.
settings.ini names this processor (`procs`) and leaves out the other (`skip_procs`).
"""
import ast
import importlib
import inspect
import re
from pathlib import Path

from nbdev.config import get_config
from nbdev.doclinks import NbdevLookup
from nbdev.process import Processor
from nbdev.showdoc import show_doc


def shown_by(cell):
    "The expression that a cell's `show_doc(...)` is, or None."
    if cell.cell_type != 'code' or 'show_doc(' not in cell.source: return None
    lines = [node for node in ast.parse(cell.source).body if isinstance(node, ast.Expr)]
    calls = [node.value for node in lines if isinstance(node.value, ast.Call) and
             getattr(node.value.func, 'id', '') == 'show_doc']
    return ast.unparse(calls[-1]) if calls else None


def public_methods(cls):
    "(name, function) of what a class offers, where it says what it does."
    for name, value in vars(cls).items():
        function = value.fget if isinstance(value, property) else inspect.unwrap(getattr(value, '__func__', value))
        if not name.startswith('_') and inspect.isfunction(function) and function.__doc__: yield name, function


def described(call, names, calls=()):
    """Markdown of what `show_doc` says, and of a class's methods that are not among the other `calls`.

    A type that an annotation only names (`'pandas.DataFrame'`) is imported for it."""
    def markdown(source):
        for _ in range(5):
            try:
                shown = eval(source, names)
                return shown._repr_markdown_() if shown is not None else ''
            except NameError as error:
                where = names['__module__'].__dict__
                where[error.name] = names[error.name] = importlib.import_module(error.name)
    named = ast.unparse(ast.parse(call, mode='eval').body.args[0])
    if '.' in named and call == f'show_doc({named})': call = f'show_doc({named}, name={named!r}, title_level=4)' # `@patch`
    parts, subject = [markdown(call)], eval(named, names)
    if inspect.isclass(subject):
        for name, function in public_methods(subject):
            if f'show_doc({subject.__name__}.{name})' in calls: continue
            names['__method__'] = function
            parts.append(markdown(f'show_doc(__method__, name={f"{subject.__name__}.{name}"!r}, title_level=4)'))
    return '\n\n'.join(part for part in parts if part).replace('#LNone', '')   # methods have no line of their own


class show_api(Processor):
    "Puts into every `show_doc` cell what it shows."
    def __init__(self, nb):
        super().__init__(nb)
        names = [cell.directives_['default_exp'][0] for cell in nb.cells if 'default_exp' in cell.directives_]
        self.module = importlib.import_module(f'{get_config().lib_path.name}.{names[0]}') if names else None

    def begin(self):
        if self.module is None: return
        names = dict(vars(self.module), show_doc=show_doc, __module__=self.module)
        links = NbdevLookup()
        calls = {id(cell): call for cell in self.nb.cells if (call := shown_by(cell))}
        for cell in self.nb.cells:
            call = calls.get(id(cell))
            if not call: continue
            try: text = described(call, names, calls.values())
            except Exception as error: raise RuntimeError(f'{self.module.__name__}: {call}: {error}') from error
            shown = {'text/markdown': links.linkify(text).splitlines(keepends=True)}
            cell.outputs = [dict(output_type='display_data', metadata={}, data=shown)]


LINK = re.compile(r'(\]\()([^)\s#:]+)(?=[)#])')


class outside_links(Processor):
    "Leads links to files of the repository that are no part of the site to where the repository is shown."
    def cell(self, cell):
        if cell.cell_type != 'markdown': return
        config = get_config()
        def moved(match):
            target = (Path(self.nb.path_).resolve().parent / match[2]).resolve()
            if target.is_relative_to(config.nbs_path.resolve()): return match[0]
            path = target.relative_to(config.config_path).as_posix()
            return f'{match[1]}{config.git_url}/blob/{config.branch}/{path}'
        cell.source = LINK.sub(moved, cell.source)
