"""The documentation's sources: titles, the sidebar, links, what the site is built from. Quarto itself is not needed."""
import ast
import functools
import json
import os
import posixpath
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
os.chdir(ROOT)   # where nbdev looks for settings.ini
sys.path[:0] = [str(ROOT), str(ROOT / '.ci')]

from execnb.nbio import nb2str, read_nb
from nbdev import quarto
from nbdev.config import get_config
from nbdev.doclinks import nbglob
from nbdev.processors import FilterDefaults
from nbdev.showdoc import showdoc_nm

import docs_procs
from akv.cli import make_parser

NBS = ROOT / 'nbs'
NOTEBOOKS = sorted(path.resolve() for path in nbglob(NBS, as_path=True))
FENCED = re.compile(r'^(```|~~~).*?^\1', re.M | re.S)
each_notebook = pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.relative_to(NBS).as_posix())


@functools.cache
def markdown(path):
    "The prose of a notebook or of a Markdown file, without code."
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.ipynb':
        cells = json.loads(text)['cells']
        text = '\n\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown')
    return FENCED.sub('', text)


def anchors(path):
    "The anchors of a page's headings, as GitHub and pandoc make them."
    titles = re.findall(r'^#+\s+(.+?)\s*#*$', markdown(path), flags=re.M)
    plain = [re.sub(r'[`*]|\[([^]]*)\]\([^)]*\)', r'\1', title).lower() for title in titles]
    return {re.sub(r'[^\w\- ]', '', title).strip().replace(' ', '-') for title in plain}


def links(path):
    "Relative links and pictures of a page."
    prose = re.sub(r'`[^`\n]*`', '', markdown(path))
    found = re.findall(r'\]\(([^)\s]+)', prose) + re.findall(r'\b(?:src|href)="([^"]+)"', prose)
    return [link for link in found if not re.match(r'[a-z]+:', link)]


def page(name):
    "A YAML file of the site."
    return yaml.safe_load((NBS / name).read_text(encoding='utf-8'))


def in_sidebar():
    "The pages that the sidebar lists, in order."
    def walk(contents):
        for entry in contents:
            if isinstance(entry, str): yield entry
            else: yield from walk(entry['contents'])
    return list(walk(page('sidebar.yml')['website']['sidebar']['contents']))


@each_notebook
def test_a_page_has_a_title_and_says_what_it_is(path):
    first = next(''.join(cell['source']) for cell in json.loads(path.read_text(encoding='utf-8'))['cells']
                 if cell['cell_type'] == 'markdown')
    assert re.match(r'# \S.*\n+> \S', first), f'{path.name} should begin with "# Title" and "> one line"'
    headings = re.findall(r'^# .+', markdown(path), flags=re.M)
    assert len(headings) == 1, f'{path.name} has {len(headings)} titles: {headings}'


def test_the_sidebar_lists_every_page_once():
    pages, notebooks = in_sidebar(), [path.relative_to(NBS).as_posix() for path in NOTEBOOKS]
    assert len(pages) == len(set(pages)), 'a page stands twice in nbs/sidebar.yml'
    missing, gone = sorted(set(notebooks) - set(pages)), sorted(set(pages) - set(notebooks))
    assert not missing, f'nbs/sidebar.yml does not list {missing}'
    assert not gone, f'nbs/sidebar.yml lists {gone}, which do not exist'


def test_the_index_of_benchmarks_shows_what_the_benchmarks_found(monkeypatch):
    "Its table is made from the stored outputs of the others; after a benchmark has run, run it again."
    path = NBS / 'benchmarks' / 'index.ipynb'
    cells = [cell for cell in json.loads(path.read_text(encoding='utf-8'))['cells'] if cell['cell_type'] == 'code']
    shown = next(''.join(out['data']['text/markdown']) for cell in cells for out in cell['outputs'] if 'text/markdown' in out.get('data', {}))
    monkeypatch.chdir(path.parent)
    names = {}
    for cell in cells:
        if 'nbdev_export' not in ''.join(cell['source']): exec(''.join(cell['source']), names)
    assert names['page'].split() == shown.split()


# what stands where in the sidebar: a newcomer's pages, the chain, the workshops as they use each other, the benchmarks
PLACES = ['index.ipynb', 'tutorials', 'limits.ipynb', 'glossary.ipynb', 'chain', 'study', 'media', 'sources', 'diffusion',
          'editors', 'carry', 'evidence', 'ui', 'benchmarks']


def test_the_sidebar_follows_the_folders():
    def place(name):
        folder, _, file = name.rpartition('/')
        numbered = re.match(r'\d\d_', file)
        return PLACES.index(folder or ('chain' if numbered else file)), file if numbered else ''
    assert in_sidebar() == sorted(in_sidebar(), key=place), 'nbs/sidebar.yml is out of order'
    numbers = [name[:name.rindex('/') + 3] if '/' in name else name[:2] for name in in_sidebar() if place(name)[1]]
    assert len(numbers) == len(set(numbers)), 'two chapters of a folder have the same number'


