"""What must hold of the package as a whole: light imports, one direction, declared requirements, a complete wheel."""
import ast
import configparser
import functools
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'akv'
WORKSHOPS = 'study media sources diffusion editors carry evidence ui'.split()   # in the order in which they may use each other
LIGHT = ('study media.motion media.regions sources.boxes sources.gaze sources.fixations sources.patches sources.ratings '
         'sources.tracks sources.outlines scenes keywords alignment metrics validation variants plots ui '
         'widgets').split()                                                                # modules, or folders of modules
HEAVY = {'torch', 'torchvision', 'diffusers', 'transformers', 'lpips', 'timm', 'cv2', 'av', 'scenedetect', 'pandas',
         'scipy', 'matplotlib', 'IPython', 'ipywidgets'}
NOTEBOOKS = sorted(path for path in (ROOT / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in path.parts)
MODULES = {'.'.join(path.relative_to(PACKAGE).with_suffix('').parts): path for path in sorted(PACKAGE.rglob('*.py'))
           if not path.name.startswith('_')}


def chapters():
    "{module: its notebook's path below nbs/, as parts}, for every notebook that exports one."
    found = {}
    for path in NOTEBOOKS:
        first = ''.join(json.loads(path.read_text(encoding='utf-8'))['cells'][0]['source'])
        if name := re.search(r'^#\|\s*default_exp\s+(\S+)', first, re.M): found[name[1]] = path.relative_to(ROOT / 'nbs').parts
    return found


CHAPTERS = chapters()
each_module = pytest.mark.parametrize('name', MODULES)


def loaded_by(code):
    "Top-level names of the modules that a fresh interpreter has loaded after `code`."
    code += '\nimport sys; print("\\n" + " ".join({name.partition(".")[0] for name in sys.modules}))'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@functools.cache
def tree_of(name): return ast.parse(MODULES[name].read_text(encoding='utf-8'))


def imports_of(name):
    "(module, names) of every import in a module of akv, wherever it stands; those of optional packages in a `try` are left out."
    tree = tree_of(name)
    tried = {id(node) for block in ast.walk(tree) if isinstance(block, ast.Try) for part in block.body
             for node in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in tried: continue
        if isinstance(node, ast.Import):
            for alias in node.names: yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            base = ['akv', *name.split('.')][:-node.level] if node.level else []
            yield '.'.join(filter(None, [*base, node.module])), [alias.name for alias in node.names]


def own_imports(name):
    "Names of the akv modules that a module imports."
    for module, names in imports_of(name):
        if module.partition('.')[0] != 'akv': continue
        below = module[4:]
        if below in MODULES: yield below
        else: yield from (found for one in names if (found := '.'.join(filter(None, [below, one]))) in MODULES)


def objection(user, used):
    """What is wrong with a module that imports another, or None.

    Stages use workshops and the stages before them. Workshops use workshops, in the order above, and no stage but `alignment`, the
    law; `ui` shows what stages made, and so may use them."""
    here, there = user.rpartition('.')[0], used.rpartition('.')[0]
    if not here: return 'a later stage' if not there and CHAPTERS[used] >= CHAPTERS[user] else None
    if not there:
        if here == 'ui': return 'what stands above the widgets' if used in ('pipeline', 'cli', 'widgets', 'compat') else None
        return None if used == 'alignment' else 'a stage'
    if here == there: return 'a later chapter' if CHAPTERS[used] >= CHAPTERS[user] else None
    return 'a later workshop' if WORKSHOPS.index(there) > WORKSHOPS.index(here) else None


def normal(name): return re.sub(r'[-_.]+', '-', name).lower()


def test_import_akv_loads_nothing_heavy():
    assert not loaded_by('import akv') & (HEAVY | {'numpy'})


@pytest.mark.skipif(not (PACKAGE / 'cli.py').exists(), reason='no command yet')
def test_help_loads_nothing_heavy():
    code = 'import sys\nfrom akv.cli import main\nsys.argv = ["akv", "--help"]\ntry: main()\nexcept SystemExit: pass'
    assert not loaded_by(code) & HEAVY


def test_light_modules_do_not_load_torch():
    light = [name for name in MODULES if name in LIGHT or name.partition('.')[0] in LIGHT]
    assert set(LIGHT) <= {part for name in light for part in (name, name.partition('.')[0])}, 'LIGHT names what is not there'
    assert 'torch' not in loaded_by('\n'.join(f'import akv.{name}' for name in light))


@each_module
def test_modules_use_only_what_stands_before_them(name):
    assert name in CHAPTERS, f'akv.{name} comes from no notebook: remove it'
    folder, number = name.rpartition('.')[0], CHAPTERS[name][-1].partition('_')[0]
    assert CHAPTERS[name][:-1] == tuple(filter(None, [folder])), f'akv.{name} should come from a notebook in nbs/{folder}'
    assert re.fullmatch(r'\d\d', number), f'{CHAPTERS[name][-1]} has no number'
    assert folder in ('', *WORKSHOPS), f'{folder} is no workshop'
    wrong = {used: reason for used in own_imports(name) if (reason := objection(name, used))}
    assert not wrong, f'akv.{name} imports ' + ', '.join(f'{used} ({reason})' for used, reason in wrong.items())


def private(name): return name.startswith('_') and not name.startswith('__')


def defined_in(tree):
    "Names that a module gives to functions, classes, variables, parameters and attributes of its own objects."
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)): yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store): yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store): yield node.attr


