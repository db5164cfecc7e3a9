"""Explain a model: SHAP values of test records, one figure a record and heat maps over all.

Reads   models/<run>.pth (from main.py), labels.csv and the packed signals of the data folder.
Writes  shap/<run>/: run.json (the options), values/<patient_id>.npz, values.csv,
        patient/<patient_id>.png, population.csv and .png (mean shares of |phi| per lead), and
        population_signed.csv and .png (the paper's signed sums, each row divided by its sum).

    python shap_values.py --data-dir data/CPSC --use-gpu
    python shap_values.py --data-dir data/CPSC --record A0001 A0013 --classes all
    torchrun --nproc-per-node 2 shap_values.py --data-dir data/CPSC

A record's values depend on its name, the seed and the other options in run.json alone (to the last
bit on one machine with one --batch-size), so a killed run goes on where it was. The tables and the
heat maps cover every finished record of the folder. The background comes from the training folds,
the explained records from the test fold; of a data set that the model was not trained on, every
record may be explained, against a background that leaves that record out.
"""

import datetime
import hashlib
import json
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from dataset import (
    CLASSES,
    LEADS,
    SAMPLE_RATE,
    ECGDataset,
    PackedSignals,
    add_data_args,
    add_round_arg,
    add_signal_args,
    folds_digest,
    is_training_data,
    leads_text,
    load_labels,
    round_folds,
)
from plots import plot_ecg, plot_heat_map
from resnet import add_model_args, add_model_path_arg, load_model
from utils import RESEARCH_USE, fail, get_device, make_parser, positive, replacing, write_csv

FIGURE_SECONDS = 10  # a patient-level figure shows the end of the record, as the paper's do
STORED = {"phi", "classes", "logits", "base", "n"}  # the arrays of values/<patient_id>.npz
GRADIENT_MEMORY = 4  # a gradient takes about this many times the memory of a prediction
CANCELLED = 0.05  # a row whose signed sum is below this part of its absolute sum is not divided


def parse_args(argv=None):
    parser = make_parser(__doc__)
    add_data_args(parser)
    add_round_arg(parser)
    add_signal_args(parser)
    add_model_args(parser)
    add_model_path_arg(parser)
    group = parser.add_argument_group("explanation")
    group.add_argument("--background", type=positive, default=100, help="background records")
    group.add_argument("--records", type=positive, default=200, help="explain at most so many")
    group.add_argument("--record", nargs="+", metavar="ID", help="explain these (None: a draw)")
    group.add_argument("--samples", type=positive, default=200, help="samples (ig: steps) a record")
    group.add_argument(
        "--classes", choices=("predicted", "all"), default="predicted", help="explained logits"
    )
    group.add_argument(
        "--method",
        choices=("shap", "ig"),
        default="shap",
        help="shap.GradientExplainer, or integrated gradients from a zero baseline",
    )
    group.add_argument("--force", action="store_true", help="delete what shap/<run> holds first")
    return parser.parse_args(argv)


class OneLogit(nn.Module):
    """The network seen through the logit of class `k`: (N, L, T) to (N, 1)."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.k = None

    def forward(self, x):
        """Return the logits of class k (N, 1), or zeros while no class is chosen."""
        if self.k is None:  # shap's constructor runs the whole background to count the outputs
            return x.new_zeros(len(x), 1)
        return self.model(x)[:, self.k : self.k + 1].float()


def sampled_gradients(model, x, background, samples, seed, batch_size):
    """Return shap.GradientExplainer's values (L, T) of x for the chosen logit."""
    import shap  # takes seconds to import

    k, model.k = model.k, None
    explainer = shap.GradientExplainer(model, background, batch_size=batch_size)
    model.k = k
    values = explainer.shap_values(x[None], nsamples=samples, rseed=seed)  # (1, L, T, 1)
    return values[0, ..., 0]


def integrated_gradients(model, x, steps, batch_size):
    """Return integrated gradients (L, T) of x from zero, by the midpoint rule.

    Sundararajan et al. (2017), equation 3; they sum to f(x) - f(0) as the steps grow.
    """
    total = torch.zeros_like(x)
    for part in ((torch.arange(steps, device=x.device) + 0.5) / steps).split(batch_size):
        points = (part[:, None, None] * x).requires_grad_()  # (steps, L, T)
        total += torch.autograd.grad(model(points).sum(), points)[0].sum(0)
    return (x * total / steps).cpu().numpy()


