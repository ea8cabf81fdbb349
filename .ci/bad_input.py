"""Everything bad that can be handed in, read by akv: python .ci/bad_input.py [--images DIR] [--seconds N] [GROUP ...]

Each case ends in a right result or in an AkvError. Anything else counts as a fault: another exception (also MemoryError: a reader has
3 GB beyond what its libraries take), a crash, more than ten seconds, a file written or changed outside of the project, code that was executed. The
readers work in processes of their own, which are watched. Faults are named, and the exit status says whether there were any.

--images DIR   image fixtures, such as Tests/images of Pillow's source package; without it they are fetched by pip (47 MB), and left out where
               that fails
--seconds N    how long each reader of text is fuzzed (60): by atheris where it is installed, else by hypothesis
--quick        few of each kind, no fixtures, no fuzzing: what CI does
"""
import argparse
import contextlib
import hashlib
import io
import json
import os
import pickle
import random
import resource
import select
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from pathlib import Path

SECONDS, BYTES = 10, 3 * 2**30     # that a case may take, and of memory beyond what is there when it begins
GROUPS = {}                        # name: function (folder, quick) -> yields (name of a case, function without arguments)


def group(work): GROUPS[work.__name__] = work; return work


class Touch:
    "Unpickled, it writes a file beside the project: the sign that code was executed."
    def __init__(self, path): self.path = str(path)
    def __reduce__(self): return os.system, (f'touch {self.path}',)


# Pictures

def png(width, height, rows, kind=0, extra=b''):
    "A PNG of any size: `rows` is the packed data."
    def chunk(name, data): return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
    header = struct.pack('>IIBBBBB', width, height, 8, kind, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + extra + chunk(b'IDAT', rows) + chunk(b'IEND', b'')


def zeros(count):
    "So many zero bytes, packed, without ever being there."
    packer, parts, block = zlib.compressobj(9), [], bytes(2**20)
    for _ in range(count // len(block)): parts.append(packer.compress(block))
    return b''.join([*parts, packer.compress(bytes(count % len(block))), packer.flush()])


def readers_of_pictures():
    from akv.study.images import load_heatmap, load_image, load_mask
    from akv.sources.colour_maps import read_heatmap
    from akv.sources.mask_files import read_mask

    def picture(path): a = load_image(path); assert a.ndim == 3 and a.shape[2] == 3 and a.dtype == 'uint8' and a.size
    def mask(path): m = load_mask(path); assert m.ndim == 2 and set(m.ravel()[:10000].tolist()) <= {0, 1}
    def heatmap(path): a = load_heatmap(path); assert a.ndim == 2 and 0 <= a.min() and a.max() <= 1
    def given_mask(path): m = read_mask(path)[0]; assert m.ndim == 2 and 0 <= m.min() and m.max() <= 1
    def coloured(path): a = read_heatmap(path); a = getattr(a, 'A', a[0] if isinstance(a, tuple) else a); assert a is not None
    return dict(image=picture, mask=mask, heatmap=heatmap, given_mask=given_mask, coloured=coloured)


def each_written(folder, suffix, contents, read):
    "A case for each content: it is written to a file of its own, and read."
    for name, content in contents.items():
        path = folder/f'{name}{suffix}'
        path.write_bytes(content)
        yield name, lambda path=path: read(path)


@group
def pictures(folder, quick):
    "Pictures of a right kind that are cut, empty, of another kind, or far too large."
    from PIL import Image
    import numpy as np
    good = folder/'good.png'
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)).save(good)
    whole = good.read_bytes()
    files = {'good.png': whole}
    files['empty.png'], files['text.png'], files['folder.png'] = b'', b'not a picture', None
    for share in (.1, .5, .9, .99): files[f'cut_{share}.png'] = whole[:int(len(whole)*share)]
    with io.BytesIO() as out:
        Image.open(good).save(out, 'JPEG')
        files['good.jpg'] = out.getvalue()
        for share in (.1, .5, .9, .99): files[f'cut_{share}.jpg'] = out.getvalue()[:int(len(out.getvalue())*share)]
    side = 8100 if quick else 44700       # 44,700 squared is 2 GB; 64 million pixels are allowed
    bomb = zeros(side*(side + 1))
    files['bomb.png'] = png(side, side, bomb)
    files['bomb_colours.png'] = png(20000, 20000, zeros(1000), 2)
    files['sides.png'], files['wide.png'] = png(2**31 - 1, 2**31 - 1, b''), png(2**31 - 1, 1, zeros(1000))
    def text_chunk(data): return struct.pack('>I', len(data)) + b'zTXt' + data + struct.pack('>I', zlib.crc32(b'zTXt' + data))
    files['text_bomb.png'] = png(4, 4, zeros(20), extra=text_chunk(b'a\0\0' + zeros(2**26 if quick else 2**31)))
    files['zip.png'] = zip_bomb(2**20 if quick else 2**31)
    files['svg.png'] = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    files['eps.png'] = b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(../outside/written) (w) file closefile showpage\n'
    for name, content in files.items():
        path = folder/name
        if content is None: path.mkdir()
        else: path.write_bytes(content)
        for kind, read in readers_of_pictures().items(): yield f'{kind} {name}', lambda path=path, read=read: read(path)


