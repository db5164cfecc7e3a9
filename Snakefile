"""Everything the paper reports, as rules: data, baselines, models, comparisons, explanations.

    snakemake                                        # config/paper.yaml
    snakemake --configfile config/demo.yaml
    snakemake --config epochs=5 lead_sets="all I"    # values of the configuration
    snakemake --dry-run

Commands and settings that change numbers are `params`: when one changes, its jobs are run again.
docs/reproduce.md describes interruptions, several GPUs and clusters.
"""

import atexit
import fcntl
import functools
import hashlib
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml

from dataset import LEADS, leads_text, parse_leads
from ecg.io.sources import walk
from ecg.training.configuration import check, words
from ecg.training.estimate import Work, WorkflowSettings, estimate
from utils import network_name, run_name

configfile: f"{workflow.basedir}/config/paper.yaml"


PAPER = yaml.safe_load(Path(workflow.basedir, "config/paper.yaml").read_text())
try:
    check(config, PAPER)
except ValueError as error:
    sys.exit(f"error: the configuration cannot be carried out: {error}")


def flags(*names, **others):
    """Return values of the configuration as flags of a step, without those that are null."""
    parts = []
    for name, value in ({name: config[name] for name in names} | others).items():
        if value is None or value is False:
            continue
        parts.append(f"--{name.replace('_', '-')}")
        if value is not True:
            parts.append(str(value))
    return shlex.join(parts)


def lead_set(text):
    """Bring the leads of a choice into the order of their names: 'V5,I' is I,V5."""
    return leads_text(parse_leads(text)).replace("-", ",")


def name_run(method, number=0, leads=None):
    """Name the run of a round; `leads` are a choice as `lead_set` writes it."""
    return run_name(method, DIR, config["seed"], number, leads and leads.replace(",", "-"))


def any_of(runs):
    """Return a pattern for the names of runs, which hold the name of the data folder."""
    return "|".join(map(re.escape, runs)) or "none"


DIR = os.path.normpath(str(config["data_dir"]))
NETWORK = network_name(config["arch"], int(config["width"]), config["init"])
# what names the network in the flags of a step; with --init the model says which network it is
NETWORK_FLAGS = ("init",) if config["init"] else ("arch", "width")
DATA = Path(DIR).resolve().name
CODE, PYTHON = shlex.quote(workflow.basedir), shlex.quote(sys.executable)
ROUNDS = range(int(config["rounds"]))
LEAD_SETS = list(dict.fromkeys(map(lead_set, words(config["lead_sets"]))))
CLASSIFIERS = words(config["classifiers"])  # LR, or LR-rhythm: with the rhythm features
MODELS = {name_run(NETWORK, i, leads): (i, leads) for leads in LEAD_SETS for i in ROUNDS}
# the runs that a job trains or scores: one, or with `shared` all lead sets of a round
if config["shared"]:
    JOB = "round{end}"  # end: nothing, or _r3
    JOB_RUNS = [name_run(NETWORK, 0, leads) + "{end}" for leads in LEAD_SETS]
    ENDS = [f"_r{i}" if i else "" for i in ROUNDS]
    JOB_NAMES = {"end": f"({'|'.join(ENDS)})"}
    RUNS_OF_JOBS = {f"round{end}": expand(JOB_RUNS, end=end) for end in ENDS}
else:
    JOB, JOB_RUNS, JOB_NAMES = "{run}", ["{run}"], {"run": any_of(MODELS)}
    RUNS_OF_JOBS = {run: [run] for run in MODELS}
BASELINES = {name_run(name, i): (i, name) for name in CLASSIFIERS for i in ROUNDS}
MAIN = name_run(NETWORK, 0, LEAD_SETS[0])
TWELVE = name_run(NETWORK, 0, "all")
SCORED = ("predictions.csv", "thresholds.json", "scores.csv")

# what changes no number, and so is no parameter
FREE = flags("num_workers", "use_gpu")
GPU = f"source {CODE}/profiles/free_gpu.sh; " if config["use_gpu"] else ""


