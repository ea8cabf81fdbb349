"""What must hold of the package as a whole: light imports, one direction, declared requirements, a complete wheel."""
import ast
import configparser
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
LIGHT = 'core video motion scenes fixations alignment metrics validation variants experiment plots'.split()
HEAVY = {'torch', 'torchvision', 'diffusers', 'transformers', 'lpips', 'timm', 'cv2', 'av', 'scenedetect', 'pandas',
         'scipy', 'matplotlib', 'IPython', 'ipywidgets'}
NOTEBOOKS = sorted(path for path in (ROOT / 'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in path.parts)
NUMBERS = {path.stem.partition('_')[2]: path.stem.partition('_')[0] for path in NOTEBOOKS if re.match(r'\d\d[a-z]?_', path.stem)}
MODULES = sorted(path for path in PACKAGE.glob('*.py') if not path.name.startswith('_'))


def loaded_by(code):
    "Top-level names of the modules that a fresh interpreter has loaded after `code`."
    code += '\nimport sys; print("\\n" + " ".join({name.partition(".")[0] for name in sys.modules}))'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def imports_of(path):
    "(module, names) of every import in the file, wherever it stands; those of optional packages in a `try` are left out."
    tree = ast.parse(path.read_text(encoding='utf-8'))
    tried = {id(node) for block in ast.walk(tree) if isinstance(block, ast.Try) for part in block.body
             for node in ast.walk(part)}
    for node in ast.walk(tree):
        if id(node) in tried: continue
        if isinstance(node, ast.Import):
            for alias in node.names: yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            name = '.'.join(filter(None, ['akv' if node.level else '', node.module]))
            yield name, [alias.name for alias in node.names]


def own_imports(path):
    "Names of the akv modules that the file imports."
    for name, names in imports_of(path):
        if name == 'akv': yield from (one for one in names if one in NUMBERS)
        elif name.startswith('akv.'): yield name.split('.')[1]


def normal(name): return re.sub(r'[-_.]+', '-', name).lower()


def test_import_akv_loads_nothing_heavy():
    assert not loaded_by('import akv') & (HEAVY | {'numpy'})


@pytest.mark.skipif(not (PACKAGE / 'cli.py').exists(), reason='no command yet')
def test_help_loads_nothing_heavy():
    code = 'import sys\nfrom akv.cli import main\nsys.argv = ["akv", "--help"]\ntry: main()\nexcept SystemExit: pass'
    assert not loaded_by(code) & HEAVY


@pytest.mark.parametrize('name', [name for name in LIGHT if (PACKAGE / f'{name}.py').exists()])
def test_light_modules_do_not_load_torch(name):
    assert 'torch' not in loaded_by(f'import akv.{name}')


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.stem)
def test_modules_import_only_lower_numbers(path):
    assert path.stem in NUMBERS, f'{path.name} comes from no notebook: remove it, or number its notebook'
    if NUMBERS[path.stem] == '99': return
    wrong = {name for name in own_imports(path) if NUMBERS.get(name, '~') >= NUMBERS[path.stem]}
    assert not wrong, f'akv.{path.stem} ({NUMBERS[path.stem]}) imports {sorted(wrong)}: no notebook of a lower number'


def settings():
    "The section of settings.ini."
    config = configparser.ConfigParser(delimiters=['='])
    config.read(ROOT / 'settings.ini', encoding='utf-8')
    return config['DEFAULT']


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.stem)
def test_what_modules_import_is_required(path):
    required = {normal(Requirement(one).name) for one in settings()['requirements'].split()}
    distributions = packages_distributions()
    outside = {name.partition('.')[0] for name, _ in imports_of(path)} - sys.stdlib_module_names - {'akv'}
    missing = {name for name in outside if not {normal(one) for one in distributions.get(name, [])} & required}
    assert not missing, f'akv.{path.stem} imports {sorted(missing)}, which settings.ini does not require'


def test_constraints_suit_the_oldest_python():
    "Debian 12 has 3.11.2: one version that asks for a later 3.11 makes pip search for minutes, and then give up."
    oldest = settings()['min_python'] + '.0'
    lines = (ROOT / 'constraints.txt').read_text(encoding='utf-8').splitlines()
    pinned = {normal(line.partition('==')[0]) for line in lines if '==' in line and line[0] != '#'}
    asks = {one.name: one.metadata['Requires-Python'] for one in distributions() if normal(one.name) in pinned}
    late = {name: python for name, python in asks.items() if python and not SpecifierSet(python).contains(oldest)}
    assert len(asks) > 100
    assert not late, f'not for Python {oldest}: {late}'


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