def explain(model, x, classes, background, args, seed, amp=False):
    """Return the values (k, L, T) of one record x (L, T) for the logits of some classes."""
    phi = []
    n = max(1, args.batch_size // GRADIENT_MEMORY)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
        for model.k in classes:
            if args.method == "ig":
                phi.append(integrated_gradients(model, x, args.samples, n))
            else:
                phi.append(sampled_gradients(model, x, background, args.samples, seed, n))
    return np.stack(phi).astype(np.float32)


def record_seed(patient_id, seed):
    """Return the record's own seed, from its name and --seed."""
    return zlib.crc32(f"{seed} {patient_id}".encode())


def choose_records(args, labels, trained_here):
    """Return the patient_ids to explain: those asked for, or a seeded draw, sorted by name."""
    _, _, test_fold = round_folds(args.round)
    if trained_here:
        allowed = labels[labels["fold"] == test_fold]
    else:
        allowed = labels
    allowed = sorted(allowed["patient_id"])
    for name in args.record or []:
        if name not in set(labels["patient_id"]):
            fail(f"no record {name} in {args.data_dir}/labels.csv; name one that is listed there")
        if name not in allowed:
            fold = labels.loc[labels["patient_id"] == name, "fold"].item()
            fail(f"record {name} is in fold {fold}, which the model was trained or chosen on; "
                 f"name records of the test fold {test_fold}")  # fmt: skip
    if args.record:
        return sorted(set(args.record))
    if not allowed:
        fail(f"the test fold {test_fold} holds no record; use more records (a larger --limit)")
    drawn = np.random.default_rng([args.seed, 0]).permutation(allowed)[: args.records]
    return sorted(drawn.tolist())


def draw_background(args, labels):
    """Return the training folds' patient_ids in a seeded order, one more than --background.

    The one more is for a record that is among the others itself (another data set's).
    """
    train_folds, _, _ = round_folds(args.round)
    names = sorted(labels.loc[labels["fold"].isin(train_folds), "patient_id"])
    order = np.random.default_rng([args.seed, 1]).permutation(names)[: args.background + 1]
    if len(order) < 2:
        fail(f"the training folds hold {len(order)} records, too few for a background; "
             "use more records (a larger --limit, or none)")  # fmt: skip
    if len(order) < args.background:
        print(f"note: {len(order)} background records, as the training folds hold no more")
    return order.tolist()


def run_options(args, checkpoint, labels, signals):
    """Return what decides the values of a record, as a flat dictionary for run.json."""
    digest = hashlib.sha256()
    for name, tensor in checkpoint["state_dict"].items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    names = ("method", "classes", "samples", "background", "seed", "round", "amp")
    return {
        "weights": digest.hexdigest(),
        "signals": signals.fingerprint,
        "folds": folds_digest(labels),
        **{name: getattr(args, name) for name in names},
        "leads": checkpoint["leads"],
        "seconds": checkpoint["args"]["seconds"],
    }


def open_folder(folder, options, force):
    """Prepare shap/<run>; stop if it holds values made with other options, unless `force`d."""
    path = folder / "run.json"
    if force:
        for old in [*folder.glob("values/*.npz"), *folder.glob("patient/*.png"), path]:
            old.unlink(missing_ok=True)
    if any(folder.glob("values/*.npz")):
        try:
            before = json.loads(path.read_text())
        except (OSError, ValueError):  # nobody knows how the values were made
            before = {}
        changed = [key for key in options if before.get(key) != options[key]]
        if changed:
            fail(f"{folder} holds values made with another {', '.join(changed)}; repeat that run's "
                 "options, or start anew with --force")  # fmt: skip
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**options, "use": RESEARCH_USE}, indent=2) + "\n")