OF_LIBRARIES = {'_replace', '_asdict', '_fields', '_make',   # public in spite of their names: collections.namedtuple
                '_compiled_call_impl'}                       # where torch.nn.Module keeps what compile() made; nothing public takes it back


@each_module
def test_no_module_uses_a_private_name_of_another(name):
    imported = {one for module, names in imports_of(name) if module.partition('.')[0] == 'akv' for one in names if private(one)}
    assert not imported, f'akv.{name} imports {sorted(imported)}: make public, in one place, what two modules need'
    tree = tree_of(name)
    own = set(defined_in(tree)) | OF_LIBRARIES
    libraries = {(alias.asname or alias.name).partition('.')[0] for node in ast.walk(tree)
                 if isinstance(node, ast.Import) or isinstance(node, ast.ImportFrom) and not node.level
                 for alias in node.names if (getattr(node, 'module', None) or alias.name).partition('.')[0] != 'akv'}
    reached = {f'{ast.unparse(node)} (line {node.lineno})' for node in ast.walk(tree)
               if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own
               and ast.unparse(node).partition('.')[0] not in libraries}
    assert not reached, f'akv.{name} reaches into others: {sorted(reached)}'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.relative_to(ROOT / 'nbs').as_posix())
def test_no_notebook_imports_a_private_name(path):
    "An example that needs another chapter's private name tests that chapter's insides: it belongs there."
    cells = json.loads(path.read_text(encoding='utf-8'))['cells']
    trees = [ast.parse(''.join(cell['source'])) for cell in cells if cell['cell_type'] == 'code']
    wrong = [f'{node.module}.{alias.name}' for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
             and (node.module or '').partition('.')[0] == 'akv' for alias in node.names if private(alias.name)]
    assert not wrong, f'{path.name}: {wrong}'


def settings():
    "The section of settings.ini."
    config = configparser.ConfigParser(delimiters=['='])
    config.read(ROOT / 'settings.ini', encoding='utf-8')
    return config['DEFAULT']


@functools.cache
def installed():
    "{top-level module: names of the distributions that brought it}; looking takes a second."
    return packages_distributions()


@each_module
def test_what_modules_import_is_required(name):
    "What only an extra brings is imported where it is used, so that the module does without it."
    def named(*keys): return {normal(Requirement(one).name) for key in keys for one in settings()[key].split()}
    required, extras, distributions = named('requirements'), named('disclosure_requirements', 'ray_requirements'), installed()
    def missing(modules, enough):
        outside = {module.partition('.')[0] for module in modules} - sys.stdlib_module_names - {'akv'}
        return {one for one in outside if not {normal(found) for found in distributions.get(one, [])} & enough}
    tree = tree_of(name)
    at_once = [alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names]
    at_once += [node.module for node in tree.body if isinstance(node, ast.ImportFrom) and not node.level]
    lost = missing([module for module, _ in imports_of(name)], required | extras) | missing(at_once, required)
    assert not lost, f'akv.{name} imports {sorted(lost)}, which settings.ini does not require'