def count_gpus():
    """Return the number of GPUs that this machine offers, at least 1."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return max(1, len(visible.split(",")))
    try:
        return max(1, subprocess.check_output(["nvidia-smi", "-L"], text=True).count("GPU "))
    except (OSError, subprocess.CalledProcessError):
        return 1


JOBS = config["jobs"] or (count_gpus() if config["use_gpu"] else 1)
THREADS = config["threads"] or max(1, os.cpu_count() // JOBS)
HEAVY = {"gpu": 1} if config["use_gpu"] else {}
DATA_FLAGS = flags("data_dir", "seed", "limit")
PACKED = [f"{DIR}/labels.csv", f"{DIR}/signals.json"]
STAMP = f"results/dataset_{DATA}/labels.sha256"
REPORT, REPORT_STAMP = f"results/report_{MAIN}.html", f"results/dataset_{DATA}/report.sha256"

SHA256 = PYTHON + """ -c 'import hashlib, sys; f = open(sys.argv[1], "rb").read()
print(hashlib.sha256(f).hexdigest())'"""

# fails where this cannot be known, so that synthetic signals never pass for others
MARK_SYNTHETIC = PYTHON + """ -c 'import sys; from ecg.io.sources import is_synthetic
if is_synthetic(sys.argv[1]): print("signals made by ecg/synthetic.py", file=open(sys.argv[2], "w"))'"""

shell.prefix("set -euo pipefail; export PYTHONUNBUFFERED=1 TQDM_MININTERVAL=30; ")
# commands (python -m ecg.NAME) are found from any folder
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [workflow.basedir, os.environ.get("PYTHONPATH")]))


RECORDS = (".hea", ".mat", ".dcm", ".dicom", ".xml", ".scp", ".edf", ".ecg", ".ishne", ".mwf",
           ".mfer", ".h5", ".hdf5", "_database.csv", "exams.csv", "metadata.csv", "diagnostics.xlsx",
           "diagnostics.csv", "record_list.csv")  # tables of data sets, ecg/io/layouts


def files(*endings):
    """Return the files of the data folder with one of these endings, whatever their case."""
    if not os.path.isdir(DIR):
        return []
    return [path for path in sorted(walk(DIR)) if path.name.lower().endswith(endings)]


