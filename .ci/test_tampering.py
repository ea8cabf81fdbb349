"""Any file of a finished study is deleted, cut, swapped, flipped, emptied or given another shape: `akv verify` finds every one, and it comes back.

The study is an ad of three short scenes, one of them with a product and with an area beside it. It is made once a session and copied for every
case. `verify` is asked about every kind of file and every tampering; `repair` puts every kind of file right after one of the six, which change from kind to
kind, six files at a time; and an ordinary run does so for a few. Brought back means: all files of the study, hidden ones too, have the bytes that they had.
"""
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import akv
from akv.media.decoding import iter_frames
from akv.media.encoding import make_video
from akv.pipeline import repair, run
from akv.study.files import locked, read_table
from akv.study.images import save_mask
from akv.study.manifest import verify
from akv.study.project import Project
from akv.study.settings import Settings

KINDS = dict(         # what it is: where it lies
    scene_image='data/video_scene_cuts/clip/clip-Scene-002-01.jpg', scenes='data/video_scene_cuts/clip/scenes.csv',
    scenes_provenance='data/video_scene_cuts/clip/provenance.json', mask='data/keyword_masks/clip/scene_2.png',
    masks_provenance='data/keyword_masks/clip/provenance.json', track_frame='data/keyword_tracks/clip/scene_2/000007.png',
    track_quality='data/keyword_tracks/clip/scene_2/quality.csv', track_stretches='data/keyword_tracks/clip/scene_2/stretches.json',
    tracks_provenance='data/keyword_tracks/clip/provenance.json', heatmap='data/attention_heatmap/clip/clip-Scene-002.jpg',
    heatmaps_provenance='data/attention_heatmap/clip/provenance.json', area_track='data/area_tracks/clip/hand/scene_2/000008.png',
    valid_scenes='data/valid_scenes.csv', left_out='data/left_out.csv',
    map_that_counts='outputs/variants/clip/full_boost/attention_heatmap/clip-Scene-002-01.png',
    map_to_look_at='outputs/variants/clip/placebo/attention_heatmap/clip-Scene-002-01.jpg', variant_table='outputs/variants/clip/reduction_scenes.csv',
    statistics='outputs/variants/clip/statistics.json', variants_provenance='outputs/variants/clip/provenance.json',
    variants_manifest='outputs/variants/manifest.json', units='outputs/units.jsonl', unit_record='outputs/units/*/edit.json',
    unit_picture='outputs/units/*/000009.png', edited_scene='outputs/edited_scenes/placebo/clip-Scene-002-01.png',
    edit_record='outputs/edited_scenes/middle_boost/clip/Scene-002/edit.json', edit_picture='outputs/edited_scenes/full_boost/clip/Scene-002/000009.png',
    edits_provenance='outputs/edited_scenes/provenance.json', video='outputs/videos/clip_placebo.mp4', videos_provenance='outputs/videos/provenance.json',
    check='outputs/manipulation_check.csv', area_shares='outputs/area_shares.csv', report='outputs/report.html', manifest='outputs/manifest.json',
    **{f'record_of_{stage}': f'outputs/.stages/{stage}/*.json' for stage in (
        'scenes', 'masks', 'masks_made', 'attention', 'attention_predicted', 'area_tracks', 'validate', 'variants', 'variants_entry', 'units', 'unit_lines', 'edit',
        'videos', 'check', 'check_rows', 'run', 'report')})
BY_A_RUN = ('scene_image', 'track_frame', 'map_that_counts', 'statistics', 'variants_manifest', 'units', 'unit_picture', 'edited_scene', 'video', 'check', 'manifest')