def read_values(path):
    """Return a stored record's arrays as a dictionary, or None if it has to be made (again)."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        return None
    return arrays if set(arrays) == STORED else None


def score(model, x, batch_size):
    """Return the logits (N, K) of signals x (N, L, T)."""
    with torch.no_grad():
        return np.concatenate([model(part).cpu().numpy() for part in x.split(batch_size)])


def make_values(args, name, x, model, pool):
    """Return the arrays kept of one record x (L, T): phi (k, L, T), classes (k,), logits (K,)...

    `base` (K,) are the logits that phi starts from: the mean over the background, or ig's zeros.
    `pool` is the background: its names, signals (B + 1, L, T) and logits (B + 1, K).
    """
    names, signals, pool_logits = pool
    logits = score(model, x[None], 1)[0]
    classes = range(len(logits)) if args.classes == "all" else [int(logits.argmax())]
    others = [i for i, other in enumerate(names) if other != name][: args.background]
    if args.method == "ig":
        base = score(model, torch.zeros_like(x)[None], 1)[0]
    else:
        base = pool_logits[others].mean(0)
    seed = record_seed(name, args.seed)
    phi = explain(OneLogit(model), x, classes, signals[others], args, seed, args.amp)
    return {"phi": phi, "classes": np.array(classes), "logits": logits, "base": base}


def explain_records(args, folder, names, model, data, background):
    """Write values/<patient_id>.npz and its figure for each of the names that has none yet."""
    device = next(model.parameters()).device
    model.requires_grad_(False)  # only the input's gradient is wanted
    rows = {name: i for i, name in enumerate(data.patient_ids)}
    signals = torch.stack([torch.from_numpy(data[rows[name]][0]) for name in background])
    signals = signals.to(device)  # (B + 1, L, T)
    pool = background, signals, score(model, signals, args.batch_size)
    if args.amp:
        error = amp_error(args, signals[0], model, signals[1:])
        print(f"bfloat16 changes the values of {background[0]} by {error:.1%} (relative L2)")
    for name in tqdm(names, desc="explaining", unit="record"):
        path, figure = folder / "values" / f"{name}.npz", folder / "patient" / f"{name}.png"
        x, y = data[rows[name]]
        stored = read_values(path)
        if stored is None:
            stored = make_values(args, name, torch.from_numpy(x).to(device), model, pool)
            stored["n"] = np.array(data.signals[name].shape[1])  # samples of the whole record
            with replacing(path) as temporary:
                np.savez(temporary, **stored)
            figure.unlink(missing_ok=True)
        if not figure.exists():
            leads = [LEADS[row] for row in data.rows]
            true = [CLASSES[k] for k in np.flatnonzero(y)]
            draw_patient(figure, name, x, stored, leads, true)


def amp_error(args, x, model, background):
    """Return the relative L2 change that bfloat16 makes to the values of one record x (L, T)."""
    k = [int(score(model, x[None], 1)[0].argmax())]
    exact, rough = (
        explain(OneLogit(model), x, k, background, args, 0, amp) for amp in (False, True)
    )
    return np.linalg.norm(rough - exact) / np.linalg.norm(exact)


def predicted_values(stored):
    """Return the predicted (highest) class's index and its values (L, t) without the padding."""
    k = int(stored["logits"].argmax())
    phi = stored["phi"][list(stored["classes"]).index(k)]
    return k, phi[:, max(0, phi.shape[1] - int(stored["n"])) :]


def draw_patient(path, name, x, stored, leads, true):
    """Draw the end of one record, the leads in the order of their share of |phi|."""
    k, phi = predicted_values(stored)
    shares = np.abs(phi).sum(1) / max(np.abs(phi).sum(), 1e-30)  # (L,) of the whole record
    order = np.argsort(-shares, kind="stable")
    shown = min(FIGURE_SECONDS * SAMPLE_RATE, phi.shape[1])
    labels = [f"{leads[i]}\n{shares[i]:.1%}" for i in order]
    probability = 1 / (1 + np.exp(-stored["logits"][k]))
    title = (
        f"{name}: predicted {CLASSES[k]} (probability {probability:.2f}), "
        f"labelled {' + '.join(true) or 'none of the nine'}\n"
        f"last {shown / SAMPLE_RATE:g} s of {int(stored['n']) / SAMPLE_RATE:g} s; leads in the "
        "order of their share of |SHAP value| in all that the network saw"
    )
    start = (int(stored["n"]) - shown) / SAMPLE_RATE
    plot_ecg(x[order, -shown:], labels, SAMPLE_RATE, path, title, start, phi[order, -shown:])


def value_rows(name, stored):
    """Return a stored record's rows of values.csv, one a class."""
    padding = stored["phi"].shape[2] - int(stored["n"])
    rows = []
    for k, phi in zip(stored["classes"], stored["phi"].astype(float), strict=True):
        logit, base, size = stored["logits"][k], stored["base"][k], np.abs(phi).sum()
        rows.append(
            {
                "patient_id": name,
                "class": CLASSES[k],
                "predicted": int(k == stored["logits"].argmax()),
                "probability": 1 / (1 + np.exp(-logit)),
                "logit": logit,
                "base_logit": base,
                "phi_sum": phi.sum(),
                "residual": phi.sum() - (logit - base),
                "padding_share": np.abs(phi[:, : max(0, padding)]).sum() / max(size, 1e-30),
            }
        )
    return rows


