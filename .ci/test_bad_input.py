"A small part of `bad_input.py`, which says what it does, of every kind."
import pytest

import bad_input

GOOD = 'right', 'AkvError'


@pytest.mark.parametrize('name', [name for name in bad_input.GROUPS if name != 'fixtures'])
def test_ends_in_a_right_result_or_an_AkvError(name):
    results = bad_input.cases_of(name, quick=True)
    assert len(results) > 10
    bad = [f"{r['name']}: {r['how']}: {r['why']}" for r in results if r['how'] not in GOOD]
    assert not bad, '\n'.join(bad)


def test_a_fault_is_seen(tmp_path):
    "What the suite looks for: another exception, no message, code that is executed."
    from akv.study.files import AkvError
    def wrong(): raise KeyError('x')
    def silent(): raise AkvError
    assert [bad_input.tried(work)[0] for work in (list, wrong, silent)] == ['right', 'fault', 'fault']
    import pickle
    pickle.loads(pickle.dumps(bad_input.Touch(tmp_path/'executed')))
    assert bad_input.content_of(tmp_path).keys() == {'executed'}
