"""The shared part of the benchmarks: processes, rounds and the table."""

import json
import os

import pytest

from benchmarks import measuring


def work(fail: bool) -> dict[str, float]:
    if fail:
        os._exit(9)  # as if the system had killed it
    return {"figure": 7.0}


def test_a_row_runs_in_a_process_of_its_own():
    found = measuring.measured(work, False)
    assert found["figure"] == 7
    assert 0 < found["seconds"] < 5
    assert 0.01 < found["peak GiB"] < 50
    with pytest.raises(RuntimeError, match="exit code 9"):
        measuring.measured(work, True)


def test_rows_run_in_turn_and_a_dead_one_is_reported(tmp_path, capsys):
    asked: list[str] = []

    def call(name: str) -> measuring.Run:
        asked.append(name)
        if name == "dead":
            raise RuntimeError("killed")
        return {"speed": float(len(asked))}

    report: measuring.Run = {"machine": measuring.machine("numpy")}
    calls = {name: lambda name=name: call(name) for name in ("ours", "dead")}
    rows = measuring.in_turn(calls, 2, report, tmp_path / "out.json")
    assert asked == ["ours", "dead"] * 2
    assert json.loads((tmp_path / "out.json").read_text())["rows"] == rows
    assert measuring.show("heading", measuring.table(rows, "speed"), report) == 1
    printed = capsys.readouterr().out
    assert "died: dead: killed" in printed
    assert report["machine"]["processor"] in printed


def test_the_table_shows_the_median_run_its_range_and_its_ratio_to_the_first():
    def runs(*speeds: float) -> list[measuring.Run]:
        return [{"speed": speed, "peak": speed / 2} for speed in speeds]

    rows = {"ours": runs(9, 2, 4), "one": [*runs(8), {"error": "it ended"}], "two": [{"error": "it ended"}]}
    shown = measuring.table(rows, "speed", ["peak"])
    assert list(shown.loc["ours"]) == [4, 2, 9, 1, 2]
    assert list(shown.loc["one"]) == [8, 8, 8, 2, 4]
    assert shown.loc["two"].isna().all()