def test_constraints_suit_the_oldest_python():
    "Debian 12 has 3.11.2: one version that asks for a later 3.11 makes pip search for minutes, and then give up."
    oldest = settings()['min_python'] + '.0'
    lines = (ROOT / 'constraints.txt').read_text(encoding='utf-8').splitlines()
    pinned = {normal(line.partition('==')[0]) for line in lines if '==' in line and line[0] != '#'}
    asks = {one.name: one.metadata['Requires-Python'] for one in distributions() if normal(one.name) in pinned}
    late = {name: python for name, python in asks.items() if python and not SpecifierSet(python).contains(oldest)}
    assert len(asks) > 100
    assert not late, f'not for Python {oldest}: {late}'


def test_constraints_have_what_is_required():
    "Several minimum versions are there because a default of the library protects: of pickles, of code in folders of models, of XML."
    lines = (ROOT / 'constraints.txt').read_text(encoding='utf-8').splitlines()
    pinned = {normal(name): version for name, equals, version in (line.partition('==') for line in lines) if equals}
    asked = [Requirement(one) for one in settings()['requirements'].split()]
    assert not [str(one) for one in asked if normal(one.name) in pinned and not one.specifier.contains(pinned[normal(one.name)])]
    least = {normal(one.name): str(one.specifier) for one in asked}
    assert all(least[name].startswith('>=') for name in 'torch transformers diffusers pillow pyyaml safetensors defusedxml'.split())


@each_module
def test_models_bring_no_code(name):
    "What is read from a folder or a file of weights runs nothing that lies there, and asks nobody."
    for node in ast.walk(tree_of(name)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute): continue
        if node.func.attr not in ('load', 'from_pretrained'): continue
        said = ast.unparse(node)
        given = {one.arg: ast.unparse(one.value) for one in node.keywords}
        if said.startswith('torch.load('): assert given.get('weights_only') == 'True', said
        if node.func.attr != 'from_pretrained' or None in given: continue      # None: arguments that are named once for several
        kind = ast.unparse(node.func.value)
        if not kind.endswith(('Tokenizer', 'Processor', 'Scheduler')): assert given.get('use_safetensors') == 'True', said
        if not kind.startswith(('diffusers.', 'PeftModel')): assert given.get('trust_remote_code') == 'False', said


def test_the_wheel_carries_everything(tmp_path):
    source = tmp_path / 'source'
    source.mkdir()
    for name in ('setup.py', 'settings.ini', 'README.md', 'LICENSE', 'MANIFEST.in'): shutil.copy(ROOT / name, source)
    shutil.copytree(PACKAGE, source / 'akv', ignore=shutil.ignore_patterns('__pycache__'))
    done = subprocess.run([sys.executable, '-m', 'pip', 'wheel', '-q', '--no-deps', '-w', tmp_path, source],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel, = tmp_path.glob('akv-*.whl')
    shutil.unpack_archive(wheel, tmp_path / 'wheel', 'zip')
    files = [path.relative_to(source) for path in (source / 'akv').rglob('*') if path.is_file()]
    missing = [str(path) for path in files if not (tmp_path / 'wheel' / path).exists()]
    assert files and not missing, f'not in the wheel: {missing}'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: str(path.relative_to(ROOT / 'nbs')))
def test_notebooks_are_small_and_tell_no_paths(path):
    assert path.stat().st_size < 200_000, f'{path.name} has {path.stat().st_size // 1000} kB: shrink its figures'
    outputs = json.dumps([cell.get('outputs', []) for cell in json.loads(path.read_text(encoding='utf-8'))['cells']])
    found = re.search(r'(?<![\w.:/])/(?:home|root|Users|tmp|private|var)/[\w./-]+', outputs)
    assert not found, f'an output of {path.name} shows a path of one machine: {found[0]}'
