"""Jobs beside each other: how many at a time, their environment, logs, and one that outlived its driver."""

import fcntl
import os
import subprocess
import threading
from pathlib import Path

from speechkit.common.jobs import Job, last_lines, run_jobs


def shell(text: str, log: Path) -> Job:
    return Job(("bash", "-c", text), log)


def test_codes_and_logs(tmp_path: Path) -> None:
    jobs = [shell(f"echo out; echo err >&2; exit {code}", tmp_path / "a b" / f"{code}.log") for code in (0, 3, 1)]
    ended = {each.index: each.code for each in run_jobs(jobs, [{}, {}])}
    assert ended == {0: 0, 1: 3, 2: 1}
    assert all(last_lines(job.log, 5) == ["out", "err"] for job in jobs)
    list(run_jobs(jobs[:1], [{}]))
    assert last_lines(jobs[0].log, 3) == ["err", "out", "err"]  # a log grows


def test_as_many_at_a_time_as_slots_each_with_its_environment(tmp_path: Path) -> None:
    """Each job meets one of the other slot: with fewer at a time, or two in one slot, they would wait for ever."""
    here, there = tmp_path / "a", tmp_path / "b"
    os.mkfifo(here)
    os.mkfifo(there)
    meet = (
        f'if [[ $SLOT == a ]]; then echo a >"{here}"; read x <"{there}"; else read x <"{here}"; echo b >"{there}"; fi'
    )
    jobs = [shell(f"{meet}; echo $SLOT $x", tmp_path / f"{index}.log") for index in range(4)]
    assert [each.code for each in run_jobs(jobs, [{"SLOT": "a"}, {"SLOT": "b"}])] == [0] * 4
    assert sorted(last_lines(job.log, 1)[0] for job in jobs) == ["a b", "a b", "b a", "b a"]


def test_a_job_that_outlived_its_driver_is_waited_for(tmp_path: Path) -> None:
    gate, log = tmp_path / "gate", tmp_path / "run.log"
    os.mkfifo(gate)
    with log.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        older = subprocess.Popen(["bash", "-c", f'read x <"{gate}"; echo older'], stdout=stream)
    ended: list[int] = []
    driver = threading.Thread(
        target=lambda: ended.extend(each.code for each in run_jobs([shell("echo new", log)], [{}]))
    )
    driver.start()
    assert not ended
    gate.write_text("go on\n")
    driver.join()
    assert older.wait() == 0
    assert (ended, last_lines(log, 2)) == ([0], ["older", "new"])
