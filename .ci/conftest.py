"How the tests are shared among pytest's workers."
from pathlib import Path

import pytest

TOGETHER = 'test_accelerate.py', 'test_browser.py', 'test_scale.py'    # their tests share what takes long to make: one worker makes it, once


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        "Test by test, but for files whose tests stay together; these come first."
        def _split_scope(self, nodeid):
            file = nodeid.partition('::')[0]
            return file if Path(file).name in TOGETHER else nodeid

    return Sharing(config, log)
