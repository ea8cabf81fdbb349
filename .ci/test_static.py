"""The JavaScript and CSS in akv/static: syntax, names that nothing declares, classes that nothing uses.

The syntax of JavaScript is checked by Node.js, or by the browser of the widgets' tests, whichever is there. The rest needs
no more than Python: a small reader of JavaScript (`words`) that knows comments, texts, templates and regular expressions.
"""
import json
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
import tinycss2

import browser

PACKAGE = Path(__file__).resolve().parents[1] / 'akv'
STATIC = PACKAGE / 'static'
SCRIPTS, STYLES = (sorted(STATIC.glob(f'*.{kind}')) for kind in ('js', 'css'))
KEYWORDS = set('''async await break case catch class const continue default delete do else export extends false finally for from
    function get if import in instanceof let new null of return set static super switch this throw true try typeof undefined
    var void while yield'''.split())
# what every browser has, and is used here: a name that is misspelt is none of them
BROWSER = set('''Array Blob Date Error Image Infinity Map Math Node Number Object Path2D Promise ResizeObserver Set String URL
    URLSearchParams Uint32Array cancelAnimationFrame clearInterval clearTimeout createImageBitmap document encodeURIComponent fetch
    performance requestAnimationFrame setInterval setTimeout window'''.split())
# jsPsych, which the pages of experiments load before akv's own scripts
LIBRARY = set('''initJsPsych jsPsychFullscreen jsPsychHtmlButtonResponse jsPsychModule jsPsychPreload jsPsychSurveyHtmlForm'''.split())
TOKEN = re.compile(r'''(?P<skip>\s+|//[^\n]*|/\*.*?\*/)|(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|(?P<template>`)
    |(?P<name>[A-Za-z_$][\w$]*)|(?P<number>\d[\w.]*|\.\d\w*)|(?P<other>=>|\?\.|\.\.\.|.)''', re.S | re.X)
REGEX = re.compile(r'/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/[a-z]*')


def words(source, start=0, until=''):
    "(tokens, where it stopped) of JavaScript: names and signs; a text is '' and a template the tokens of its parts."
    found, depth = [], 0
    while start < len(source):
        match = TOKEN.match(source, start)
        kind, text = match.lastgroup, match[0]
        if text == '/' and (not found or found[-1] in ('(', ',', '=', ':', '[', '!', '&', '|', '?', '{', '}', ';', '=>', 'return')):
            kind, match = 'text', REGEX.match(source, start)
            assert match, f'no end of a regular expression: {source[start:start + 40]!r}'
        if not depth and until and text == until: return found, start + 1
        depth += (text in '([{') - (text in ')]}') if kind == 'other' else 0
        start = match.end()
        if kind == 'template':
            found.append('')
            while source[start] != '`':
                if source.startswith('${', start):
                    inner, start = words(source, start + 2, '}')
                    found += ['(', *inner, ')']
                else: start += 2 if source[start] == '\\' else 1
            start += 1
        elif kind != 'skip': found.append('' if kind == 'text' else text)
    assert not until, f'{until} is missing'
    return found, start


def is_name(token): return bool(re.fullmatch(r'[A-Za-z_$][\w$]*', token)) and token not in KEYWORDS


def names_in(tokens):
    "(declared, used): names that a file declares somewhere, as variables, functions or parameters, and all that it uses."
    declared, used, groups = set(), [], []           # groups: where brackets opened that are still open
    def parameters(part):                            # {a: b = c, d}, [e, f], ...g: declares b, d, e, f, g
        for i, token in enumerate(part):
            if is_name(token) and (part[i + 1:i + 2] != [':'] and (not i or part[i - 1] in ('(', ',', '{', '[', '...', ':'))):
                declared.add(token)
    for i, token in enumerate(tokens):
        before, after = tokens[i - 1] if i else '', tokens[i + 1] if i + 1 < len(tokens) else ''
        if token in ('(', '[', '{'): groups.append(i)
        if token in (')', ']', '}'):
            first = groups.pop()
            head, word = tokens[first - 2:first], tokens[first - 1] if first else ''
            method = is_name(word) and after == '{' and tokens[first - 2] in ('{', ',', '}', 'async')     # { render() {} }
            if token == ')' and (after == '=>' or 'function' in head or word == 'catch' or method): parameters(tokens[first:i])
            if token != ')' and (after == '=' or word in ('const', 'let', 'var')): parameters(tokens[first:i])
        if not is_name(token) or before in ('.', '?.'): continue
        if before in ('const', 'let', 'var', 'function', 'class', 'import') or after == '=>': declared.add(token)
        if before == ',' and after in ('=', ',', ';') and not in_brackets(tokens, i): declared.add(token)
        if before in ('{', ',', '}') and after == '(' and tokens[closing(tokens, i + 1) + 1] == '{': declared.add(token)   # a method
        if after == ':' and before in ('{', ','): continue                                     # a key
        used.append(token)
    return declared, set(used)


