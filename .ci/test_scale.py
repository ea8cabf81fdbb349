"""A study in parts: two shards at the same moment, and Ray with a worker that is killed. Each leaves what a plain run leaves, byte by byte.

The plain run and the first shard compute with one thread, the second shard with two: the number of threads changes no byte either.
The page is left out of the runs, since it takes seconds; it is made with one thread and with two from the finished study.
"""
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import pandas as pd
import pytest
import torch

from akv import pipeline
from akv.media.decoding import iter_frames
from akv.media.encoding import make_video
from akv.report import make_report
from akv.study.files import PACKAGE, read_json, read_table, write_table
from akv.study.project import Project
from akv.study.settings import Settings, save_settings

ROOT = Path(__file__).resolve().parents[1]
AKV = [sys.executable, '-c', 'import sys; from akv.cli import main; sys.exit(main())', 'run']
IDS = 'one', 'two'


def tree(folder):
    "All files, hidden ones too: {name: bytes}."
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob('*'))
            if p.is_file() and p.name != 'hashes.jsonl'}


def assert_same(study, other):
    one, two = tree(study), tree(other)
    assert one == two, [name for name in one.keys() | two.keys() if one.get(name) != two.get(name)]


@pytest.fixture(scope='module')
def ads(tmp_path_factory):
    "A folder with two ads of 1.3 seconds, a box in each, and settings that make little work: one frame is measured, the doses are small."
    here, rows = tmp_path_factory.mktemp('ads'), []
    boxes = read_table(PACKAGE / 'demo/boxes.csv').query('video_id == "demo_box"').set_index('scene_number')
    frames = {i: f[::2, ::2] for i, f in iter_frames(PACKAGE / 'demo/demo_box.mp4') if i < 78}
    for video_id, n in dict(one=1, two=3).items():
        make_video([frames[i] for i in range(26 * n - 15, 26 * n - 11)], here / f'{video_id}.mp4', rate=3)
        box = {c: str(int(boxes[c][str(n)]) // 2) for c in ('x', 'y', 'width', 'height')}
        rows.append(dict(video_id=video_id, scene_number='1', frame='2', kind='product', **box))
    write_table(pd.DataFrame(rows), here / 'boxes.csv')
    quick = Settings()
    quick.editing.measure_frames, quick.video.check_pairs, quick.attention.flips = 1, 1, False
    quick.experiments.boost_alpha, quick.experiments.reduction_alpha = 1., .95
    save_settings(quick, here / 'quick.yaml')
    return here


def run(ads, output, **more):
    "A run in this process, with one thread, as CI has it, and without the page."
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with mock.patch.object(pipeline, 'make_report', lambda project, *others, **options: (project.report, False)):
            result = pipeline.run([ads / f'{v}.mp4' for v in IDS], 'biscuits', output, boxes=ads / 'boxes.csv',
                                  settings=ads / 'quick.yaml', progress=False, **more)
    finally: torch.set_num_threads(threads)
    assert result.videos == list(IDS) and not result.faults, result.faults
    return result


@pytest.fixture(scope='module')
def plain(ads, tmp_path_factory):
    "The study, as a plain run makes it."
    study = tmp_path_factory.mktemp('plain') / 'study'
    run(ads, study)
    assert len(list(Project(study).videos.glob('*.mp4'))) == 14
    return study


def test_two_shards_at_once(ads, plain, tmp_path):
    "Two processes on one project: each file is of one video; the last run edits, assembles and measures nothing."
    study = tmp_path / 'study'
    command = [*AKV, *(ads / f'{v}.mp4' for v in IDS), '--keyword', 'biscuits', '--boxes', ads / 'boxes.csv', '--settings', ads / 'quick.yaml',
               '--output', study, '--shard']
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    shards = [subprocess.Popen([*command, f'{i}/2'], env=environment | {'OMP_NUM_THREADS': str(i)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in (1, 2)]
    said = [shard.communicate() for shard in shards]
    assert [shard.returncode for shard in shards] == [0, 0], said
    assert [out.split()[:3] for out, _ in said] == [['shard', '1/2:', 'one'], ['shard', '2/2:', 'two']]
    owners = {path.parent.name: path.read_text().split('"video_id": "')[1][:3] for path in (study / 'outputs/.parts').glob('*/units.jsonl')}
    assert owners == dict(one='one', two='two')
    def of_one(name):     # a path names its video; a unit is named after its content, in which the video is, too
        parts = Path(name).parts
        return 'units' in parts[1:3] or sum(any(p == v or p.startswith((f'{v}-', f'{v}_', f'{v}.')) for p in parts) for v in IDS) == 1
    assert all(map(of_one, tree(study))), [name for name in tree(study) if not of_one(name)]
    made = {p: p.stat().st_mtime_ns for p in (*study.rglob('*.mp4'), *(study / 'outputs/units').rglob('*.*'))}
    with mock.patch.object(pipeline, 'measure_edits', side_effect=AssertionError('measured again')): run(ads, study)
    assert {p: p.stat().st_mtime_ns for p in made} == made
    assert_same(plain, study)


def test_the_page_does_not_depend_on_threads(plain, tmp_path):
    pages, threads = [], torch.get_num_threads()
    for n in (1, 2):
        torch.set_num_threads(n)
        study = shutil.copytree(plain, tmp_path / str(n))
        try: pages.append(make_report(Project(study))[0].read_bytes())
        finally: torch.set_num_threads(threads)
    assert pages[0] == pages[1]


def kill_an_editing_worker(units, killed):
    "Wait until a worker of Ray edits (it says so in its title), and kill it; note how many units were finished then."
    while not killed:
        for path in Path('/proc').glob('[0-9]*/cmdline'):
            try: title = path.read_bytes()
            except OSError: continue
            if title.startswith(b'ray::') and b'akv edit' in title:
                os.kill(int(path.parent.name), signal.SIGKILL)
                killed.append(len(list(units.glob('*/edit.json'))))
                return
        time.sleep(.02)


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='finds the worker in /proc')
def test_ray_survives_a_dead_worker(ads, plain, tmp_path):
    pytest.importorskip('ray')
    study, killed = tmp_path / 'study', []
    watch = threading.Thread(target=kill_an_editing_worker, args=(study / 'outputs/units', killed), daemon=True)
    watch.start()
    with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT)): result = run(ads, study, ray='local', timings=True)
    made = len(list((study / 'outputs/units').glob('*/edit.json')))
    assert killed and killed[0] < made == 4                              # it died half-way
    spent = result.timings.table().set_index('stage')['seconds']
    assert spent['edit'] < spent['on Ray: edit'] and spent['check'] < spent['on Ray: to check']     # the rest of the run found it all done
    assert read_json(study / 'outputs/timings.json')['seconds'] > 0
    (study / 'outputs/timings.json').unlink()
    assert_same(plain, study)
