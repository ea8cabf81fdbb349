"""The pages that participants see, in Chromium, from the start to the file with their data. `python -m pytest .ci/test_experiment.py`

jsPsych comes from npm. Where npm, a network, playwright or Chromium is missing, the tests are skipped and say so; AKV_JSPSYCH=FOLDER
names a folder in which the command of `akv.evidence.served.npm_command` was run. With AKV_SHOTS=FOLDER pictures of the pages are kept there.
"""
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import browser

pytestmark = pytest.mark.skipif('playwright' in browser.missing() or 'chromium' in browser.missing(),
                                reason=f'not installed: {browser.missing()}')
ADS = ('mug', 'shoe', 'hat')


@pytest.fixture(scope='module')
def jspsych(tmp_path_factory):
    "A folder with jsPsych from npm."
    from akv.evidence.served import npm_command
    if folder := os.environ.get('AKV_JSPSYCH'): return Path(folder)
    folder = tmp_path_factory.mktemp('npm')
    if not shutil.which('npm'): pytest.skip('jsPsych comes from npm, which is not installed')
    try: done = subprocess.run([*npm_command().split(), '--ignore-scripts', '--no-audit', '--no-fund'], cwd=folder, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired: pytest.skip('npm did not fetch jsPsych within a minute')
    if done.returncode: pytest.skip(f'npm could not fetch jsPsych: {done.stderr.strip()[:200]}')
    return folder


def picture(page, name):
    if folder := os.environ.get('AKV_SHOTS'): page.screenshot(path=Path(folder)/f'{name}.png')


def fits(page):
    "No scroll bars, nothing wider than the window."
    sizes = page.evaluate('[document.documentElement.scrollWidth, innerWidth, document.documentElement.scrollHeight, innerHeight]')
    assert sizes[0] <= sizes[1] and sizes[2] <= sizes[3], sizes


@pytest.fixture
def study(tmp_path):
    "An assignment of three ads to two people; the second clip of the first is no video."
    from akv.media.encoding import make_video
    from akv.study.files import write_table, write_text
    experiment = tmp_path/'outputs/experiment'
    moving = [np.roll(np.uint8([[[200, 80, 40]]*90 + [[30, 60, 90]]*90]*320), 8*i, 1) for i in range(7)]
    rows, key = [], []
    for ad in ADS:
        for variant in ('baseline', 'full_boost'):
            code = f'{ad[:2]}{"xr" if variant == "baseline" else "hd"}'
            make_video(moving, experiment/f'stimuli/{code}.mp4', rate=3)      # long enough to click in
            key.append((code, ad, variant, '', ''))
    for who, order in (('P001', ('mug', 'shoe', 'hat')), ('P002', ('hat', 'mug', 'shoe'))):
        rows += [(who, i, ad, f'{ad[:2]}{"hd" if (i + (who > "P001")) % 2 else "xr"}') for i, ad in enumerate(order, 1)]
    write_table(pd.DataFrame(rows, columns=['participant', 'position', 'video_id', 'stimulus']), experiment/'assignment.csv')
    write_table(pd.DataFrame(key, columns=['stimulus', 'video_id', 'variant', 'video', 'sha256']), experiment/'key.csv')
    write_text(experiment/'stimuli/shxr.mp4', 'not a video')
    return tmp_path


def test_jspsych_from_start_to_data(study, jspsych):
    "A session with a clip that cannot play: it is logged, the session goes on, and the data come back as rows of engagement.csv."
    from akv.evidence.exports import export_jspsych, read_sessions, write_engagement
    from akv.evidence.served import Served, in_browser
    questions = [dict(name='liking', prompt='How much did you like this ad?', kind='scale', low='not at all', high='very much'),
                 dict(name='known', prompt='Did you know the brand?', kind='choice', options='yes|no')]
    page, sessions = export_jspsych(study, questions, skip_after_s=.3, button='Visit the shop', jspsych=jspsych), study/'outputs/experiment/sessions'

    def session(tab):
        tab.goto(served.address)
        tab.locator('#akv-participant').fill('P999')
        tab.keyboard.press('Enter')
        tab.get_by_text('not in the list').wait_for()
        picture(tab, 'experiment_code')
        tab.locator('#akv-participant').fill('P001')
        tab.keyboard.press('Enter')
        tab.get_by_role('button', name='Start').wait_for()
        fits(tab)
        picture(tab, 'experiment_start')
        tab.get_by_role('button', name='Start').click()
        for n, (rating, skipped) in enumerate((('6', False), (None, False), ('2', True))):
            if rating is None:
                tab.get_by_text('cannot be shown').wait_for()
                continue
            tab.locator('.akv-video').wait_for()
            fits(tab)
            if not skipped: tab.get_by_role('button', name='Visit').click()
            picture(tab, f'experiment_clip_{n}')
            if skipped: tab.get_by_role('button', name='Skip').click()
            tab.locator('.akv-form').wait_for()
            tab.get_by_text(rating, exact=True).click()
            tab.get_by_text('no', exact=True).click()
            fits(tab)
            picture(tab, f'experiment_questions_{n}')
            tab.get_by_role('button', name='Continue').click()
        tab.locator('body[data-akv=sent]').wait_for()
        picture(tab, 'experiment_end')

    with Served(page, sessions) as served: in_browser(session, timeout_s=120)
    back = read_sessions(study)
    assert back.views[['position', 'video_id', 'variant', 'liking', 'known', 'clicked']].values.tolist() == [
        [1, 'mug', 'full_boost', '6', 'no', 1], [3, 'hat', 'full_boost', '2', 'no', 0]]
    watched, length = back.views.watch_time, back.views.length_s
    assert abs(watched[0] - length[0]) < .1 and .3 <= watched[1] < length[1] and back.views.completed.tolist() == [1, 0]
    failed = back.log[back.log.failed != '']
    assert failed.stimulus.tolist() == ['shxr'] and failed.failed.iloc[0].startswith('source not supported')
    assert write_engagement(study).views.equals(back.views) and (study/'data/engagement.csv').is_file()


def test_preflight_plays_every_clip(study, jspsych):
    "A file that is no video and one that was cut off are found before anybody comes."
    from akv.evidence.exports import export_jspsych, preflight
    page = export_jspsych(study, jspsych=jspsych, timeout_s=1)
    whole = (page/'stimuli/muhd.mp4').read_bytes()
    (page/'stimuli/muhd.mp4').unlink()
    (page/'stimuli/muhd.mp4').write_bytes(whole[:2*len(whole)//3])
    rows = preflight(study).set_index('check')
    assert rows.result.tolist() == ['ok', 'wrong', 'wrong']
    assert 'shxr.mp4: source not supported' in rows.found['plays in a browser'] and 'muhd.mp4' in rows.found['plays in a browser']


def test_pilot_from_start_to_data(tmp_path, jspsych):
    "A simulated viewer judges and uncovers; `try_pilot` refuses data that are not what it did, to a pixel and a half of the screen."
    from akv.evidence.pilot import SimulatedViewer, make_pilot, try_pilot
    from akv.study.files import write_table
    from akv.study.images import save_image
    from akv.study.project import Project
    project, rng = Project(tmp_path), np.random.default_rng(0)
    for n in (1, 2, 3, 4):
        for variant in ('baseline', 'full_boost'):
            scene = rng.integers(0, 255, (20, 12, 3)).repeat(16, 0).repeat(16, 1)[:, :180]
            save_image(scene.astype(np.uint8), project.edited_scene(variant, 'ad', n))
    write_table(pd.DataFrame(dict(video_id='ad', scene_number=[1, 2, 3, 4])), project.valid_scenes_csv)
    make_pilot(project, ('baseline', 'full_boost'), viewers=2, jspsych=jspsych)

    def watch(tab, view):
        fits(tab)
        picture(tab, f'pilot_{view["task"]}')

    data = try_pilot(project, SimulatedViewer(d_prime=9), watch=watch)
    assert len(data.judgements) == 2 and len(data.looks) == 6 and data.looks.duration_s.gt(0).all()
    assert all((row.rating > 2) == (row.variant == 'full_boost') for row in data.judgements.itertuples())


def test_data_are_a_download_where_nobody_takes_them(tmp_path, jspsych, study):
    "On a web host that takes no data, the browser saves the file, and the last page says so."
    from akv.evidence.exports import export_jspsych, read_sessions
    from akv.evidence.served import Served, in_browser
    page = export_jspsych(study, [], jspsych=jspsych, format='csv', timeout_s=2, texts={'failure': 'Geht nicht.'})
    (study/'outputs/experiment/sessions').mkdir()

    def session(tab):
        tab.goto(f'{served.address}?participant=P001')
        with tab.expect_download() as saved: tab.get_by_role('button', name='Start').click()
        saved.value.save_as(study/'outputs/experiment/sessions'/saved.value.suggested_filename)
        tab.get_by_text('saved as a file').wait_for()
        picture(tab, 'experiment_saved')

    with Served(page) as served: in_browser(session, timeout_s=120)
    back = read_sessions(study)
    assert back.views.position.tolist() == [1, 3] and any('No viewer left a clip early' in note for note in back.notes)