def closing(tokens, first):
    "Where the bracket that opens at `first` closes."
    depth = 0
    for i in range(first, len(tokens)):
        depth += (tokens[i] in ('(', '[', '{')) - (tokens[i] in (')', ']', '}'))
        if not depth: return i


def in_brackets(tokens, i):
    "Whether a comma at `i` stands in brackets rather than in a list of declarations, as in `let a = 1, b = 2`."
    depth = 0
    for k in range(i - 1, -1, -1):
        depth += (tokens[k] in (')', ']', '}')) - (tokens[k] in ('(', '[', '{'))
        if depth < 0: return True
        if not depth and tokens[k] in ('const', 'let', 'var'): return False
    return True


def undeclared(source):
    declared, used = names_in(words(source)[0])
    return sorted(used - declared - BROWSER - LIBRARY)


def test_there_are_files(): assert SCRIPTS and STYLES


def test_the_reader_finds_a_name_that_nothing_declares():
    source = '''const part = (name, {kind: sort, ...rest}) => `${name + colour}`.match(/[/"]x/)?.[1], other = 2 / 1
        // words in a comment
        function render({ model }) { for (const [a, b] of model.list) part(a, b, 'text', other, { key: 1, sort }); caption() }'''
    assert undeclared(source) == ['caption', 'colour']


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.name)
def test_every_name_is_declared(path):
    missing = undeclared(path.read_text(encoding='utf-8'))
    assert not missing, f'{path.name} uses {missing}, which neither it nor a browser declares'


def inlined(path):
    "A script with the scripts that it imports put in as addresses, so that it is whole."
    def address(match): return json.dumps('data:text/javascript,' + quote(inlined(path.with_name(match[1]))))
    return re.sub(r'(?<=from )"\./([\w.]+)"', address, path.read_text(encoding='utf-8'))


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.name)
def test_script_has_no_error_of_syntax(path, tmp_path):
    "As a module, which is how the notebook loads it."
    source = path.read_text(encoding='utf-8')
    if node := shutil.which('node') or shutil.which('nodejs'):
        module = tmp_path / f'{path.stem}.mjs'
        module.write_text(source, encoding='utf-8')
        done = subprocess.run([node, '--check', module], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    elif not browser.missing():
        with browser.browser() as program:
            load = '''source => { window.jsPsychModule = { ParameterType: {} }
                return import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })))
                    .then(module => Object.keys(module)).catch(error => String(error)) }'''
            assert program.new_page().evaluate(load, inlined(path)) == ['default']
    else: pytest.skip('neither Node.js nor a browser is installed')


@pytest.mark.parametrize('path', SCRIPTS + STYLES, ids=lambda path: path.name)
def test_lines_are_short_and_clean(path):
    for n, line in enumerate(path.read_text(encoding='utf-8').split('\n'), 1):
        assert len(line) <= 120 and line == line.rstrip() and '\t' not in line, f'{path.name}, line {n}: {line!r}'
    assert not re.search(r'\b(?:debugger|console\.|eval\(|innerHTML|https?://(?!www\.w3\.org))', path.read_text(encoding='utf-8'))


def faults_of(style):
    "What is wrong in a style sheet, and the classes that it speaks of."
    rules = tinycss2.parse_stylesheet(style, skip_comments=True, skip_whitespace=True)
    wrong, classes = [node.message for node in rules if node.type == 'error'], set()
    while rules:
        rule = rules.pop()
        if rule.type == 'at-rule' and rule.content is not None:      # @media and the like hold rules
            rules += tinycss2.parse_rule_list(rule.content, skip_comments=True, skip_whitespace=True)
        if rule.type != 'qualified-rule': continue
        classes |= set(re.findall(r'\.([\w-]+)', tinycss2.serialize(rule.prelude)))
        found = tinycss2.parse_declaration_list(rule.content, skip_comments=True, skip_whitespace=True)
        wrong += [one.message for one in found if one.type == 'error']
        wrong += [f'{one.name} has no value' for one in found if one.type == 'declaration' and not one.value]
    return wrong, classes


@pytest.mark.parametrize('path', STYLES, ids=lambda path: path.name)
def test_style_is_well_formed_and_used(path):
    "A class stands in a script or a module, too, or is jsPsych's: a rule that nothing can meet is dead."
    wrong, classes = faults_of(path.read_text(encoding='utf-8'))
    assert not wrong, wrong
    known = ''.join(one.read_text(encoding='utf-8') for one in [*SCRIPTS, *STATIC.glob('*.html'), *PACKAGE.rglob('*.py')])
    dead = [name for name in classes if not name.startswith('jspsych-') and not re.search(rf'(?<![\w-]){re.escape(name)}(?![\w-])', known)]
    assert classes and not dead, f'{path.name}: nothing has the class {dead}'


def test_a_fault_in_a_style_is_found():
    assert faults_of('.a { color red } .b { width: }')[0] and faults_of('@media print { .c { color: red } }') == ([], {'c'})