def make_study(root):
    "A finished study of one ad, as small as it may be."
    demo = Path(akv.__file__).parent / 'demo'
    wanted = {26*n - 16 + i for n in (1, 2, 3) for i in range(6)}
    clip = make_video([f[::2, ::2] for i, f in iter_frames(demo / 'demo_box.mp4', 0, 78) if i in wanted], root / 'data/videos/clip.mp4', rate=6)
    boxes = read_table(demo / 'boxes.csv').query('video_id == "demo_box" and scene_number == "2"').assign(video_id='clip', frame='9')
    for c in ('x', 'y', 'width', 'height'): boxes[c] = (boxes[c].astype(int) // 2).astype(str)
    hand = cv2.fillPoly(np.zeros((320, 180), np.uint8), [np.array([(0, 157), (30, 160), (48, 154), (56, 158), (24, 182), (0, 178)])], 1)
    save_mask(hand, Project(root).area_mask('clip', 'hand', 2))
    quick = Settings()
    quick.editing.measure_frames, quick.video.check_pairs, quick.attention.flips = 1, 1, False
    quick.experiments.boost_alpha, quick.experiments.reduction_alpha = 1.2, .85
    result = run([clip], 'biscuits', root, boxes=boxes, settings=quick, progress=False)
    assert result.videos == ['clip'] and not result.faults and verify(result.project, False) == []


@pytest.fixture(scope='session')
def finished(tmp_path_factory):
    "The study, made by the first of pytest's workers that asks for it."
    place = tmp_path_factory.getbasetemp() if 'PYTEST_XDIST_WORKER' not in os.environ else tmp_path_factory.getbasetemp().parent
    with locked(place / 'tampering'):
        root = place / 'tampering' / 'study'
        if not (root / 'outputs/report.html').is_file():
            shutil.rmtree(root, ignore_errors=True)
            make_study(root)
    return root


@pytest.fixture
def study(finished, tmp_path): return Project(shutil.copytree(finished, tmp_path / 'study'))


def tree(folder):
    "All files that are of a study: {name: bytes}."
    names = {p.relative_to(folder).as_posix(): p for p in folder.rglob('*') if p.is_file()}
    return {name: p.read_bytes() for name, p in names.items() if name != 'outputs/.stages/hashes.jsonl' and not name.startswith('outputs/set_aside')}


def sibling(path, root):
    "Another file of the study of the same kind, with other content; not the manifest, which is to say what was done, nor what is remembered of the disk."
    apart = [(root / 'outputs' / name).resolve() for name in ('manifest.json', '.stages/hashes.jsonl')]
    for pattern in (f'*{path.suffix}', f'../*{path.suffix}', f'../*/*{path.suffix}', f'../*/*/*{path.suffix}'):
        for other in sorted(path.parent.glob(pattern)):
            if not other.resolve().is_relative_to(root.resolve()) or other.resolve() in apart: continue
            if other.stat().st_size and other.read_bytes() != path.read_bytes(): return other.resolve()
    return None


def another_shape(path):
    "Content that the file's readers can read, and that is not what they look for."
    if path.suffix in ('.png', '.jpg'): return cv2.imencode(path.suffix, np.arange(27, dtype=np.uint8).reshape(3, 3, 3))[1].tobytes()
    return dict(csv=b'a,b\n1,2\n', json=b'[]', jsonl=b'[]\n').get(path.suffix[1:], b'some text')


def tamper(path, how, root):
    "Do it; the files that are not what they were."
    content, stat = path.read_bytes(), path.stat()
    if how == 'deleted': path.unlink()
    elif how == 'cut': path.write_bytes(content[:len(content) // 2])
    elif how == 'emptied': path.write_bytes(b'')
    elif how == 'misshapen': path.write_bytes(another_shape(path))
    elif how == 'flipped':
        at = len(content) // 2
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1:])
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif how == 'swapped':
        other = sibling(path, root)
        if other is None: pytest.skip('no other file of this kind')
        path.write_bytes(other.read_bytes())
        other.write_bytes(content)
        return [path, other]
    return [path]


HOW = ('deleted', 'cut', 'swapped', 'flipped', 'emptied', 'misshapen')


def one(study, kind): return sorted(study.root.glob(KINDS[kind]))[0]


@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('kind', KINDS)
def test_verify_finds_it(study, kind, how):
    touched = {study.relative(path) for path in tamper(one(study, kind), how, study.root)}
    found = {finding.path for finding in verify(study, False)}
    if kind == 'manifest': touched = {KINDS[kind]}        # without it, what no stage has recorded cannot be told
    assert touched <= found and (found == touched or kind in ('manifest', 'record_of_report')), (touched, found)


ALONE = ('manifest', 'record_of_report')      # without the manifest, what no stage has recorded cannot be told
TOGETHER = [kind for kind in KINDS if kind not in ALONE]


@pytest.mark.parametrize('kinds', [*([kind] for kind in ALONE), *(TOGETHER[i::8] for i in range(8))], ids=lambda kinds: ','.join(kinds)[:60])
def test_repair_brings_it_back(study, finished, kinds):
    "Several files at once, each tampered with in its own way."
    touched = set()
    for kind in kinds:
        path = one(study, kind)
        if path in touched: continue            # another file was swapped with it
        other = sibling(path, study.root)
        swaps = other is not None and other not in touched and other.is_relative_to(study.outputs.resolve())     # inputs nobody brings back
        ways = [how for how in HOW if how != 'swapped' or swaps]
        touched |= set(tamper(path, ways[list(KINDS).index(kind) % len(ways)], study.root))
    mended, left = repair(study, False)
    assert mended and left == []
    now, then = tree(study.root), tree(finished)
    assert now == then, sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    assert verify(study, False) == []


@pytest.mark.parametrize('kind, how', [(kind, ('flipped', 'cut', 'misshapen', 'deleted')[i % 4]) for i, kind in enumerate(BY_A_RUN)])
def test_next_run_brings_it_back(study, finished, kind, how):
    tamper(one(study, kind), how, study.root)
    result = run([study.root / 'data/videos/clip.mp4'], output=study.root, progress=False)
    assert result.videos == ['clip'] and not result.faults
    assert tree(study.root) == tree(finished)


def test_an_edit_of_which_nothing_is_left_is_searched_again(study, finished):
    unit = one(study, 'unit_record').parent
    for folder in (unit, study.outputs / 'edited_scenes'): shutil.rmtree(folder)
    assert run([], output=study.root, progress=False).made and tree(study.root) == tree(finished)


def test_files_that_nobody_made_are_found(study, finished):
    for name in ('outputs/variants/clip/notes.txt', 'outputs/videos/other_placebo.mp4', 'outputs/edited_scenes/placebo/clip-Scene-009-01.png'): (study.root / name).write_text('x')
    assert [finding.what for finding in verify(study, False)] == ['extra'] * 3
    assert repair(study, False)[1] == [] and tree(study.root) == tree(finished)


def test_inputs_are_named_and_left_alone(study):
    (study.root / 'data/boxes.csv').unlink()
    mended, left = repair(study, False)
    assert mended == [] and [(f.path, f.what, f.restorable) for f in left] == [('data/boxes.csv', 'missing', False)]


def test_a_second_run_reads_no_file_again(finished, monkeypatch):
    from akv.study import record
    monkeypatch.setattr(record, '_hashes_at', lambda root: read)
    read = record.FileHashes(Project(finished))
    assert not run([], output=finished, progress=False).made and read.read == 0
