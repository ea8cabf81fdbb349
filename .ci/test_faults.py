"""What a study goes through: two processes at once, signals, ids and notes of all kinds.

What one process can show stands in the notebooks as examples; here several run, or a whole command does.
"""
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
ENVIRONMENT = os.environ | {'PYTHONPATH': str(ROOT)}
HEAD = 'video_id,scene_number,frame,x,y,width,height,kind\n'


def akv(*arguments):
    "A process that runs the akv command."
    return subprocess.run([sys.executable, '-c', 'import sys; from akv.cli import main; sys.exit(main())', *map(str, arguments)],
                          env=ENVIRONMENT, capture_output=True, text=True)


def tree(folder):
    "All files, hidden ones too: {name: bytes}."
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    from akv.media.encoding import make_video
    frames = [np.full((64, 48, 3), 90, np.uint8) for _ in range(6)]
    for i, frame in enumerate(frames): frame[20:40, 10 + i:30 + i] = 210, 60, 40
    return make_video(frames, tmp_path_factory.mktemp('clips') / 'clip.mp4', rate=6)


def test_a_second_run_is_refused_before_it_changes_anything(tmp_path, clip):
    from akv.study.lock import project_lock
    from akv.study.project import Project
    from akv.study.settings import init_project
    init_project(tmp_path)
    with project_lock(Project(tmp_path)):
        before = tree(tmp_path)
        done = akv('run', clip, '--keyword', 'box', '--box', '10,20,20,20', '--editor', 'controlnet', '--output', tmp_path)
        assert done.returncode == 1 and f'another akv is writing here, process {os.getpid()} on ' in done.stderr, done.stderr
        assert tree(tmp_path) == before


def write_rows(root, name, n):
    from akv.pipeline import keep_boxes, Project, set_keywords
    from akv.study.review import add_review
    project = Project(root)
    for i in range(n):
        set_keywords(project, {f'{name}{i}': 'cup'})
        keep_boxes(project, pd.DataFrame([dict(video_id=f'{name}{i}', scene_number='1', frame='', x='1', y='2', width='30', height='40', kind='product')]))
        add_review(project, f'{name}{i}', 1, 'accept')


def test_no_row_is_lost_when_two_write(tmp_path):
    import akv.pipeline   # once, before the processes part
    from akv.study.files import read_table
    others = [multiprocessing.get_context('fork').Process(target=write_rows, args=(tmp_path, name, 15)) for name in 'ab']
    for other in others: other.start()
    for other in others: other.join()
    wanted = sorted(f'{name}{i}' for name in 'ab' for i in range(15))
    for table, column in (('keywords', '_id'), ('boxes', 'video_id'), ('review', 'video_id')):
        assert sorted(read_table(tmp_path / f'data/{table}.csv')[column]) == wanted, table


AT_WORK = '''
import sys, time
import akv.cli as cli
from akv.study.files import atomic_path
from akv.study.lock import project_lock
from akv.study.project import Project
def work(args):
    'Work for a minute.'
    with atomic_path(args.output + '/half.txt') as part:
        part.write_text('ha')
        print('at work', flush=True)
        time.sleep(60)
cli._import_stages, cli.project_lock, cli.Project = lambda: None, project_lock, Project     # all that this command needs
cli._COMMANDS['validate'].work = work
sys.exit(cli.main(['validate', '--output', sys.argv[1]]))
'''


@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_work_tidily(tmp_path, number, code):
    project = tmp_path / 'study'
    usual = dict(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))   # though this may run in the background
    one = subprocess.Popen([sys.executable, '-c', AT_WORK, project], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **usual)
    assert one.stdout.readline() == 'at work\n', one.communicate()
    assert {path.name.partition('-')[0] for path in project.iterdir()} == {'.lock', '.part'}
    one.send_signal(number)
    _, said = one.communicate(timeout=300)
    assert one.returncode == code and 'stopped; the same command goes on from here' in said, said
    assert not project.exists()         # nothing had been finished


def command(capsys, *arguments):
    from akv.cli import main
    code = main(list(map(str, arguments)))
    return code, capsys.readouterr()


@pytest.mark.parametrize('video_id', ['=1+1', '@cup', '+3', "'x"])
def test_ids_that_a_spreadsheet_would_run(tmp_path, clip, capsys, video_id):
    "They go through the chain, and no table has a field that would be run."
    from akv.study.files import as_text
    from akv.study.project import plain_id, Project
    project = Project(tmp_path)
    (tmp_path / 'boxes.csv').write_text(HEAD + f'{video_id},1,,10,20,20,20,product\n')
    for arguments in (('scenes', clip, '--id', video_id), ('masks', '--boxes', tmp_path / 'boxes.csv', '--keyword', '=cup()'), ('attention',),
                      ('validate',), ('variants',)):
        code, said = command(capsys, *arguments, '--output', tmp_path)
        assert code == 0, said
    assert project.keywords() == {video_id: '=cup()'} and project.video_ids() == [video_id]
    tables = sorted(path for path in tmp_path.rglob('*.csv') if path.parent != tmp_path)
    assert len(tables) > 10
    for path in tables:
        for field in pd.read_csv(path, dtype=str, keep_default_na=False).to_numpy().ravel():
            assert not field.startswith(('=', '@')) and (not field.startswith(('+', '-')) or float(field) is not None), (path, field)


@pytest.mark.parametrize('name, words', [('.ad', 'starts with a dot'), ('nul', 'stands for a device'), ('ad.', 'ends in a dot'), ('MUG', 'differ only in capital')])
def test_ids_that_would_end_badly_are_refused_when_they_come_in(tmp_path, clip, capsys, name, words):
    assert command(capsys, 'scenes', clip, '--id', 'mug', '--output', tmp_path)[0] == 0
    before = tree(tmp_path)
    odd = tmp_path.parent / f'{tmp_path.name}-{name}.mp4'
    odd.symlink_to(clip)
    code, said = command(capsys, 'scenes', odd, '--id', name, '--output', tmp_path)
    assert code == 1 and words in said.err and '--id' in said.err and tree(tmp_path) == before
    assert command(capsys, 'scenes', odd, '--id', 'other', '--output', tmp_path)[0] == 0


@pytest.mark.parametrize('stage', ['scenes', 'masks', 'attention', 'validate', 'doses', 'variants', 'edit', 'assemble', 'compare', 'check', 'report', 'run'])
def test_nothing_goes_on_where_decisions_cannot_be_read(tmp_path, clip, capsys, stage):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data/review.csv').write_bytes(b'video_id,scene_number,decision,note,time\nclip,1,reject,hand\rin front,\n')   # of an earlier akv
    before = tree(tmp_path)
    videos = [clip] if stage in ('scenes', 'run') else []
    code, said = command(capsys, stage, *videos, '--output', tmp_path)
    assert code == 1 and 'review.csv: line 2 has 4 fields' in said.err and tree(tmp_path) == before