@functools.cache
def fingerprint(_=None):
    """Return a hash of the records' headers, sizes and label files: what preprocess.py reads."""
    digest, own = hashlib.sha256(), Path(DIR, "reference.csv")  # written by preprocess.py itself
    for path in files(*RECORDS, ".dat", "reference.csv"):
        if path != own:
            name = os.fsencode(path.relative_to(DIR))
            digest.update(name + f" {path.stat().st_size}\n".encode())
            if path.suffix.lower() in (".hea", ".csv"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def is_stamped(path, stamp):
    """Tell whether a stamp, written by a rule below, is that of the present file."""
    if not os.path.isfile(path) or not os.path.isfile(stamp):
        return False
    return Path(stamp).read_text().split() == [hashlib.sha256(Path(path).read_bytes()).hexdigest()]


def is_made_by_hand():
    """Tell whether there are labels that the rule below has not made."""
    if not all(map(os.path.isfile, PACKED)):
        return False
    return not is_stamped(PACKED[0], STAMP) or not files(*RECORDS)


def paths(runs, names):
    return [f"results/{run}/{name}" for run in runs for name in names]


TABLES = [f"results/compare_rounds_{MAIN}/rounds.csv"]
TABLES += [f"results/compare_rounds_{MAIN}_vs_rounds_{name_run(name)}/differences.csv"
           for name in CLASSIFIERS]
if any(leads in LEADS for leads in LEAD_SETS):
    TABLES += [f"results/compare_leads_{TWELVE}/single_lead.csv"]


if workflow.is_main_process and not is_stamped(REPORT, REPORT_STAMP):
    Path(REPORT_STAMP).unlink(missing_ok=True)  # it is another report, such as that of `make demo`


rule all:
    input: REPORT, REPORT_STAMP


if is_made_by_hand():
    if workflow.is_main_process:
        print(f"note: {PACKED[0]} was not made by this workflow and is kept", file=sys.stderr)
else:
    rule preprocess:
        # kept until they are replaced: preprocess.py itself repacks only what has changed
        output: update(PACKED), update(f"{DIR}/dataset_table.csv"), STAMP
        params: flags=flags("data_dir", "limit"), records=fingerprint
        threads: THREADS
        log: f"results/logs_{DATA}/preprocess.log"
        benchmark: f"results/times_{DATA}/preprocess.tsv"
        shell:
            "{PYTHON} {CODE}/preprocess.py {params.flags} --jobs {threads} > {log:q} 2>&1; "
            "{SHA256} {output[0]:q} > {STAMP:q}"


rule dataset_table:  # for the report, with a mark if the signals are synthetic
    input: f"{DIR}/dataset_table.csv"
    output: f"results/dataset_{DATA}/dataset_table.csv"
    params: mark=f"results/dataset_{DATA}/synthetic.txt", folder=DIR
    shell:
        "cp {input:q} {output:q}; rm -f {params.mark:q}; "
        "{MARK_SYNTHETIC} {params.folder:q} {params.mark:q}"


def features_flags(*classifiers):
    """Return the flag of the features that classifiers take; none for the paper's."""
    rhythm = any(name.endswith("-rhythm") for name in classifiers)
    return flags(features="rhythm" if rhythm else None)


rule features:
    input: PACKED
    output: touch(f"results/dataset_{DATA}/features")
    params: flags=f"{flags('data_dir', 'limit')} {features_flags(*CLASSIFIERS)}".strip()
    threads: THREADS
    log: f"results/logs_{DATA}/features.log"
    benchmark: f"results/times_{DATA}/features.tsv"
    shell: "{PYTHON} -m ecg.features {params.flags} --jobs {threads} > {log:q} 2>&1"


def baseline_flags(number, name):
    given = flags("data_dir", "seed", "limit", round=number or None,
                  classifier=name.removesuffix("-rhythm"))
    return f"{given} {features_flags(name)}".strip()


rule baseline:
    input: PACKED, rules.features.output
    output: expand("results/{{run}}/{name}", name=SCORED)
    wildcard_constraints: run=any_of(BASELINES)
    params:
        flags=lambda w: baseline_flags(*BASELINES[w.run])
    threads: THREADS
    log: f"results/logs_{DATA}/baseline_{{run}}.log"
    benchmark: f"results/times_{DATA}/baseline_{{run}}.tsv"
    shell: "{PYTHON} {CODE}/baselines.py {params.flags} --jobs {threads} > {log:q} 2>&1"


def model_flags(*names):
    return flags("data_dir", "seed", "limit", *NETWORK_FLAGS, *names)


def job_runs(wildcards):
    """Return the names of the runs that a job trains or scores."""
    return expand(JOB_RUNS, **wildcards)


def choices(wildcards, output):
    """Return the round and the lead sets of a job as flags.

    Taking `output` makes it no parameter to Snakemake: `shared` is free to change.
    """
    rounds, sets = zip(*map(MODELS.get, job_runs(wildcards)))
    return shlex.join(["--round", str(rounds[0]), "--lead-sets", *sets])


rule train:
    input: PACKED
    output:
        [f"models/{name}.pth" for name in JOB_RUNS],
        paths(JOB_RUNS, ("run.json", "history.csv"))
    wildcard_constraints: **JOB_NAMES
    params:
        flags=model_flags("epochs", "batch_size", "lr", "schedule", "seconds", "windows", "patience",
                          "amp", "no_evidence"),
        choices=choices,
        # no output: Snakemake would delete it, and the finished epochs with it
        last=lambda w, output: [f"models/{run}.last.pth" for run in job_runs(w)]
    threads: THREADS
    resources: **HEAVY
    log: f"results/logs_{DATA}/train_{JOB}.log"
    benchmark: f"results/times_{DATA}/train_{JOB}.tsv"
    shell:
        "( {GPU}{PYTHON} {CODE}/main.py {params.flags} {params.choices} {FREE} --resume auto ) "
        "> {log:q} 2>&1; rm -f {params.last:q}"


rule score:
    input: PACKED, [f"models/{name}.pth" for name in JOB_RUNS]
    output: paths(JOB_RUNS, SCORED)
    wildcard_constraints: **JOB_NAMES
    params: flags=model_flags("batch_size", "amp"), choices=choices
    threads: THREADS
    resources: **HEAVY
    log: f"results/logs_{DATA}/score_{JOB}.log"
    benchmark: f"results/times_{DATA}/score_{JOB}.tsv"
    shell:
        "( {GPU}{PYTHON} {CODE}/predict.py {params.flags} {params.choices} {FREE} ) > {log:q} 2>&1"


def rounds_of(wildcards):
    runs = [run for run in (*MODELS, *BASELINES) if run in round_names(wildcards.run)]
    return [*PACKED, *paths(runs, SCORED)]


def round_names(first):
    return [first, *(f"{first}_r{i}" for i in ROUNDS)]


def compare_flags(wildcards):
    chosen = MODELS.get(wildcards.run) or BASELINES[wildcards.run]
    if wildcards.run in BASELINES:
        return flags("data_dir", "seed", "limit", arch=chosen[1])
    leads = None if chosen[1] == "all" else chosen[1]
    return flags("data_dir", "seed", "limit", *NETWORK_FLAGS, leads=leads)


rule compare_rounds:
    input: rounds_of
    output: expand("results/compare_rounds_{{run}}/{name}", name=("rounds.csv", "pooled.csv"))
    wildcard_constraints: run=any_of((MAIN, *map(name_run, CLASSIFIERS)))
    params: flags=compare_flags, rounds=len(ROUNDS)
    log: f"results/logs_{DATA}/compare_rounds_{{run}}.log"
    benchmark: f"results/times_{DATA}/compare_rounds_{{run}}.tsv"
    shell: "{PYTHON} -m ecg.compare --rounds {params.flags} > {log:q} 2>&1"


rule compare_pair:
    input: PACKED, f"results/compare_rounds_{MAIN}/pooled.csv", "results/compare_rounds_{run}/pooled.csv"
    output: f"results/compare_rounds_{MAIN}_vs_rounds_{{run}}/differences.csv"
    params: flags=DATA_FLAGS
    log: f"results/logs_{DATA}/compare_pair_{{run}}.log"
    benchmark: f"results/times_{DATA}/compare_pair_{{run}}.tsv"
    shell:
        "{PYTHON} -m ecg.compare compare_rounds_{MAIN:q} compare_rounds_{wildcards.run:q} {params.flags} "
        "> {log:q} 2>&1"


rule compare_leads:
    input: PACKED, paths(MODELS, SCORED)
    output: f"results/compare_leads_{TWELVE}/single_lead.csv"
    params: flags=flags("data_dir", "seed", "limit", *NETWORK_FLAGS)
    log: f"results/logs_{DATA}/compare_leads.log"
    benchmark: f"results/times_{DATA}/compare_leads.tsv"
    shell: "{PYTHON} -m ecg.compare --single-leads {params.flags} > {log:q} 2>&1"


def explain_flags(records):
    # not batch_size: a small one, chosen for training, would slow the gradients down
    leads = None if LEAD_SETS[0] == "all" else LEAD_SETS[0]
    names = ("data_dir", "seed", "limit", *NETWORK_FLAGS, "background", "samples")
    return flags(*names, records=records, leads=leads)


rule explain:
    input: PACKED, f"models/{MAIN}.pth"
    output: f"explanations/{MAIN}/values.csv", f"explanations/{MAIN}/index.html"
    params: flags=explain_flags(config["records"])
    threads: THREADS
    resources: **HEAVY
    log: f"results/logs_{DATA}/explain.log"
    benchmark: f"results/times_{DATA}/explain.tsv"
    shell: "( {GPU}{PYTHON} {CODE}/shap_values.py {params.flags} {FREE} --resume auto ) > {log:q} 2>&1"


rule faithfulness:
    input: PACKED, f"models/{MAIN}.pth", rules.explain.output
    output: f"explanations/{MAIN}/faithfulness.csv"
    params: flags=explain_flags(config["checked"] or config["records"])
    threads: THREADS
    resources: **HEAVY
    log: f"results/logs_{DATA}/faithfulness.log"
    benchmark: f"results/times_{DATA}/faithfulness.tsv"
    shell: "( {GPU}{PYTHON} -m ecg.faithfulness {params.flags} {FREE} --resume auto ) > {log:q} 2>&1"


def changes():
    """Say which values of config/paper.yaml this reproduction changes."""
    # the paper's network has no evidence head
    free = ("data_dir", "no_evidence", "use_gpu", "num_workers", "shared", "jobs", "threads")
    changed = [f"{name} {shown(config[name])} ({shown(value)})" for name, value in PAPER.items()
               if name not in free and str(config[name]) != str(value)]
    if not changed:
        return None
    text = f"The paper's configuration but for: {'; '.join(changed)}."
    if config["init"]:
        text += f" Network and first weights are those of {config['init']}, not {PAPER['arch']} with "
        text += "random weights as in the paper."
    return text


def shown(value):
    """Write a value of the configuration as the command line takes it."""
    if isinstance(value, list):
        return " ".join(map(str, value))
    return value if isinstance(value, str) else str(value).lower()


rule report:
    input:
        TABLES, paths((*MODELS, *BASELINES), SCORED), rules.faithfulness.output,
        rules.dataset_table.output
    output: REPORT, REPORT_STAMP
    params: flags=flags("data_dir", "seed", *NETWORK_FLAGS, leads=LEAD_SETS[0], note=changes())
    log: f"results/logs_{DATA}/report.log"
    benchmark: f"results/times_{DATA}/report.tsv"
    shell: "{PYTHON} -m ecg.report {params.flags} > {log:q} 2>&1; {SHA256} {output[0]:q} > {output[1]:q}"


def kind(job):
    """Return what the time of a job depends on: its rule, of a baseline its classifier."""
    return BASELINES[job.wildcards.run][1] if job.rule.name == "baseline" else job.rule.name


def print_estimate():
    """Print the number of jobs and the time they take; the last lines of a dry run."""
    jobs, left, models = [job for job in workflow.dag.jobs if workflow.dag.needrun(job)], Counter(), []
    for job in jobs:
        runs = job_runs(job.wildcards) if job.rule.name in ("train", "score") else [None]
        left[kind(job)] += len(runs)
        models += runs if job.rule.name == "train" else []
    n = sum(1 for _ in open(PACKED[0])) - 1 if os.path.isfile(PACKED[0]) else len(files(".mat"))
    n = min(n, int(config["limit"] or n))
    work = Work(RUNS_OF_JOBS, models, n, JOBS, THREADS)
    lines = estimate(WorkflowSettings.of(config), work, left, Path(f"results/times_{DATA}"))
    print("\n".join([f"{len(jobs)} jobs to do", *lines]), flush=True)


HELD = []  # the lock: it ends with the process, however that ends


def lock():
    """Stop if another workflow runs in this folder."""
    try:
        os.makedirs("results", exist_ok=True)
        HELD.append(open("results/.reproduce.lock", "w"))
        fcntl.flock(HELD[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("error: another snakemake is at work in this folder; wait until it has ended")
    except PermissionError as error:
        sys.exit(f"error: {error.filename} cannot be written; allow it, or work in another folder")
    except OSError as error:
        print(f"warning: no lock can be had here ({error.strerror}): start no second snakemake in "
              "this folder", file=sys.stderr)


onstart:
    # Snakemake 9.27 limits jobs a second by a timer that wakes its scheduler, which starts a timer:
    # one more for every job that has ended, to a fifth of a core after 300
    workflow.scheduler.job_rate_limiter = None
    lock()
    print_estimate()


if workflow.is_main_process:
    atexit.register(lambda: print_estimate() if workflow.dryrun else None)
