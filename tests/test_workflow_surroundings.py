"""The workflow in odd folders, with odd values, and twice at once; no network is trained."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import DX, noise, write_record

ROOT = Path(__file__).parents[1]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
ODD = 'Daten für EKG; $(touch x)\'s "a" & b'
# one round and one lead: few rules, and a model of which only the plan is looked at
SMALL = ["rounds=1", "lead_sets=I", "classifiers=LR", "epochs=1", "arch=resnet18", "jobs=1"]


def start(*argv, config=(), data="data/tiny"):
    text = str(data).replace("'", "''")  # a text of YAML
    command = [SNAKEMAKE, "--snakefile", ROOT / "Snakefile", *argv]
    command += ["--config", f"data_dir=!!str '{text}' #", *SMALL, *config]
    return subprocess.Popen(
        list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def run(*argv, status=0, **others):
    process = start(*argv, **others)
    out = process.communicate(timeout=600)[0]
    assert process.returncode == status, out[-4000:]
    return out


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Make 40 records in a folder of an odd name, below one that a link leads to."""
    monkeypatch.chdir(tmp_path)
    for i in range(40):
        write_record(tmp_path / "disk/g1", f"T{i:04d}", noise(i, 1000), list(DX.values())[i % 9])
    (tmp_path / ODD).mkdir()
    (tmp_path / ODD / "g1").symlink_to(tmp_path / "disk/g1")
    return tmp_path / ODD


def test_no_character_of_a_folder_is_read_by_a_shell_and_linked_groups_count(folder):
    name = f"LR_{ODD}_42"
    run("--until", "baseline", "dataset_table", data=ODD)
    assert Path(f"results/{name}/scores.csv").is_file()
    assert not Path("x").exists()
    assert "labels.csv" in {path.name for path in folder.iterdir()}
    assert Path(f"results/dataset_{ODD}/dataset_table.csv").is_file()
    header = folder.parent / "disk/g1/T0003.hea"
    header.write_text(header.read_text() + "# changed\n")
    plan = run("--dry-run", "--until", "baseline", data=ODD)
    assert {"preprocess", "baseline"} <= set(re.findall(r"^(\w+) +\d+$", plan, re.M))


def test_the_makefile_hands_a_folder_on_as_it_was_typed(tmp_path):
    code = "import sys; print(sys.argv[1:])"
    (tmp_path / "snakemake").write_text(f"#!{sys.executable}\n{code}\n")
    (tmp_path / "snakemake").chmod(0o755)
    targets = ["-o", ".venv/.workflow", "-o", ".venv/.installed"]
    values = [f"DATA={ODD}", "LEADS=all I", f"BIN={tmp_path}", "ROUNDS=2"]
    quoted = ODD.replace("'", "''")
    words = ["--config", f"data_dir=!!str '{quoted}' #", "rounds=2", "lead_sets=!!str 'all I' #"]
    for target, flags in {
        "reproduce": [],
        "overnight": ["--configfile", "config/laptop.yaml"],
    }.items():
        command = ["make", "-C", ROOT, "-s", *targets, target, *values, "FLAGS=--dry-run"]
        done = subprocess.run(command, capture_output=True, text=True)
        expected = str(["--dry-run", *flags, *words])
        assert done.returncode == 0 and expected in done.stdout, done.stdout + done.stderr
    assert not (ROOT / "x").exists()


@pytest.mark.parametrize("value", ["epoch=2", "amp=1", "classifiers=lr", "epochs=0x2"])
def test_a_configuration_that_cannot_be_carried_out_is_refused_in_the_dry_run(
    value, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    out = run("--dry-run", config=[value], status=1)
    assert f"error: the configuration cannot be carried out: {value.split('=')[0]}: " in out


def test_of_two_workflows_one_goes_on_and_the_other_stops(folder, monkeypatch):
    slow = folder.parent / "site"
    slow.mkdir()
    (slow / "sitecustomize.py").write_text(
        "import sys, time\ntime.sleep(30 * any('preprocess.py' in a for a in sys.orig_argv))\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(slow))
    first = start("dataset_table", data=ODD)
    while first.poll() is None and not Path(f"results/logs_{ODD}/preprocess.log").is_file():
        time.sleep(0.1)
    out = run("dataset_table", data=ODD, status=1)
    assert "another snakemake is at work" in out
    text = first.communicate(timeout=600)[0]
    assert first.returncode == 0, text[-4000:]


@pytest.mark.parametrize(("given", "taken"), [("", "[]\n"), (None, "[0]\n")])
def test_an_empty_list_of_gpus_is_none(given, taken, tmp_path):
    script = f"source '{ROOT}/profiles/free_gpu.sh'; echo \"[$CUDA_VISIBLE_DEVICES]\""
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    environment = {n: v for n, v in os.environ.items() if n != "CUDA_VISIBLE_DEVICES"}
    environment |= {"TMPDIR": str(tmp_path), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    environment |= {} if given is None else {"CUDA_VISIBLE_DEVICES": given}
    command = ["bash", "-euo", "pipefail", "-c", script]
    out = subprocess.run(command, env=environment, capture_output=True, text=True).stdout
    assert out == taken
