"""The widgets as a user has them: JupyterLab, Chromium, a mouse and a keyboard. `python -m pytest .ci/test_browser.py`

Each test opens a notebook, clicks, types or drags, and looks for the effect on the screen and in the files. With AKV_SHOTS=FOLDER
a picture of each widget is kept there.
"""
import json
import os
import shutil
from pathlib import Path

import pytest

import browser

pytestmark = pytest.mark.skipif(bool(browser.missing()), reason=f'not installed: {browser.missing()}')
SCENES, FRAMES, SIZE = (1, 2, 3), 12, (180, 320)


def short_ad(path):
    "The middle of three scenes of the demo ad, at half its size."
    import akv
    import cv2
    from akv.media.encoding import make_video
    from akv.media.decoding import read_frames
    starts = [26*n - 13 - FRAMES//2 for n in SCENES]
    frames = read_frames(Path(akv.__file__).parent/'demo'/'demo_box.mp4', [i + k for i in starts for k in range(FRAMES)])
    return make_video([cv2.resize(frames[i], SIZE, interpolation=cv2.INTER_AREA) for i in sorted(frames)], path, rate=6)


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    "A project with scenes, masks, tracks, heatmaps (a centre bias), variants, and videos of three variants."
    import akv
    from akv.sources.witnesses import centre_bias
    from akv.study.project import Project
    from akv.study.files import read_table, write_table
    from akv.study.images import save_heatmap
    from akv.keywords import make_masks
    from akv.scenes import extract_scenes
    from akv.validation import write_valid_scenes
    from akv.variants import VideoVariantGenerator
    import pandas as pd
    project = Project(tmp_path_factory.mktemp('study'))
    clip = short_ad(project.root/'ad.mp4')
    extract_scenes(clip, project, 'ad')
    boxes = read_table(Path(akv.__file__).parent/'demo'/'boxes.csv')
    boxes = boxes[(boxes.video_id == 'demo_box') & boxes.scene_number.isin([str(n) for n in SCENES])]
    boxes = boxes.assign(video_id='ad', frame=[str(FRAMES*i + FRAMES//2) for i in range(len(SCENES))])
    for c in ('x', 'y', 'width', 'height'): boxes[c] = [str(int(v)//2) for v in boxes[c]]
    write_table(boxes, project.boxes_csv)
    make_masks(project, 'ad')
    for n in SCENES: save_heatmap(centre_bias(SIZE[::-1]), project.attention_heatmap('ad', n))
    write_table(pd.DataFrame({'_id': ['ad'], 'keyword_list[0]': ['biscuits']}), project.keywords_csv)
    assert len(write_valid_scenes(project).valid) == len(SCENES)
    VideoVariantGenerator(project.valid_scenes_csv).create_all_variants_for_video('ad')
    project.videos.mkdir(parents=True)
    for variant in ('baseline', 'full_boost', 'reduction'): shutil.copy(clip, project.video('ad', variant))
    return project


@pytest.fixture(scope='module')
def lab(study):
    "(JupyterLab's address, its token, a browser)."
    with browser.lab(study.root) as (address, token), browser.browser() as program: yield address, token, program


@pytest.fixture
def opened(lab, study, request):
    "A function that opens a notebook of some cells and waits for a part of the page; errors fail the test."
    address, token, program = lab
    page = program.new_page(viewport=dict(width=1100, height=1250))
    page.set_default_timeout(120_000)     # what is waited for comes at some time; how soon depends on what else the machine does
    faults = []
    page.on('pageerror', lambda error: faults.append(str(error)))
    def show(cells, selector):
        name = f'{request.node.name}.ipynb'
        (study.root/name).write_text(json.dumps(browser.notebook(cells)))
        browser.open_notebook(page, address, token, name)
        try: page.locator(selector).first.wait_for()
        except Exception: raise AssertionError(f'{selector} did not come: {browser.cell_errors(page)} {faults}')
        return page
    yield show
    if folder := os.environ.get('AKV_SHOTS'): page.screenshot(path=Path(folder)/f'{request.node.name}.png')
    wrong = browser.cell_errors(page)
    page.close()
    assert not faults and not wrong, (faults, wrong)


def painted(page, selector, after=0):
    "Wait until the canvas in `selector` has painted more pictures than `after`; how many it has."
    wait = '([selector, after]) => Number(document.querySelector(selector)?.dataset.painted || 0) > after'
    page.wait_for_function(wait, arg=[selector, after])
    return int(page.locator(selector).first.get_attribute('data-painted'))


def drag(page, canvas, *points):
    "Press at the first point, move over the others and let go; points are shares of the width and the height."
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    places = [(box['x'] + x*box['width'], box['y'] + y*box['height']) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]: page.mouse.move(*place, steps=6)
    page.mouse.up()


def test_checker(opened, study):
    "A scene is rejected with a key and a note; the next validation and the variants do without it."
    from akv.study.review import read_review
    from akv.validation import write_valid_scenes
    from akv.variants import VideoVariantGenerator
    page = opened(['from akv.widgets import HeatmapChecker', "checker = HeatmapChecker('data/valid_scenes.csv')\nchecker"], '.akv-checker')
    canvas = '.akv-checker .akv-canvas'
    count = painted(page, canvas)
    page.locator('.akv-checker .akv-onward input').uncheck()
    page.locator(canvas).click()
    page.keyboard.press('ArrowRight')
    count = painted(page, canvas, count)
    assert 'Scene 2' in page.locator(canvas).get_attribute('aria-label')
    page.keyboard.press('n')              # into the note, and back: its first letter must not accept the scene
    page.keyboard.type('a <turned> box')
    page.keyboard.press('Enter')
    page.wait_for_timeout(400)
    browser.run_python(page, 'pass')      # a field may be answered in another thread than the picture
    page.keyboard.press('r')
    page.locator('.akv-decision', has_text='rejected').wait_for()
    browser.run_python(page, 'pass')      # what was asked of the kernel before this is done
    row = read_review(study).iloc[-1]
    assert (row.video_id, row.scene_number, row.decision, row.note) == ('ad', '2', 'reject', 'a <turned> box')
    assert browser.run_python(page, 'print(checker.rejected)').strip() == "[('ad', 2)]"
    result = write_valid_scenes(study)
    assert result.valid.scene_number.tolist() == [1, 3]
    assert result.left_out.reason.tolist() == ['rejected in review: a <turned> box']
    assert VideoVariantGenerator(study.valid_scenes_csv).scenes_of('ad').scene_number.tolist() == [1, 3]
    page.wait_for_timeout(400)            # a second decision at once is taken for a slip of the finger
    page.keyboard.press('a')              # and taken back
    page.locator('.akv-decision', has_text='accepted').wait_for()
    browser.run_python(page, 'pass')
    assert write_valid_scenes(study).valid.scene_number.tolist() == [1, 2, 3]

    page.locator('.akv-checker .akv-onward input').check()      # a key that is held down decides on one scene
    page.locator(canvas).click()
    page.keyboard.press('PageUp')
    page.wait_for_timeout(400)
    before = len(read_review(study))
    for _ in range(20): page.keyboard.down('a')
    page.keyboard.up('a')
    page.wait_for_timeout(300)
    browser.run_python(page, 'pass')
    assert len(read_review(study)) == before + 1


def test_explorer(opened, study):
    "Another variant, another scene, another alpha: seen at once, written never."
    before = {path: path.read_bytes() for path in study.variants('ad').rglob('*') if path.is_file()}
    page = opened(['from akv.widgets import VariantExplorer', "explorer = VariantExplorer('outputs/variants')\nexplorer"], '.akv-explorer')
    painted(page, '.akv-explorer .akv-canvas')
    page.locator('.akv-explorer-variant').get_by_role('button', name='full boost').click()
    page.locator('.akv-explorer .akv-canvas').first.click()
    browser.run_python(page, 'pass')
    count = painted(page, '.akv-explorer .akv-canvas')
    page.keyboard.press('ArrowRight')
    painted(page, '.akv-explorer .akv-canvas', count)
    seen = "print(explorer.scene['scene_number'], explorer.scene['variant'])"
    shown = lambda: json.loads(browser.run_python(page, 'import json; print(json.dumps({k: v for k, v in explorer.preview.items() if isinstance(v, (int, float, str, bool))}, default=float))'))
    assert browser.run_python(page, seen).split() == ['2', 'full_boost']
    handle = page.locator('.akv-explorer-dials .noUi-handle').first
    handle.focus()
    for _ in range(20): page.keyboard.press('ArrowRight')
    page.wait_for_function("document.querySelector('.akv-explorer').innerText.includes('not written')")
    first = shown()
    assert first['requested_alpha'] > 1.5 and first['share_after'] > first['share_before'], first
    after = {path: path.read_bytes() for path in study.variants('ad').rglob('*') if path.is_file()}
    assert before == after


def test_mask_editor(opened, study):
    "A box and a stroke are dragged, the fitted mask is seen, and saving writes it."
    from akv.study.images import load_mask
    from akv.study.files import read_table
    path = study.keyword_mask('ad', 1)
    before = load_mask(path)
    page = opened(['from akv.widgets import MaskEditor', "editor = MaskEditor(('ad', 1))\neditor"], '.akv-editor')
    drawing = page.locator('.akv-editor .akv-canvas-drawing')
    painted(page, '.akv-editor .akv-canvas')
    button = lambda text: page.locator('.akv-editor button', has_text=text)
    browser.run_python(page, 'pass')
    button('Clear').click()
    page.wait_for_function("document.querySelector('.akv-editor .akv-facts').innerText.includes('0 boxes, 0 clicks, 0 strokes')")
    drag(page, drawing, (.15, 0), (.95, .35))               # and on at once: the kernel is still importing what outlines need
    button('Brush').click()
    drag(page, drawing, (.3, .8), (.6, .85))
    page.wait_for_function("document.querySelector('.akv-editor .akv-facts').innerText.includes('1 box, 0 clicks, 1 stroke')")
    state = lambda: json.loads(browser.run_python(page, 'import json; print(json.dumps([[s["kind"] for s in editor.shapes], editor.saved, float(editor.mask.sum())]))'))
    kinds, saved, area = state()
    assert kinds == ['product', 'brush'] and not saved and area > 0
    (box,) = json.loads(browser.run_python(page, 'import json; print(json.dumps(editor.boxes))'))
    assert abs(box['x'] - .15*SIZE[0]) < 1.5 and abs(box['height'] - .35*SIZE[1]) < 1.5, box
    button('Save').click()
    page.locator('.akv-editor .akv-message-line', has_text='Saved').wait_for()
    browser.run_python(page, 'pass')
    after = load_mask(path)
    assert after.sum() == area and (after != before).any() and after[int(.82*SIZE[1]), int(.45*SIZE[0])] == 1
    kept = read_table(study.boxes_csv)
    kept = kept[(kept.video_id == 'ad') & (kept.scene_number == '1')]
    assert len(kept) == 1 and abs(float(kept.width.iloc[0]) - .8*SIZE[0]) < 1.5


def test_mask_editor_clicks(opened, study):
    "Left, right and Shift with the click tool; each is answered with an outline; undo, and clicks faster than the answers."
    page = opened(['from akv.widgets import MaskEditor', "editor = MaskEditor(('ad', 2))\neditor"], '.akv-editor')
    canvas = '.akv-editor .akv-canvas'
    painted(page, canvas)
    drawing, read = page.locator(f'{canvas}-drawing'), lambda text: json.loads(browser.run_python(page, f'import json; print(json.dumps({text}))'))
    drawing.scroll_into_view_if_needed()
    box = drawing.bounding_box()
    def click(x, y, **how): drawing.click(position=dict(x=x*box['width'], y=y*box['height']), **how)
    page.evaluate("""canvas => { window.waits = []; let begun
        document.querySelector(canvas).addEventListener('pointerdown', () => { begun = performance.now() })
        new MutationObserver(() => { if (begun) window.waits.push(performance.now() - begun); begun = 0 })
            .observe(document.querySelector(canvas), { attributeFilter: ['data-painted'] }) }""", canvas)
    page.locator(canvas).focus()
    page.keyboard.press('c')
    page.wait_for_function("document.querySelector('.akv-canvas-drawing').dataset.tool == 'click'")
    places = (.5, .4, {}), (.05, .05, dict(button='right')), (.95, .95, dict(modifiers=['Shift']))
    for i, (x, y, how) in enumerate(places):
        count = painted(page, canvas)
        click(x, y, **how)
        count = painted(page, canvas, count)
        assert len(read('editor.clicks')) == i + 1 and read('len(editor.canvas.outline)') > 0
    assert page.locator('.lm-Menu').count() == 0                       # the right button opens no menu
    assert [c['kind'] for c in read('editor.clicks')] == ['product', 'not', 'not']
    assert abs(read('editor.clicks')[1]['x'] - .05*SIZE[0]) < 1.5
    waits = page.evaluate('window.waits')
    print('from click to outline, ms:', [round(ms) for ms in waits])
    assert len(waits) == 3
    if folder := os.environ.get('AKV_SHOTS'): page.screenshot(path=Path(folder)/'clicks.png')
    page.keyboard.press('z')
    page.wait_for_function("document.querySelector('.akv-facts').innerText.includes('2 clicks')")
    browser.run_python(page, 'calls, show = [], editor._show_mask\neditor._show_mask = lambda **traits: (calls.append(1), __import__("time").sleep(1), show(**traits))')
    for i in range(6): page.mouse.click(box['x'] + (.4 + .03*i)*box['width'], box['y'] + .4*box['height'])
    page.wait_for_function("document.querySelector('.akv-facts').innerText.includes('8 clicks')")
    answers = read('len(calls)')
    assert len(read('editor.clicks')) == 8 and answers < 6, answers     # those that came meanwhile are answered together
    page.keyboard.press('z')
    page.wait_for_function("document.querySelector('.akv-facts').innerText.includes('7 clicks')")


def test_mask_editor_track(opened, study):
    "A correction in another frame is tracked; `n` and `p` go to the frames that look wrong."
    from akv.sources.tracks import load_track
    track = load_track(study, 'ad', 3)
    before = {frame: path.stat().st_mtime_ns for frame, path in track.paths.items()}
    page = opened(['from akv.widgets import MaskEditor', "editor = MaskEditor(('ad', 3))\neditor"], '.akv-editor')
    canvas = '.akv-editor .akv-canvas'
    painted(page, canvas)
    first, last = min(track), max(track)
    browser.run_python(page, f'editor.flagged = [{first}, {last}]')
    page.locator(canvas).focus()
    page.keyboard.press('n')
    page.wait_for_function(f"document.querySelector('.akv-canvas-caption').innerText.includes('frame {last}')")
    drag(page, page.locator(f'{canvas}-drawing'), (.2, .05), (.9, .4))
    page.wait_for_function("document.querySelector('.akv-facts').innerText.includes('1 box')")
    page.keyboard.press('d')                                # what the box leads to is not the matter here
    page.wait_for_function("document.querySelector('.akv-canvas-drawing').dataset.tool == 'brush'")
    drag(page, page.locator(f'{canvas}-drawing'), (.4, .3), (.6, .3))
    page.wait_for_function("document.querySelector('.akv-facts').innerText.includes('1 stroke')")
    page.keyboard.press('t')
    page.locator('.akv-editor .akv-message-line', has_text='Tracked').wait_for()
    browser.run_python(page, 'pass')
    after = {frame: path.stat().st_mtime_ns for frame, path in load_track(study, 'ad', 3).paths.items()}
    middle = (first + last + 1)//2                          # the scene image: before it nothing depends on the last frame
    assert all((after[i] == before[i]) == (i <= middle) for i in after), (before, after)


def test_compare(opened, study):
    "Blind, three videos play in step; a rating is in the file at once, under the right name."
    from akv.study.review import read_video_ratings
    cells = ['from akv.widgets import VideoCompare', "compare = VideoCompare('outputs/variants/manifest.json', blind=True)\ncompare"]
    page = opened(cells, '.akv-player-tile')
    page.wait_for_function("[...document.querySelectorAll('video')].length == 3 && [...document.querySelectorAll('video')].every(v => v.readyState >= 2)")
    text = page.locator('.akv-compare').inner_html()
    assert 'boost' not in text and 'reduction' not in text and 'baseline' not in text
    page.locator('.akv-player').focus()
    for _ in range(3): page.keyboard.press('.')
    times = '[...document.querySelectorAll("video")].map(v => v.currentTime)'
    page.wait_for_function(f'{times}.every(t => t > .4 && t < .7)')       # the fourth frame, at six a second
    labels = json.loads(browser.run_python(page, 'import json; print(json.dumps(compare.labels))'))
    letter = sorted(labels)[1]
    page.get_by_role('button', name=f'Naturalness of {letter}: 4', exact=False).click()
    page.locator(f'.akv-player-tile[data-label={letter}] .akv-player-said', has_text='saved').wait_for()
    browser.run_python(page, 'pass')
    (rating,) = read_video_ratings(study).to_dict('records')
    assert (rating['variant'], str(rating['rating'])) == (labels[letter], '4') and str(rating['blind']).lower() in ('true', '1', 'yes')
