"""A board that cannot succeed is stopped, and says why once."""

from __future__ import annotations

import pytest

from ddbench.runs.common_cause import CommonCause, FirstFailures
from factories import Call, make_record, write_board, write_method


def failed(method: str, reason: str = "no data") -> object:
    return make_record(method, accuracies=(), status="failed", reason=reason)


@pytest.mark.parametrize(
    ("methods", "runs", "stops"),
    [
        ("a", [failed("a"), failed("a")], True),
        ("ab", [failed("a"), failed("a"), failed("b")], True),
        ("ab", [failed("a"), failed("a"), failed("b", "another")], False),
        ("ab", [failed("a"), make_record("a"), failed("b")], False),
        ("ab", [failed("a"), make_record("a", accuracies=(), status="crashed", reason="no data"), failed("b")], False),
        ("a", [failed("a")], False),
    ],
)
def test_it_takes_two_failures_for_one_reason_of_two_methods_if_there_are_any(
    methods: str, runs: list[object], stops: bool
) -> None:
    watch = FirstFailures(methods)
    for run in runs[:-1]:
        watch.note(run)
    if stops:
        with pytest.raises(CommonCause):
            watch.note(runs[-1])
    else:
        watch.note(runs[-1])


@pytest.mark.slow  # boards of several runs; `.ci/run` carries it out
@pytest.mark.usefixtures("methods")
def test_a_board_stops_and_the_same_command_goes_on(call: Call, tmp_path: object) -> None:
    write_method(tmp_path, "mine", start="raise RuntimeError('a mistake')")
    arguments = write_board(tmp_path, "./mine.py", seeds=5)
    code, _, err = call(*arguments)
    assert code == 1
    assert err.count("RuntimeError: a mistake") == 2
    assert "stopped, since every run so far failed for this reason; the same command does the 3 left" in err