def zip_bomb(size):
    with io.BytesIO() as out:
        with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as archive, archive.open('a', 'w', force_zip64=True) as file:
            for _ in range(size // 2**20): file.write(bytes(2**20))
        return out.getvalue()


@group
def fixtures(folder, quick, images=None):
    "Image fixtures that broke Pillow once."
    if not images or quick: return
    for path in sorted(p for p in Path(images).rglob('*') if p.is_file()):
        for kind, read in readers_of_pictures().items(): yield f'{kind} {path.name}', lambda path=path, read=read: read(path)


# Videos

def spoilt(content, rng):
    "A file with something wrong, and what."
    b, size = bytearray(content), len(content)
    kind = rng.choice(('bits', 'zeros', 'noise', 'cut', 'head', 'double', 'lost'))
    at, length = rng.randrange(size), rng.choice((4, 64, 1024, 16384))
    if kind == 'bits':
        for _ in range(length): b[rng.randrange(size)] ^= 1 << rng.randrange(8)
    if kind == 'zeros': b[at:at + length] = bytes(len(b[at:at + length]))
    if kind == 'noise': b[at:at + length] = rng.randbytes(len(b[at:at + length]))
    if kind == 'cut': del b[at:]
    if kind == 'head':
        for _ in range(8): b[rng.randrange(min(size, 4096))] = rng.randrange(256)
    if kind == 'double': b[at:at] = b[at:at + length]
    if kind == 'lost': del b[at:at + length]
    return bytes(b), kind


@group
def videos(folder, quick):
    "A demo clip in which bytes were changed, lost or doubled; and files that only call themselves videos."
    from akv.media.decoding import audio_packets, iter_frames, probe
    from akv.study.files import PACKAGE
    rng, secret = random.Random(19), folder.parent/'outside'/'secret.txt'

    def every_frame(path):
        info = probe(path)
        shapes = [frame.shape for _, frame in iter_frames(path)]
        assert shapes == [(info.height, info.width, 3)]*info.frames
        list(audio_packets(path))
    files = {}
    content = (PACKAGE/'demo'/'demo_box.mp4').read_bytes()
    for i in range(5 if quick else 200):
        changed, kind = spoilt(content, rng)
        files[f'{i:03d}_{kind}.mp4'] = changed
    files |= {'list.mp4': b"ffconcat version 1.0\nfile '%s'\n" % str(secret).encode(),
        'up.mp4': b"ffconcat version 1.0\nfile '../outside/secret.txt'\n",
              'stream.mp4': b'#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://%s\n' % str(secret).encode(),
              'net.mp4': b'#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://192.0.2.1/a.ts\n', 'picture.mp4': png(4, 4, zeros(20)),
              'sdp.mp4': b'v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n',
                  'zip.mp4': zip_bomb(2**20)}
    for name, data in files.items():
        path = folder/name
        path.write_bytes(data)
        yield name, lambda path=path: every_frame(path)


# Tables, settings, JSON

IDS = ('../../x', '..', '.', '', ' ', '/etc/passwd', 'a/b', 'a\\b', 'C:\\x', 'a\0b', 'a\nb', '~', '~root', '-rf', '.hidden', 'x '*2000,
    'a' * 300,
       'CON', 'nul.txt', 'é'*200, '\u202egpj', '%2e%2e%2f', '$(touch x)', '`touch x`', '*', '?', '|', 'x:y', '\ud800', '👩‍👩‍👧‍👦', '.part-x',
           '__proto__')


def hostile_tables(quick):
    "{name: content}"
    head, many = 'video_id,scene_number,frame,x,y,width,height,kind\n', 20_000 if quick else 1_000_000
    row = 'a,1,0,1,1,5,5,product\n'
    return {
        'lone_cr': (head + row).replace('\n', '\r').encode(), 'cr_in_field': (head + row.replace('product', 'pro\rduct')).encode(),
        'nul': (head + row.replace('a', 'a\0b', 1)).encode(), 'only_nul': bytes(10_000), 'bom': b'\xef\xbb\xbf' + (head + row).encode(),
        'two_boms': b'\xef\xbb\xbf'*2 + (head + row).encode(), 'utf16': (head + row).encode('utf-16'),
            'utf16_no_bom': (head + row).encode('utf-16-le'),
        'utf32': (head + row).encode('utf-32'), 'latin1': (head + row.replace('a', 'é', 1)).encode('latin-1'), 'empty': b'',
            'blank': b'\n\n \n', 'head': head.encode(),
        'columns': (','.join(f'c{i}' for i in range(many)) + '\n' + ','.join('1' for _ in range(many)) + '\n').encode(),
        'same_columns': b','.join([b'a']*1000) + b'\n', 'commas': b','*many + b'\n' + b','*many, 'rows': (head + row*(many//10)).encode(),
        'field': (head + row.replace('product', 'p'*(many*5))).encode(), 'line': b'x'*(many*20), 'quote': (head + '"' + row).encode(),
            'quotes': b'"'*many,
        'in_quotes': (head + '"a' + '\n'*1000 + '",1,0,1,1,5,5,product\n').encode(), 'uneven': (head + 'a,1\n').encode(),
            'numbers': (head + 'a,1e999,nan,-inf,1e-999,٣,0x1,product\n').encode(),
        'huge_numbers': (head + f'a,{"9"*5000},0,1,1,5,5,product\n').encode(), 'minus': (head + 'a,-1,-5,-9,-9,-5,-5,product\n').encode(),
        'formulas': (head + '=cmd|\'/c calc\'!A0,1,0,=1+1,@SUM(A1),+1,-1,product\n').encode(),
            'html': (head + '<script>alert(1)</script>,1,0,1,1,5,5,product\n').encode(),
        'tabs': (head + row).replace(',', '\t').encode(), 'semicolons': (head + row).replace(',', ';').encode(), 'zip': zip_bomb(2**20),
            'python': b'__import__("os").system("touch x")\n',
        'surrogate': (head + row).encode() + b'\xed\xa0\x80', 'separators': (head + row.replace('a', 'a\u2028b\u2029c\x85d', 1)).encode(),
        **{f'id_{i}': (head + '"' + name.replace('"', '""') + '"' + row[1:]).encode('utf-8', 'surrogatepass') for i,
            name in enumerate(IDS)}}


@group
def tables(folder, quick):
    "Tables as spreadsheets, programs and malice make them, in every place where akv reads one."
    from akv.sources.boxes import known_boxes, read_boxes
    from akv.study.files import AkvError, read_table, write_table
    from akv.study.project import Project, read_scenes
    from akv.study.review import read_review, rejections

    def again(path):
        table = read_table(path)
        if len(table.columns) < 1000 and table.size < 100_000:
            back = read_table(write_table(table, folder/'again.csv'))
            assert back.shape == table.shape and (back.to_numpy() == table.to_numpy()).all(), 'not what was written'

    def places(path):
        "The masks' places of every id."
        project = Project(folder/'study')
        for video_id in read_boxes(path).video_id:
            with contextlib.suppress(AkvError):
                made = [project.keyword_mask(video_id, 1), project.variants(video_id), project.edited_scene('baseline', video_id, 1)]
                for place in made: assert place.resolve().is_relative_to(project.root.resolve()), f'{video_id!r} leaves the project: {place}'

    def as_table(place, read):
        def work(path):
            target = Project(folder/'study').root/place
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
            try: read(Project(folder/'study'))
            finally: target.unlink()
        return work
    readers = dict(read_table=again, boxes=read_boxes, places=places,
                   known_boxes=as_table('data/boxes.csv', known_boxes), keywords=as_table('data/keywords.csv', lambda p: p.keywords()),
                   review=as_table('data/review.csv', lambda p: (read_review(p), rejections(p))),
                   scenes=as_table('data/video_scene_cuts/a/scenes.csv', lambda p: read_scenes(p, 'a')))
    for name, content in hostile_tables(quick).items():
        path = folder/f'{name}.csv'
        path.write_bytes(content)
        for kind, read in readers.items():
            if len(content) < 10**6 or kind in ('read_table', 'boxes'): yield f'{kind} {name}', lambda path=path, read=read: read(path)


@group
def ids(folder, quick):
    "Ids that lead out of their folder, or that no file system takes."
    from akv.study.project import parse_scene_name, plain_id, Project, safe_id, scene_name

    def place(name):
        project = Project(folder/'study')
        for path in (project.keyword_mask(safe_id(name), 1), project.video(name, 'baseline'), project.root/scene_name(name, 1, None)):
            assert path.resolve().is_relative_to(project.root.resolve()), path
        path = project.keyword_mask(name, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')
    for name in (*IDS, str(folder.parent/'outside'/'x')):
        yield f'{name!r:.30}', lambda name=name: place(name)
        yield f'plain {name!r:.30}', lambda name=name: safe_id(plain_id(name))
        yield f'file {name!r:.30}', lambda name=name: parse_scene_name(f'{name}-Scene-001-01.jpg')


@group
def settings(folder, quick):
    "Settings that grow, refer to themselves, or ask for objects."
    from akv.study.settings import load_settings, Settings
    levels, canary = 5 if quick else 9, folder.parent/'outside'/'executed'
    laughs = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'] + [f'a{i}: &a{i} [' + ', '.join([f'*a{i - 1}']*10) + ']' for i in range(1, levels)]
    maps = ['m0: &m0 {x: 1}'] + [f'm{i}: &m{i} {{' + ', '.join(f'k{j}: *m{i - 1}' for j in range(9)) + '}' for i in range(1, levels)]
    files = dict(
        aliases='\n'.join(laughs), maps='\n'.join(maps), merged='\n'.join([*maps, f'video: {{<<: *m{levels - 1}}}']), itself='a: &a [*a]',
            itself_map='video: &a {x: *a}',
        merges_itself='video: &a {<<: *a}', deep='['*10_000, deep_map='{a: '*5_000,
            deep_block='\n'.join(' '*i + 'a:' for i in range(3_000)),
        execute=f'video: !!python/object/apply:os.system ["touch {canary}"]', new='!!python/object/new:os.system [touch x]',
            name='a: !!python/name:os.system', module='!!python/module:os',
        tuple='video: !!python/tuple [1, 2]', binary='video: !!binary aGk=', unknown_tag='video: !x {a: 1}', time='video: 2001-01-01',
            set='!!set {a, b}', omap='!!omap [a: 1]', number='1', text='hello',
        list='[1, 2]', null='~', docs='a: 1\n---\nb: 2', two='video: {crf: 18}\nvideo: {crf: 19}', key_list='? [a, b]\n: 1',
            key_map='? {a: 1}\n: 1', key_number='1: 2', key_null='~: 1', key_bool='true: {a: 1}',
        section_list='video: [1, 2]', section_text='video: hello', section_deep='video: {crf: {a: {b: 1}}}',
            nan='video: {cut_threshold: .nan}', inf='video: {cut_threshold: .inf}', huge='video: {crf: ' + '9'*5_000 + '}',
        sixty='video: {crf: 1:2:3}', octal='video: {crf: 0o22}', float='video: {crf: 18.0}', true='video: {crf: true}',
            minus='video: {keyframe_interval: -1}', zero='video: {keyframe_interval: 0}',
        path='video: {raft_weights: ../../../etc/passwd}', function='attention: {model: "os:system"}',
            long='video: {codec: ' + 'x'*1_000_000 + '}', tab='video:\n\tcrf: 18', colon='a: b: c', dotted='video.crf: 18',
        bidi='video: {codec: "\u202elibx264"}', anchor_flood='\n'.join(f'a{i}: &a{i} 1' for i in range(20_000)),
            keys='\n'.join(f'k{i}: 1' for i in range(20_000)))
    contents = {name: text.encode() for name, text in files.items()}
    contents |= dict(nul=b'video: {crf: 1\x008}', utf16='video: {crf: 18}'.encode('utf-16'), latin1='video: {codec: "é"}'.encode('latin-1'),
        bom=b'\xef\xbb\xbfvideo: {crf: 18}', control=b'video: \x07', empty=b'',
                     zip=zip_bomb(2**20), pickle=pickle.dumps(Touch(canary)), half=b'video: {codec: "\xed\xa0\x80"}')

    def load(path): assert isinstance(load_settings(path), Settings)
    yield from each_written(folder, '.yaml', contents, load)


@group
def json_files(folder, quick):
    "JSON that is deep, endless, doubled, of another kind."
    from akv.study.files import read_json
    deep = 10_000 if quick else 1_000_000
    files = dict(deep=b'['*deep, deep_closed=b'['*deep + b']'*deep, deep_map=b'{"a":'*deep, digits=b'9'*10_000, exponent=b'1e999999999',
        nan=b'[NaN, Infinity, -Infinity]', twice=b'{"a": 1, "a": 2}', half=b'"\\ud800"',
                 raw_half=b'"\xed\xa0\x80"', utf16='{"a": 1}'.encode('utf-16'), bom=b'\xef\xbb\xbf{"a": 1}',
                     two_boms=b'\xef\xbb\xbf'*2 + b'{}', nul=b'{"a": "\0"}', cut=b'{"a": [1, 2', empty=b'', blank=b' \n',
                     comment=b'{"a": 1} // b',
                 trailing=b'{"a": 1,}', text=b'hello', number=b'1', null=b'null', zip=zip_bomb(2**20), long=b'"' + b'x'*deep*20 + b'"',
                     pickle=pickle.dumps(Touch(folder.parent/'outside'/'executed')))
    yield from each_written(folder, '.json', files, read_json)


# Weights

@group
def weights(folder, quick):
    "Pickles and worse under the names of weights."
    import torch
    from akv.media.motion import make_flow
    from akv.sources.models import load_attention_model
    from akv.sources.other_models import chosen_model
    from akv.sources.outline_model import load_outline_model
    from akv.sources.weights import ATTENTION_WEIGHTS
    touch = Touch(folder.parent/'outside'/'executed')
    with io.BytesIO() as out: torch.save(dict(weight=touch), out); saved = out.getvalue()
    with io.BytesIO() as out: torch.save(touch, out, _use_new_zipfile_serialization=False); old = out.getvalue()
    head = json.dumps({'a': dict(dtype='F32', shape=[2**40], data_offsets=[0, 2**42])}).encode()
    near = json.dumps({'__metadata__': {'kind': 'akv.attention', 'config': '{"area": "x"}'}, 'a': dict(dtype='F32', shape=[1],
        data_offsets=[0, 4])}).encode()
    files = dict(pickle=pickle.dumps(touch), saved=saved, old=old, empty=b'', text=b'hello', zip=zip_bomb(2**20), length=struct.pack('<Q',
        2**63) + b'{}', huge=struct.pack('<Q', len(head)) + head,
                 near=struct.pack('<Q', len(near)) + near + bytes(4), deep=struct.pack('<Q', 100_000) + b'['*100_000)
    with io.BytesIO() as out: torch.save({'a': torch.zeros(2)}, out); files['harmless'] = out.getvalue()
    readers = dict(attention=load_attention_model, outline=load_outline_model, chosen=lambda path: chosen_model(str(path)),
        raft=lambda path: make_flow('raft', str(path)))
    yield 'attention good', lambda: load_attention_model(ATTENTION_WEIGHTS)
    for name, content in files.items():
        for suffix in ('.safetensors', '.pt', '.pth'):
            path = folder/f'{name}{suffix}'
            path.write_bytes(content)
            for kind, read in readers.items():
                if kind != 'chosen' or suffix == '.safetensors': yield f'{kind} {path.name}', lambda path=path, read=read: read(path)


# A reader at work: in a process of its own

def tried(work):
    "How a case ends: ('right' or 'AkvError', '') or (what else it raised, its message)."
    from akv.study.files import AkvError
    try: work()
    except AkvError as error: return ('AkvError', '') if str(error).strip() else ('fault', 'an AkvError without a message')
    except BaseException as error: return 'fault', f'{type(error).__name__}: {error}'[:300]
    return 'right', ''


def serve(args):
    "Work through the cases of a group from a number on; a line of JSON before each and after it."
    import logging
    logging.getLogger('akv').setLevel(logging.CRITICAL)
    folder, out = Path(args.folder)/'project', os.fdopen(os.dup(1), 'w')
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    more = dict(images=args.images) if args.serve == 'fixtures' else {}
    for number, (name, work) in enumerate(GROUPS[args.serve](folder, args.quick, **more)):
        if number < args.start: continue
        if number == args.start:      # now the libraries are there
            status = Path('/proc/self/status').read_text().splitlines() if sys.platform == 'linux' else []
            used = next((int(line.split()[1])*1024 for line in status if line.startswith('VmSize')), 0)
            if used: resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, resource.RLIM_INFINITY))
        print(json.dumps(dict(begins=number, name=name)), file=out, flush=True)
        for _ in range(2):            # the first of its kind may import a library: what takes too long is given a second try
            start = time.monotonic(), time.process_time()
            how, why = tried(work)
            if time.process_time() - start[1] < SECONDS: break
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*1024
        print(json.dumps(dict(ended=number, name=name, how=how, why=why, seconds=time.monotonic() - start[0],
            cpu=time.process_time() - start[1], peak=peak)), file=out, flush=True)


def content_of(folder):
    "{path: hash} of everything in a folder."
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob('*')) if p.is_file()}


