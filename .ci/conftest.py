"How the tests are shared among pytest's workers."
from pathlib import Path

import pytest

TOGETHER = 'test_accelerate.py', 'test_browser.py', 'test_scale.py'    # each starts processes of its own, and its tests share what takes long to make


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        "Test by test, but for files of many processes: one worker does them all, one after the other, and begins at once."
        def _split_scope(self, nodeid): return 'together' if Path(nodeid.partition('::')[0]).name in TOGETHER else nodeid

    return Sharing(config, log)
