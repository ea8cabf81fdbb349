"""README.md from nbs/index.ipynb: `python .ci/readme.py` writes it, `--check` only says whether it is current.

Markdown cells come as they are, with links to files of nbs/ made to hold from the top of the repository. A code cell
gives its source and its outputs; `#| hide` leaves out both, `#| echo: false` the source, `#| output: false` the
outputs. Pictures that cells made are written to nbs/images/ as index-1.png, index-2.png, ...
Needs nothing beyond Python.
"""
import argparse
import base64
import difflib
import json
import posixpath
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTE = '<!-- Made from nbs/index.ipynb by .ci/readme.py: change the notebook, then run it. -->'


def directives(source):
    """The `#| name: value` lines at the top of a cell, as a dict, and the code below them."""
    lines, found = source.splitlines(), {}
    while lines and re.match(r'\s*#\s*\|', lines[0]):
        name, _, value = lines.pop(0).split('|', 1)[1].strip().partition(':')
        found[name.strip()] = value.strip()
    return found, '\n'.join(lines).strip('\n')


def relink(markdown):
    """Relative links and pictures as seen from the repository's top; fenced code is left alone."""
    def moved(match):
        target = match['target']
        if re.match(r'[a-z]+:|#|/', target): return match[0]
        return match['before'] + posixpath.normpath(posixpath.join('nbs', target))
    link = re.compile(r'(?P<before>\]\(|\b(?:src|href)=")(?P<target>[^)\s"]+)')
    parts = re.split(r'(^```.*?^```$)', markdown, flags=re.M | re.S)
    return ''.join(part if part.startswith('```') else link.sub(moved, part) for part in parts)


def output_parts(outputs, pictures):
    """Markdown of a cell's outputs; bytes of pictures are added to the dict `pictures` under their file names."""
    for output in outputs:
        data = output.get('data', {'text/plain': output.get('text', '')})
        if 'text/markdown' in data: yield relink(''.join(data['text/markdown']).strip())
        elif 'image/png' in data:
            name = f'index-{len(pictures) + 1}.png'
            pictures[name] = base64.b64decode(''.join(data['image/png']))
            yield f'![](nbs/images/{name})'
        elif text := ''.join(data.get('text/plain', '')).rstrip(): yield f'```\n{text}\n```'


def make(notebook):
    """The text of README.md and the pictures {file name: bytes} that `notebook` (a dict) asks for."""
    parts, pictures = [NOTE], {}
    for cell in notebook['cells']:
        source = ''.join(cell['source']).strip()
        if cell['cell_type'] == 'markdown': parts.append(relink(source))
        if cell['cell_type'] != 'code': continue
        flags, code = directives(source)
        if 'hide' in flags or 'default_exp' in flags: continue
        if code and flags.get('echo') != 'false': parts.append(f'```python\n{code}\n```')
        if flags.get('output') != 'false': parts += output_parts(cell['outputs'], pictures)
    return '\n\n'.join(part for part in parts if part) + '\n', pictures


def problems(text, pictures):
    """What is not as it should be, one line each."""
    old = (ROOT / 'README.md').read_text(encoding='utf-8') if (ROOT / 'README.md').exists() else ''
    found = list(difflib.unified_diff(old.splitlines(), text.splitlines(), 'README.md', 'nbs/index.ipynb', lineterm=''))
    for name, content in pictures.items():
        path = ROOT / 'nbs/images' / name
        if not path.exists() or path.read_bytes() != content: found.append(f'nbs/images/{name} is not current')
    made = {path.name for path in (ROOT / 'nbs/images').glob('index-*.png')}
    found += [f'nbs/images/{name} is not used any more' for name in sorted(made - pictures.keys())]
    for target in re.findall(r'(?:\]\(|\b(?:src|href)=")([^)\s"#]+)', re.sub(r'^```.*?^```$', '', text, flags=re.M | re.S)):
        if not re.match(r'[a-z]+:', target) and not (ROOT / target).exists():
            found.append(f'README.md links to {target}, which does not exist')
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--check', action='store_true', help='write nothing; exit 1 unless all is current')
    check = parser.parse_args().check
    text, pictures = make(json.loads((ROOT / 'nbs/index.ipynb').read_text(encoding='utf-8')))
    if not check:
        images = ROOT / 'nbs/images'
        images.mkdir(exist_ok=True)
        for path in images.glob('index-*.png'): path.unlink()
        for name, content in pictures.items(): (images / name).write_bytes(content)
        (ROOT / 'README.md').write_text(text, encoding='utf-8')
    found = problems(text, pictures)
    print('\n'.join(found) if found else 'README.md is current')
    if found and check: print('run `python .ci/readme.py` and commit what it changes')
    sys.exit(bool(found))


if __name__ == '__main__': main()