def cases_of(name, quick=False, images=None, seconds=SECONDS):
    "What came of every case of a group: [{name, how, why, seconds, cpu, peak}]; how: right, AkvError, fault, crash, hang, executed or outside."
    results, start = [], 0
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        (place/'outside').mkdir()
        (place/'outside'/'secret.txt').write_text('secret\n')
        before = content_of(place/'outside')
        while start is not None:
            command = [sys.executable, __file__, '--serve', name, '--folder', str(place), '--start', str(start), *['--quick']*quick,
                *(['--images', str(images)] if images else [])]
            process = subprocess.Popen(command, stdout=subprocess.PIPE,
                env=os.environ | {'PYTHONPATH': os.pathsep.join(p for p in sys.path if p), 'OMP_NUM_THREADS': '1'})
            running, start, rest = None, None, b''
            while True:
                # what comes before the first case, importing and making files, may take longer
                ready, _, _ = select.select([process.stdout], [], [],
                    600 if running is None else 20*seconds)    # of a machine that has other things to do
                chunk = os.read(process.stdout.fileno(), 2**16) if ready else b''
                *lines, rest = (rest + chunk).split(b'\n')
                for line in map(json.loads, lines):
                    if 'begins' in line: running = line; continue
                    if line['cpu'] > seconds: line |= dict(how='hang', why=f"{line['cpu']:.0f} s of computing")
                    results.append({key: value for key, value in line.items() if key != 'ended'})
                    running = None
                    if content_of(place/'outside') != before:
                        results[-1] |= dict(how='executed' if (place/'outside'/'executed').exists() else 'outside',
                            why=', '.join(content_of(place/'outside').keys() ^ before.keys()))
                        before = content_of(place/'outside')
                if chunk: continue
                if not ready: process.kill()
                process.wait()
                if running:
                    results.append(dict(name=running['name'], how='crash' if ready else 'hang', why=f'exit status {process.returncode}',
                        seconds=20.*seconds, cpu=20.*seconds if not ready else 0., peak=0))
                    start = running['begins'] + 1
                elif process.returncode: results.append(dict(name='before the first case', how='crash',
                    why=f'exit status {process.returncode}', seconds=0., cpu=0., peak=0))
                break
        odd = {p.name for p in place.iterdir()} - {'outside', 'project'}
        if odd: results.append(dict(name='afterwards', how='outside', why=', '.join(sorted(odd)), seconds=0., cpu=0., peak=0))
    return results


