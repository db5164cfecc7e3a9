"""Each step of a tiny pipeline, broken at its file operations, and steps in any order.

Killed, interrupted, on a full disk, or run twice at once: afterwards the same command gives the
same files as an unbroken run. In any order, a step either gives what a fresh run of all it needs
would give, or refuses in one line and changes nothing. A sample runs by default; `--long` runs
everything.
"""

import hashlib
import importlib
import json
import random
import re
from pathlib import Path

import faults
import pandas as pd
import pytest
import torch
from conftest import DX, draw_plain_figures, noise, write_record

import baselines
import main
import predict
import preprocess
import resnet
import shap_values
import utils
from ecg import compare, report
from ecg.evaluation import scored_run
from ecg.running.command import run_main

DATA = ["--data-dir", "data/tiny"]
NET = ["--arch", "resnet18", "--batch-size", "16"]
RUN = "resnet18_tiny_all_42"
STEPS = {  # name: (module, flags); in the order of a fresh run
    "preprocess": (preprocess, [*DATA, "--jobs", "1"]),
    "train": (main, [*DATA, *NET, "--seconds", "2", "--epochs", "2", "--resume", "auto"]),
    "predict": (predict, [*DATA, *NET]),
    "baselines": (baselines, [*DATA, "--classifier", "LR", "--jobs", "1"]),
    "compare": (compare, [*DATA, RUN, "LR_tiny_42"]),
    "explain": (
        shap_values,
        [*DATA, *NET, "--records", "2", "--samples", "2", "--background", "2", "--resume", "auto"],
    ),
    "report": (report, [*DATA, "--arch", "resnet18"]),
}
EVERY_EPOCH = {f"models/{RUN}.last.pth"} | {  # written after each epoch: whole, if not the last
    f"results/{RUN}/{name}" for name in ("history.csv", "history.png", "history.svg", "run.json")
}
# what the steps load only where they need it: once here, not in every process
LAZY = ("torch._dynamo", "wfdb", "shap", "lightgbm")
SAMPLE = 2  # fault points of a step and kind, without --long
SEQUENCES, LENGTH = 3, 6  # random orders without --long; steps of each
TIMES = ("seconds", "seconds_per_epoch", "peak_memory_mb", "duration")