def write_tables(folder, run, leads):
    """Write values.csv and both heat maps from the stored records, one in memory at a time."""
    rows = []
    count = np.zeros(len(CLASSES), int)
    shares, sums = np.zeros((2, len(CLASSES), len(leads)))
    for path in sorted(folder.glob("values/*.npz")):
        stored = read_values(path)
        if stored is None:
            print(f"note: {path} is damaged and left out; explain the record again")
            continue
        rows += value_rows(path.stem, stored)
        k, phi = predicted_values(stored)
        size = np.abs(phi).sum(1)
        shares[k] += size / max(size.sum(), 1e-30)
        sums[k] += phi.sum(1)
        count[k] += 1
    table = pd.DataFrame(rows)
    write_csv(table, folder / "values.csv")
    with np.errstate(invalid="ignore"):
        shares /= count[:, None]
    notes = np.where(count, "", "no record predicted as this")
    label = "mean share of |SHAP value|"
    write_population(folder / "population", run, leads, count, shares, notes, label)
    totals = sums.sum(1, keepdims=True)
    cancelled = np.abs(totals[:, 0]) < CANCELLED * np.abs(sums).sum(1)
    signed = np.divide(sums, totals, out=np.full_like(sums, np.nan), where=totals != 0)
    signed[cancelled] = np.nan
    notes[cancelled & (count > 0)] = "signed sums cancel: not divided by a sum near zero"
    label = "sum of SHAP values, of the row's sum"
    write_population(folder / "population_signed", run, leads, count, signed, notes, label)
    return table


def write_population(path, run, leads, count, values, notes, value_label):
    """Write class x lead values (K, L), with an AVG row over the classes, as csv and heat map."""
    filled = values[np.isfinite(values).all(1)]
    average = filled.mean(0) if len(filled) else np.full(len(leads), np.nan)
    values = np.vstack([values, average])
    names, counts = [*CLASSES, "AVG"], [*count, count.sum()]
    frame = pd.DataFrame({"class": names, "n": counts})
    frame[list(leads)] = values
    frame["note"] = [*notes, f"mean of {len(filled)} classes"]
    write_csv(frame, path.with_suffix(".csv"))
    labels = [f"{name} (n = {n})" for name, n in zip(names, counts, strict=True)]
    title = f"{run}: {value_label}, by predicted class"
    plot_heat_map(
        values, labels, leads, path.with_suffix(".png"), title, value_label, frame["note"]
    )


def join_processes(use_gpu):
    """Return this process's rank, how many torchrun started (1 without it), and its device."""
    rank, world = (int(os.environ.get(name, n)) for name, n in (("RANK", 0), ("WORLD_SIZE", 1)))
    device = get_device(use_gpu)
    if world > 1:
        # the first process to finish waits for the last one
        torch.distributed.init_process_group("gloo", timeout=datetime.timedelta(days=7))
        if use_gpu:
            device = torch.device(
                f"cuda:{int(os.environ['LOCAL_RANK']) % torch.cuda.device_count()}"
            )
    return rank, world, device


def main(args):
    rank, world, device = join_processes(args.use_gpu)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    labels = load_labels(args.data_dir, args.limit)
    signals = PackedSignals(args.data_dir)
    model, checkpoint, run = load_model(args, leads_text(args.leads), device)
    trained_here = is_training_data(checkpoint, labels, args)
    names = choose_records(args, labels, trained_here)
    background = draw_background(args, labels)
    leads, seconds = checkpoint["leads"], checkpoint["args"]["seconds"]
    data = ECGDataset(signals, labels, leads, seconds)
    folder = Path("shap") / run
    if rank == 0:
        open_folder(folder, run_options(args, checkpoint, labels, signals), args.force)
    if world > 1:
        torch.distributed.barrier()
    explain_records(args, folder, names[rank::world], model, data, background)
    if world > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    if rank == 0:
        table = write_tables(folder, run, leads)
        change = (table["logit"] - table["base_logit"]).abs().median()
        print(f"{table['patient_id'].nunique()} records in {folder}; heat map: "
              f"{folder / 'population.png'}\nmedian change of the logit from the background "
              f"{change:.3f}, of which the values miss {table['residual'].abs().median():.3f}; "
              f"more --samples make it less\n{RESEARCH_USE}")  # fmt: skip


if __name__ == "__main__":
    main(parse_args())
