"""A small study comes out byte for byte the same with one thread as with two."""
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import pytest

from akv.media.decoding import iter_frames
from akv.study.files import PACKAGE

SETTINGS = '''experiments: {boost_alpha: 1.1, reduction_alpha: 0.9}
editing: {measure_frames: 1, tolerance: 0.5}
video: {keyframe_interval: 20, preset: ultrafast, check_pairs: 1}
attention: {flips: false}
'''   # doses that are found soon: what is compared is whether all comes out alike, not how it looks
RUN = 'import sys; from akv.cli import main; sys.exit(main())'


def write_clip(path):
    "Six frames of a demo ad, at half the size."
    frames = [frame for _, frame in iter_frames(PACKAGE/'demo'/'demo_box.mp4', 60, 66)]
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('libx264', rate=10)
        stream.width, stream.height, stream.pix_fmt = 180, 320, 'yuv420p'
        for i, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format='rgb24').reformat(180, 320, 'yuv420p')
            picture.pts, picture.time_base = i, Fraction(1, 10)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


@pytest.fixture(scope='module')
def studies(tmp_path_factory):
    "{number of threads: {file: content}}"
    given, found = tmp_path_factory.mktemp('given'), {}
    write_clip(given/'ad.mp4')
    (given/'boxes.csv').write_text('video_id,scene_number,frame,x,y,width,height,kind\nad,1,3,20,13,140,100,product\n')
    (given/'settings.yaml').write_text(SETTINGS)
    for threads in (1, 2):
        output = tmp_path_factory.mktemp(f'threads_{threads}')/'study'
        command = ['run', 'ad.mp4', '--keyword', 'biscuits', '--boxes', 'boxes.csv', '--settings', 'settings.yaml', '--output', str(output)]
        done = subprocess.run([sys.executable, '-c', RUN, *command], cwd=given, capture_output=True, text=True,
                              env=os.environ | {'OMP_NUM_THREADS': str(threads), 'PYTHONPATH': str(PACKAGE.parent)})
        assert done.returncode == 0, done.stderr
        found[threads] = {path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(output.rglob('*')) if path.is_file()}
    return found


TIMED = {'outputs/timings.json', 'outputs/.stages/hashes.jsonl'}      # how long it took, and when files were written


def test_the_same_files_come_out(studies):
    assert studies[1].keys() == studies[2].keys()
    assert sum(name.endswith('.mp4') for name in studies[1]) == 7


def test_every_byte_is_the_same(studies):
    differ = [name for name, content in studies[1].items() if content != studies[2].get(name) and name not in TIMED]
    assert not differ, f'{len(differ)} of {len(studies[1])} files differ: {differ[:12]}'