def without_times(value):
    """Drop from nested dictionaries and lists what differs between two equal runs."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def content(path):
    """Return what of a file must be equal in two runs, as bytes or text."""
    if path.suffix == ".pth":
        stored = torch.load(path, weights_only=True)
        tensors = hashlib.sha256()

        def flat(value):
            if isinstance(value, torch.Tensor):
                tensors.update(value.numpy().tobytes())
                return list(value.shape)
            if isinstance(value, dict):
                return {str(k): flat(v) for k, v in value.items() if k not in TIMES}
            return [flat(v) for v in value] if isinstance(value, list | tuple) else value

        return json.dumps(flat(stored), default=str) + tensors.hexdigest()
    if path.name == "run.json":
        return json.dumps(without_times(json.loads(path.read_text())))
    if path.name == "history.csv":
        return pd.read_csv(path).drop(columns="seconds").to_csv()
    if path.suffix == ".html":  # tables of times
        return re.sub(r"<td[^>]*>[\d.]+</td>", "", path.read_text())
    return path.read_bytes()


def state(folder):
    """Return {file: digest of its content} of all that the steps have written."""
    found = {}
    for path in sorted(Path(folder).rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.suffix not in (".mat", ".hea", ".lock") and not is_left(path):
            data = content(path)
            data = data if isinstance(data, bytes) else data.encode()
            found[name] = hashlib.sha256(data).hexdigest()[:12]
    return found


def is_left(path):
    return path.name.startswith(".") and ".tmp" in path.name


def leftovers(folder):
    """Return what killed processes have left, but for those whose number is in use again."""
    found = [path for path in Path(folder).rglob(".*") if is_left(path)]
    numbers = [int(re.search(r"\.(\d+)\.tmp", path.name)[1]) for path in found]
    return [path for path, pid in zip(found, numbers, strict=True) if not utils.is_alive(pid)]


def command(name):
    """Return what runs a step as its command does."""
    module = STEPS[name][0]

    def main(argv):
        utils.remove_leftovers.cache_clear()  # a new process knows nothing of the tests before
        run_main(module.main, lambda: module.parse_args(argv))

    return main


def step(name, folder, plan=("count", 0), extra=()):
    return faults.run(command(name), [*STEPS[name][1], *extra], folder, plan)


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """Run the pipeline once; return {step: (folder before it, state after it, operations)}."""
    patch = pytest.MonkeyPatch()
    patch.setattr(resnet, "WIDTHS", (4, 4, 8, 8))
    draw_plain_figures(patch)
    patch.setattr(scored_run, "N_RESAMPLES", 20)
    for name in LAZY:
        importlib.import_module(name)
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("faults")
    folder = root / "work"
    for i in range(40):
        dx = list(DX.values())[i % 9]
        write_record(folder / "data/tiny" / f"g{i % 2}", f"T{i:04d}", noise(i, 1000), dx)
    found = {}
    for name in STEPS:
        before = faults.copy(folder, root / f"before_{name}")
        status, err, operations = step(name, folder)
        assert status == 0, err
        found[name] = before, state(folder), operations
    yield found
    patch.undo()


def points(operations, long, seed):
    """Return the numbers of the operations to break: all, or a sample."""
    numbers = list(range(1, operations + 1))
    if long or operations <= SAMPLE:
        return numbers
    return sorted(random.Random(seed).sample(numbers, SAMPLE))


@pytest.mark.parametrize("name", STEPS)
def test_a_killed_step_is_finished_by_the_same_command(name, stages, tmp_path, long):
    before, after, operations = stages[name]
    assert operations > 0
    for number in points(operations, long, name):
        folder = faults.copy(before, tmp_path / "work")
        status, err, _ = step(name, folder, ("kill", number))
        assert status == faults.KILLED, (number, err)
        status, err, _ = step(name, folder)
        assert status == 0, (number, err)
        assert state(folder) == after, number
        assert not leftovers(folder), number


@pytest.mark.parametrize("name", STEPS)
def test_ctrl_c_is_one_line_and_the_same_command_finishes(name, stages, tmp_path, long):
    before, after, operations = stages[name]
    old = state(before)
    for number in points(operations, long, name + "interrupt"):
        folder = faults.copy(before, tmp_path / "work")
        status, err, _ = step(name, folder, ("interrupt", number))
        assert status == 130 and "Traceback" not in err, (number, err)
        (line,) = [line for line in err.splitlines() if line.startswith("stopped")]
        assert "resume with: " in line and "error: " not in err, (number, err)
        for path, digest in state(folder).items():  # each is whole: the old one or the new one
            assert digest in (old.get(path), after.get(path)) or path in EVERY_EPOCH, path
        assert not [path for path in Path(folder).rglob(".*") if is_left(path)], number
        status, err, _ = step(name, folder)
        assert status == 0, (number, err)
        assert state(folder) == after, number


@pytest.mark.parametrize("name", STEPS)
def test_a_full_disk_is_one_line_and_loses_nothing(name, stages, tmp_path, long):
    before, after, operations = stages[name]
    old = state(before)
    for number in points(operations, long, name + "full"):
        folder = faults.copy(before, tmp_path / "work")
        status, err, met = step(name, folder, ("full", number))
        if status == 0 and met < number:  # fewer of those that need space
            continue
        errors = [line for line in err.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in err and status in (0, 2), (number, err)
        assert len(errors) == (status == 2), (number, err)
        for path, digest in state(folder).items():  # each is whole: the old one or the new one
            assert digest in (old.get(path), after.get(path)) or path in EVERY_EPOCH, path
        assert not leftovers(folder), number
        status, err, _ = step(name, folder)
        assert status == 0, (number, err)
        assert state(folder) == after, number


@pytest.mark.parametrize("name", STEPS)
def test_a_step_run_twice_at_once_is_whole(name, stages, tmp_path):
    before, after, _ = stages[name]
    folder = faults.copy(before, tmp_path / "work")
    both = [faults.start(command(name), STEPS[name][1], folder) for _ in range(2)]
    ended = [faults.finish(started) for started in both]
    assert all(status in (0, 2) and "Traceback" not in err for status, err, _ in ended), ended
    assert any(status == 0 for status, _, _ in ended), ended
    status, err, _ = step(name, folder)
    assert status == 0, err
    assert state(folder) == after and not leftovers(folder)


def fresh(stage, seed, root):
    """Run all steps on the labels of a seed from the beginning; return {step: state after it}."""
    folder, states = faults.copy(stage, root / f"fresh_{seed}"), {}
    for name in STEPS:
        status, err, _ = step(name, folder, extra=["--seed", seed] * (name == "preprocess"))
        assert status == 0, err
        states[name] = state(folder)
    return states


def own_files(before, after):
    """Return what a step has written, made by comparing the states before and after it."""
    return {path: digest for path, digest in after.items() if before.get(path) != digest}


def test_steps_in_any_order_equal_a_fresh_run_or_refuse(stages, tmp_path, long):
    start = stages["preprocess"][0]
    expected, files = {}, {}
    for seed in ("42", "7"):
        states = fresh(start, seed, tmp_path)
        steps = [{}, *states.values()]
        for name, before, after in zip(STEPS, steps, steps[1:], strict=False):
            expected[name, seed] = own_files(before, after)
            files.setdefault(name, set()).update(expected[name, seed])
    rng = random.Random(0)
    for _ in range(12 if long else SEQUENCES):
        folder, seed, order = faults.copy(start, tmp_path / "work"), None, []
        for _ in range(2 * LENGTH if long else LENGTH):
            # most orders would end at once if each step were as likely as another
            name = rng.choice(["preprocess", "train", "predict", *STEPS])
            seed = rng.choice(("42", "7")) if name == "preprocess" else seed
            order.append(f"{name} {seed}" if name == "preprocess" else name)
            before = state(folder)
            status, err, _ = step(name, folder, extra=["--seed", seed] * (name == "preprocess"))
            after = state(folder)
            if status == 0 and name != "report":  # which tells what is missing or old
                now = {path: after.get(path) for path in expected[name, seed]}
                assert now == expected[name, seed], order
            elif status:
                assert status == 2 and err.count("error: ") == 1, (order, err)
                assert after == before, order