# Fuzzing

def fuzz(args):
    "Feed a reader of text with what atheris, or else hypothesis, makes of the hostile files, for some seconds; print the faults."
    import logging
    logging.getLogger('akv').setLevel(logging.CRITICAL)
    with contextlib.suppress(ImportError): import atheris
    found = 'atheris' in sys.modules and hasattr(atheris, 'Setup')
    with atheris.instrument_imports(include=['akv.study', 'csv', 'yaml']) if found else contextlib.nullcontext():
        from akv.study.files import AkvError, read_table
        from akv.study.settings import load_settings
    place = Path(tempfile.mkdtemp())
    read, seeds = dict(tables=(read_table, hostile_tables(True)), settings=(load_settings, {}))[args.fuzz]
    seeds = {name: content for name, content in seeds.items() if len(content) < 4096}
    if args.fuzz == 'settings': list(settings(place,
        True)); seeds = {p.stem: p.read_bytes() for p in place.glob('*.yaml') if p.stat().st_size < 4096}
    path, tries, faults, end, slowest = place/'fuzzed', 0, [], time.monotonic() + args.seconds, 0

    def once(data):
        nonlocal tries, slowest
        path.write_bytes(data)
        start = time.process_time()
        try: read(path)
        except AkvError: pass
        except Exception as error: faults.append(f'{type(error).__name__}: {error}'[:200] + f' on {data[:200]!r}')
        tries, slowest = tries + 1, max(slowest, time.process_time() - start)

    def report():
        print(json.dumps(dict(reader=args.fuzz, engine='atheris' if found else 'hypothesis', tries=tries, faults=faults[:20],
            slowest=slowest)), flush=True)
        os._exit(bool(faults))
    if found:
        (place/'corpus').mkdir()
        for name, content in seeds.items(): (place/'corpus'/name).write_bytes(content)
        def one(data):
            once(data)
            if time.monotonic() > end or faults: report()
        atheris.Setup([sys.argv[0], '-max_len=4096', '-seed=19', f'-max_total_time={args.seconds}', '-verbosity=0', str(place/'corpus')],
            one)
        atheris.Fuzz()
    else:
        from hypothesis import given, settings as how, strategies as st, HealthCheck
        from random import Random
        texts, rng = st.one_of(st.binary(max_size=2000), st.text(max_size=500).map(lambda t: t.encode('utf-8',
            'surrogatepass'))), Random(19)
        @how(max_examples=500, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(texts)
        def any_bytes(data): once(data)
        any_bytes()
        while time.monotonic() < end and not faults: once(spoilt(rng.choice(list(seeds.values())) or b'x', rng)[0])
    report()


def fuzzed(reader, seconds):
    "What fuzzing a reader found: {reader, engine, tries, faults, slowest}."
    command = [sys.executable, __file__, '--fuzz', reader, '--seconds', str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 120,
        env=os.environ | {'PYTHONPATH': os.pathsep.join(p for p in sys.path if p)})
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"reader"')]
    return json.loads(lines[-1]) if lines else dict(reader=reader, engine='?', tries=0,
        faults=[f'ended with {done.returncode}: {done.stderr[-300:]}'], slowest=0)


# The command

def fetched(place):
    "Tests/images of the source package of the Pillow that is installed; None where pip cannot get it."
    import PIL
    command = [sys.executable, '-m', 'pip', 'download', '-q', '--no-binary', ':all:', '--no-deps', f'pillow=={PIL.__version__}', '-d',
        str(place)]
    try: subprocess.run(command, check=True, timeout=900, capture_output=True)
    except (subprocess.SubprocessError, OSError): return None
    for archive in Path(place).glob('*.tar.gz'):
        with tarfile.open(archive) as tar:
            tar.extractall(place, members=[m for m in tar if '/Tests/images/' in m.name], filter='data')
    return next(Path(place).glob('*/Tests/images'), None)


HOW = 'right', 'AkvError', 'fault', 'crash', 'hang', 'executed', 'outside'


def line(name, results):
    "A row of the table."
    counts = [sum(r['how'] == how for r in results) for how in HOW]
    slowest, peak = (max((r[key] for r in results), default=0) for key in ('cpu', 'peak'))
    return [name, len(results), *counts, f'{slowest:.1f}', f'{peak/2**20:.0f}']


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('groups', nargs='*', metavar='GROUP', help=', '.join([*GROUPS, 'fuzz']))
    for flag in ('images', 'folder', 'serve', 'fuzz'): parser.add_argument(f'--{flag}', help=argparse.SUPPRESS)
    parser.add_argument('--seconds', type=int, default=60, help=argparse.SUPPRESS)
    parser.add_argument('--start', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--quick', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve: return serve(args)
    if args.fuzz: return fuzz(args)
    chosen, bad = args.groups or [*GROUPS, 'fuzz'], []
    print('| group | cases | ' + ' | '.join(HOW) + ' | slowest, s | memory, MB |\n|---' + '|---'*(len(HOW) + 3) + '|')
    with tempfile.TemporaryDirectory() as place:
        images = args.images
        if 'fixtures' in chosen and not images and not args.quick: images = fetched(place)
        for name in (name for name in GROUPS if name in chosen):
            results = cases_of(name, args.quick, images)
            print('| ' + ' | '.join(map(str, line(name, results))) + ' |', flush=True)
            bad += [f"{name}: {r['name']}: {r['how']}: {r['why']}" for r in results if r['how'] not in ('right', 'AkvError')]
        if 'fixtures' in chosen and not images:
            print("\nfixtures: left out, pip could not get Pillow's source package; name its Tests/images by --images")
    for reader in ('tables', 'settings') if 'fuzz' in chosen and not args.quick else ():
        found = fuzzed(reader, args.seconds)
        print(f"\nfuzzing {reader} by {found['engine']}, {args.seconds} s: {found['tries']:,} tries, {len(found['faults'])} faults, "
              f"the slowest {found['slowest']:.2f} s", flush=True)
        bad += [f'fuzzing {reader}: {fault}' for fault in found['faults']]
    print(f'\n{len(bad)} faults')
    for text in bad[:200]: print(text)
    return bool(bad)


if __name__ == '__main__': sys.exit(main())