def shown_commands(path):
    "The `akv` command lines that a page shows, in its code and in its prose."
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.ipynb':
        cells = json.loads(text)['cells']
        text = '\n\n'.join(''.join(cell['source']) for cell in cells if cell['cell_type'] == 'markdown')
    fenced = [line for block in re.findall(r'^```(?:sh|bash)\n(.*?)^```', text, re.M | re.S) for line in block.splitlines()]
    lines = [line.rpartition('&& ')[2].strip() for line in fenced] + re.findall(r'`(akv [a-z][^`]*)`', FENCED.sub('', text))
    return [re.sub(r'^\.venv/bin/', '', line) for line in lines if re.match(r'(\.venv/bin/)?akv ', line)]


@pytest.mark.parametrize('path', [*NOTEBOOKS, ROOT / 'README.md'], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_that_are_shown_are_understood(path):
    for line in shown_commands(path):
        words = shlex.split(line, comments=True)[1:]
        if len(words) == 1: words.append('--help')      # no more than the name of a command
        try: make_parser().parse_args(words)
        except SystemExit as stop: assert stop.code == 0, f'{path.name} shows `{line}`, which akv does not understand'


@pytest.mark.parametrize('path', [*NOTEBOOKS, ROOT / 'README.md'], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    for link in links(path):
        name, _, anchor = link.partition('#')
        target = Path(posixpath.normpath(path.parent / name)) if name else path
        assert target.exists(), f'{path.name} links to {link}: {target.relative_to(ROOT)} does not exist'
        assert target.is_relative_to(ROOT), f'{path.name} links to {link}, which lies outside the repository'
        if anchor and target.suffix in ('.ipynb', '.md'):
            there = anchors(target)
            assert anchor in there, f'{path.name} links to {link}: no such heading; there are {sorted(there)}'


def test_site_settings_name_what_is_there():
    site = page('_quarto.yml')
    assert site['metadata-files'] == ['nbdev.yml', 'sidebar.yml'] and site['execute'] == {'enabled': False}
    named = [site['format']['html']['css'], site['website']['favicon'], *site['project']['resources'],
             *(entry['href'] for entry in site['website']['navbar']['left'])]
    assert [name for name in named if not (NBS / name).exists()] == []
    config = get_config()
    assert config.custom_sidebar == 'True' or config.custom_sidebar is True    # else nbdev writes its own over ours
    for name in config.procs.split(): assert hasattr(docs_procs, name.partition(':')[2]), name


def test_nbdev_yml_is_made_from_settings_ini():
    config = get_config()
    values = {name: config[name] for name in ('title', 'description', 'branch', 'git_url', 'doc_host', 'doc_baseurl')}
    made = quarto._nbdev_yml.format(doc_path=config.doc_path.name, **values)
    assert (NBS / 'nbdev.yml').read_text(encoding='utf-8') == made, 'run nbdev.quarto.refresh_quarto_yml()'


@each_notebook
def test_nbdev_makes_a_page_of_it(path):
    "What `nbdev_docs` does before Quarto: every exported name is described, and nothing of the notebook is run."
    notebook = read_nb(path)
    assert 'widgets' not in notebook.metadata, f'{path.name} keeps the state of widgets: remove metadata.widgets'
    exported = [cell.source for cell in notebook.cells if re.match(r'#\|\s*exports?\b', cell.source)]
    trees = [node for source in exported for node in ast.parse(source).body]
    public = [node for node in trees if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name[0] != '_']
    names = [name for name in map(showdoc_nm, public) if name[0] != '_']    # no methods of private classes
    FilterDefaults()(notebook)
    nb2str(notebook)    # as it is written
    assert notebook.cells[0].cell_type == 'raw' and 'description: ' in notebook.cells[0].source
    described = {docs_procs.shown_by(cell): ''.join(cell.outputs[0]['data']['text/markdown'])
                 for cell in notebook.cells if docs_procs.shown_by(cell)}
    for name in names: assert name in described.get(f'show_doc({name})', ''), f'{path.name} does not describe {name}'
    assert not re.findall(r'\]\((?:\.\./)+(?:akv|LICENSE)', '\n'.join(str(cell.source) for cell in notebook.cells))


def test_the_site_is_published_by_a_workflow():
    workflow = yaml.safe_load((ROOT / '.github/workflows/deploy.yaml').read_text(encoding='utf-8'))
    steps = [step for job in workflow['jobs'].values() for step in job['steps']]
    assert any('quarto-actions/setup' in step.get('uses', '') for step in steps)
    build, = (step for step in steps if 'nbdev_docs' in step.get('run', ''))
    assert build['env']['PYTHONPATH'] == '.ci'
    assert {'pages', 'id-token'} <= set(workflow['permissions'])
    uploaded, = (step for step in steps if 'upload-pages-artifact' in step.get('uses', ''))
    assert uploaded['with']['path'] == get_config().doc_path.name
