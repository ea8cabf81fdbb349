"""Training on two processes, as `accelerate launch` starts them, gives one process's losses.

akv-tiny is trained at 48 pixels on four made-up scenes. Two processes with batches of one scene do what one process does with
batches of two, step for step; they go on from a checkpoint; only the main one writes; and what goes wrong in one ends both.
"""
import csv
import os
import runpy
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
os.chdir(ROOT)
sys.path.insert(0, str(ROOT))

from akv.study.images import save_heatmap, save_image, save_mask    # noqa: E402
from akv.study.project import Project, VALID_SCENES_COLUMNS           # noqa: E402
from akv.study.files import read_json, write_table                    # noqa: E402

SCRIPT = '''
import os, sys
from pathlib import Path
from unittest import mock
import torch
from akv.study.settings import Settings
import akv.training as training

torch.set_num_threads(1)
study, out, batch, fault = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
settings = Settings()
settings.data.image_size = (48, 48)
for name, value in dict(max_steps=8, checkpoint_steps=8, batch_size=batch, counterfactual=False, train_val_split=.75, geometry='letterbox',
                        recon_max_t=1., learning_rate=1e-3).items(): setattr(settings.training, name, value)
rank = int(os.environ.get('RANK', 0))

class Stopped:
    def __init__(self, at): self.at, self.loss = at, training.ControlNetTrainer.loss
    def __call__(self, trainer, batch, key, first=0):
        if rank == 1 and key[1] == self.at: raise RuntimeError('a fault in the second process')
        return self.loss(trainer, batch, key, first)

for stop in (2, 4):
    result = training.train(study, settings, out, device='cpu', progress=False, stop_at=stop)
    assert result.steps == stop and len(result.log) == stop, result.log
print(f'rank {rank} has {result.log.loss.tolist()}', flush=True)
if fault == 'fault':
    stopped = Stopped(5)
    with mock.patch.object(training.ControlNetTrainer, 'loss', lambda self, *args: stopped(self, *args)):
        training.train(study, settings, out, device='cpu', progress=False, stop_at=8)
'''


def make_study(root):
    "A project of four ads with one valid scene each: a bright product, and attention around it."
    project, rows, rng = Project(root), [], np.random.default_rng(0)
    for v in range(4):
        image, M = rng.integers(0, 120, (32, 32, 3), dtype=np.uint8), np.zeros((32, 32), np.float32)
        M[8 + v:20 + v, 9:21] = 1
        image[M > 0] = 200
        A = .2 + .8 * M
        paths = project.scene_image(f'ad{v}', 1), project.keyword_mask(f'ad{v}', 1), project.attention_heatmap(f'ad{v}', 1)
        for save, what, path in zip((save_image, save_mask, save_heatmap), (image, M, A), paths): save(what, path)
        rows.append((f'ad{v}', 1, 'cup', *map(project.relative, paths), paths[0].name))
    write_table(pd.DataFrame(rows, columns=VALID_SCENES_COLUMNS), project.valid_scenes_csv)
    return project


def environment():
    env = {k: v for k, v in os.environ.items() if k not in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_PORT')}
    return env | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', ACCELERATE_USE_CPU='true')


def log_of(folder):
    with open(folder/'log.csv', newline='') as file: return {row['step']: row for row in csv.DictReader(file)}


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    "(folder of one process, folder of two, what the two said and how they ended)."
    here = tmp_path_factory.mktemp('accelerate')
    study, script = make_study(here/'study'), here/'training_script.py'
    script.write_text(SCRIPT)
    with mock.patch.object(sys, 'argv', ['script', str(study.root), str(here/'one'), '2', 'no']), mock.patch.dict(os.environ):
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'): os.environ.pop(name, None)
        runpy.run_path(str(script), run_name='__main__')
    launch = [sys.executable, '-m', 'accelerate.commands.launch', '--multi_gpu', '--num_processes', '2', '--num_machines', '1',
              '--mixed_precision', 'no', '--dynamo_backend', 'no', '--main_process_port', '0']
    double = subprocess.run([*launch, script, study.root, here/'two', '1', 'fault'], env=environment(),
                            capture_output=True, text=True, timeout=900)
    return here/'one', here/'two', double


def test_two_processes_give_the_losses_of_one(runs):
    one, two, double = runs
    assert 'rank 0 has' in double.stdout and 'rank 1 has' in double.stdout, double.stderr[-3000:]
    alone, together = log_of(one), log_of(two)
    assert list(alone) == list(together) == ['1', '2', '3', '4']
    for step, row in alone.items():
        for name, value in row.items():
            assert float(together[step][name]) == pytest.approx(float(value), rel=2e-4, abs=1e-7), (step, name)
        assert all(float(row[name]) > 0 for name in ('diff', 'recon', 'bg'))       # all three are at work
    weights = [np.concatenate([w.ravel() for w in load(folder).values()]) for folder in (one, two)]
    moved = np.abs(weights[0] - np.concatenate([w.ravel() for w in load(one, 2).values()])).max()
    assert np.abs(weights[0] - weights[1]).max() < .02 * moved


def load(folder, step=4):
    from safetensors.numpy import load_file
    tensors = load_file(folder/f'checkpoint-{step:06d}'/'trainer.safetensors')
    return {name: tensors[name] for name in sorted(tensors) if name.startswith('average.')}


def test_a_fault_in_one_process_ends_both(runs):
    _, two, double = runs
    assert double.returncode != 0 and 'a fault in the second process' in double.stderr
    names = {path.name for path in two.iterdir()}
    assert {'checkpoint-000002', 'checkpoint-000004'} <= names and 'checkpoint-000008' not in names
    assert read_json(two/'checkpoint-000004'/'trainer.json')['identity']['scenes_in_a_step'] == 2
