"""What the machine around a command may be like: no git, a notebook, odd settings, odd folders."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import utils

ROOT = Path(__file__).parents[1]
MODULES = ("utils.py", "dataset.py", "resnet.py")


def python(*argv, cwd=ROOT, **environment):
    """Run Python with this checkout on its path; return the finished process."""
    return subprocess.run(
        [sys.executable, *map(str, argv)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_without_git_the_revision_is_unknown():
    done = python("-c", "import utils; print(utils.git_revision())", PATH="/nowhere")
    assert (done.returncode, done.stdout) == (0, "unknown\n"), done.stderr


@pytest.mark.skipif(not shutil.which("git"), reason="no git")
def test_the_revision_is_that_of_this_checkout_and_not_of_one_around_it(tmp_path):
    git = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "other"], check=True)
    inner = tmp_path / "ecg-diagnosis"
    inner.mkdir()
    shutil.copy(ROOT / "utils.py", inner)
    code = "import utils; print(utils.git_revision())"
    assert python("-c", code, cwd=inner, PYTHONPATH=str(inner)).stdout == "unknown\n"
    shutil.copy(ROOT / "utils.py", tmp_path)
    done = python("-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert len(done.stdout.strip()) >= 7, done.stderr


@pytest.mark.parametrize("script", ["tool.py", "ecg/tool.py"])
def test_the_settings_of_a_notebook_or_a_user_do_not_rule_the_figures_of_our_scripts(
    script, tmp_path
):
    """A copy of the modules, with a command of its own, in a folder with a matplotlibrc."""
    for name in ("ecg", *MODULES):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 31\n")
    code = """\
from pathlib import Path
import utils
from ecg.plot import figures
figure, (ax,) = figures.make_panels(1, 1, 2, 2)
ax.set_title("a_b & 5 %")
figures.save_figure(figure, Path("out.png"))
print(ax.title.get_usetex(), figures.plt.rcParams["font.size"])
"""
    (tmp_path / script).write_text(code)
    inline = "module://matplotlib_inline.backend_inline"
    done = python(tmp_path / script, cwd=tmp_path, PYTHONPATH=str(tmp_path), MPLBACKEND=inline)
    assert done.returncode == 0 and done.stdout == "False 10.0\n", done.stderr
    assert (tmp_path / "out.png").is_file()


def test_a_notebook_that_imports_our_figures_keeps_its_own_settings():
    code = """\
import matplotlib
matplotlib.rcParams["font.size"] = 31
before = dict(matplotlib.rcParams)
from ecg.plot import ecg_paper, figures, scores
assert dict(matplotlib.rcParams) == before
print(matplotlib.get_backend())
"""
    done = python("-c", code, MPLBACKEND="svg")
    assert (done.returncode, done.stdout) == (0, "svg\n"), done.stderr


def test_modules_raise_in_a_session_and_arm_nothing_in_it():
    code = """\
import os, signal, sys
ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
before = [sys.excepthook, os.environ.copy(), *map(signal.getsignal, ours)]
import dataset
from ecg.inference.model import Model
from ecg.reading.recording import Recordings
from utils import InputError
assert before == [sys.excepthook, os.environ.copy(), *map(signal.getsignal, ours)]
for refused in (dataset.load_labels, dataset.PackedSignals, Model.load):
    try:
        refused("nowhere")
    except InputError as error:
        print(error)
"""
    done = python("-c", code)
    assert done.returncode == 0 and done.stderr == ""
    labels, signals, model = done.stdout.splitlines()
    assert labels == "no nowhere/labels.csv; make it: python preprocess.py --data-dir nowhere"
    assert signals.startswith("no nowhere/signals.json") and model.startswith("no model nowhere")


def test_memory_is_in_the_units_of_the_platform(monkeypatch):
    usage = type("Usage", (), {"ru_maxrss": 3 << 20})
    monkeypatch.setattr(utils.resource, "getrusage", lambda who: usage)
    monkeypatch.setattr(sys, "platform", "linux")
    assert utils.peak_memory_mb() == 3 << 10
    monkeypatch.setattr(sys, "platform", "darwin")
    assert utils.peak_memory_mb() == 3

    def unknown(name):
        raise ValueError("unrecognized configuration name")

    monkeypatch.setattr(os, "sysconf", unknown)
    assert utils.hardware().endswith("cores, unknown memory")
