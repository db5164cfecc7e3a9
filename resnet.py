"""The paper's network: a 1-D ResNet that turns an ECG (N, L, T) into class logits (N, K).

Residual blocks after He et al. (2016), in one dimension, with kernel 7, dropout between the two
convolutions, and average and max pooling side by side before the linear layer.
"""

import hashlib
from pathlib import Path

import torch
from torch import nn

from utils import checkpoint_path, fail, positive, replacing, run_name

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}  # blocks per stage
WIDTHS = (64, 128, 256, 512)  # channels per stage in the paper
WIDTH = 64  # of the first stage; --width scales all
KERNEL = 7
DROPOUT = 0.2

NO_PATIENT = "no patient"  # in the words for what a model has learnt from
CHECKPOINT_VERSION = 2  # raised when earlier checkpoints can no longer be used
EVERY_CHECKPOINT = {
    "state_dict": dict,
    "epoch": int,
    "leads": list,
    "classes": list,
    "labels": str,
    "signals": str,
    "shortest": (int, float),
    "args": dict,
    "versions": dict,
}
MODEL = EVERY_CHECKPOINT | {"thresholds": dict, "threshold_rule": str, "training_records": dict}
TRAINING = EVERY_CHECKPOINT | {"optimizer": dict, "history": list, "best": dict}
CHECKPOINT_ARGS = {"arch": str, "data_dir": str, "seconds": int, "pad": str, "round": int}


class BasicBlock1d(nn.Module):
    """Two convolutions and a shortcut; a strided or widening block projects its shortcut."""

    def __init__(self, n_in, n_out, stride):
        super().__init__()
        padding = KERNEL // 2
        self.conv1 = nn.Conv1d(n_in, n_out, KERNEL, stride, padding, bias=False)
        self.bn1 = nn.BatchNorm1d(n_out)
        self.conv2 = nn.Conv1d(n_out, n_out, KERNEL, 1, padding, bias=False)
        self.bn2 = nn.BatchNorm1d(n_out)
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(DROPOUT)
        self.shortcut = nn.Identity()
        if stride != 1 or n_in != n_out:
            projection = nn.Conv1d(n_in, n_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm1d(n_out))

    def forward(self, x):
        """Map (N, n_in, T) to (N, n_out, ceil(T / stride))."""
        y = self.dropout(self.relu(self.bn1(self.conv1(x))))
        y = self.bn2(self.conv2(y))
        return self.relu(y + self.shortcut(x))


class ResNet1d(nn.Module):
    """Stem, four stages of basic blocks, pooled features, a linear layer; returns logits."""

    def __init__(self, arch, n_leads, n_classes, width=WIDTH, window=None):
        super().__init__()
        self.window = window  # samples
        widths = [channels * width // WIDTH for channels in WIDTHS]
        self.stem = nn.Sequential(
            nn.Conv1d(n_leads, widths[0], 15, 2, 7, bias=False),
            nn.BatchNorm1d(widths[0]),
            nn.ReLU(),
            nn.MaxPool1d(3, 2, 1),
        )
        stages, n_in = [], widths[0]
        for stage, (n_blocks, n_out) in enumerate(zip(BLOCKS[arch], widths, strict=True)):
            for block in range(n_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock1d(n_in, n_out, stride))
                n_in = n_out
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(2 * n_in, n_classes)

    def forward(self, x):
        """Map signals in mV (N, L, T) to logits (N, K)."""
        x = self.stages(self.stem(x))  # (N, 8 widths, T / 32)
        average, peak = x.mean(-1), x.amax(-1)  # (N, 8 widths) each
        return self.fc(torch.cat([average, peak], dim=1))

    def starts(self, n):
        """Return where the windows of a record of n samples begin; the last ends where it does."""
        if self.window is None or n <= self.window:
            return [0]
        return [*range(0, n - self.window, self.window // 2), n - self.window]

    def score(self, x):
        """Map records in mV (N, L, T) to their logits (N, K): the largest over the windows."""
        starts = self.starts(x.shape[-1])
        if len(starts) == 1:
            return self(x)
        parts = [x[..., start : start + self.window] for start in starts]
        return self(torch.cat(parts)).reshape(len(parts), len(x), -1).amax(0)


def add_model_args(parser):
    """Add the flags of the scripts that save or load a model; return their group."""
    group = add_network_args(parser)
    group.add_argument("--use-gpu", action="store_true", help="use the first CUDA GPU")
    group.add_argument("--amp", action="store_true", help="compute in bfloat16 where that is safe")
    return group


def add_network_args(parser, **arch):
    """Add the flags that name a network, `arch` in place of --arch's own options; return them."""
    group = parser.add_argument_group("model")
    arch = arch or {"choices": BLOCKS, "help": "depth of the network"}
    group.add_argument("--arch", default="resnet34", **arch)
    text = "channels of the first stage; twice, four and eight times as many in the others"
    group.add_argument("--width", type=positive, default=WIDTH, help=text)
    text = "model whose weights main.py starts from, and the run is named after"
    group.add_argument("--init", metavar="MODEL.pth", help=text)
    return group


def network_name(arch, width=WIDTH, init=None):
    """Name a network for file names: resnet34, resnet18w24, from-general (--init general.pth)."""
    if init:
        return f"from-{Path(init).stem}"
    return arch if width == WIDTH else f"{arch}w{width}"


def add_model_path_arg(parser, **options):
    """Add the flag of the scripts that load a model."""
    text = "model to load, instead of models/<run>.pth"
    parser.add_argument("--model-path", **{"help": text} | options)


def weights_digest(state_dict):
    """Return the SHA-256 of a network's weights and their names."""
    digest = hashlib.sha256()
    for name, tensor in state_dict.items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path, **content):
    """Write a checkpoint of tensors, numbers, text, lists and dictionaries, atomically."""
    with replacing(path) as temporary:
        torch.save({"version": CHECKPOINT_VERSION, **content}, temporary)


def load_checkpoint(path, device="cpu", content=MODEL):
    """Read a checkpoint; stop with one line if it is not one, or not of this version."""
    try:
        return read_checkpoint(path, device, content)
    except FileNotFoundError:
        fail(f"no model {path}; train it: python main.py --data-dir FOLDER")
    except ValueError as error:
        fail(f"{path} {error}; train it again: python main.py")


def read_checkpoint(path, device="cpu", content=MODEL):
    """Read a checkpoint without unpickling code; `content` is MODEL or TRAINING.

    Raises FileNotFoundError, or ValueError with what is wrong with the file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(path)
    try:
        checkpoint = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises half a dozen unrelated types on a damaged file
        raise ValueError(
            f"cannot be read ({type(error).__name__}): truncated, or not a checkpoint of main.py"
        ) from None
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError("is not a checkpoint of main.py")
    if checkpoint.get("version") != CHECKPOINT_VERSION:
        raise ValueError(
            f"is of version {checkpoint.get('version', 1)} of the checkpoints, and "
            f"this code reads version {CHECKPOINT_VERSION}"
        )
    wrong = wrong_entries(checkpoint, content)
    if wrong:
        raise ValueError(f"is damaged ({', '.join(wrong)})")
    return checkpoint


def wrong_entries(checkpoint, content):
    """Return the names of a checkpoint's entries that are missing or not what they should be."""
    wrong = [name for name, kind in content.items() if not isinstance(checkpoint.get(name), kind)]
    if wrong:
        return wrong
    args, texts = checkpoint["args"], [checkpoint["leads"], checkpoint["classes"]]
    wrong = [
        f"args: {n}" for n, kind in CHECKPOINT_ARGS.items() if not isinstance(args.get(n), kind)
    ]
    wrong += [f"args: {name}" for name in ("limit", "seed") if name not in args]
    wrong += ["args: seconds"] * (not wrong and args["seconds"] < 1)
    wrong += ["args: pad"] * (not wrong and args["pad"] not in ("window", "batch"))
    if not all(
        names and all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
        for names in texts
    ):
        wrong.append("leads or classes")
    if not all(isinstance(value, torch.Tensor) for value in checkpoint["state_dict"].values()):
        wrong.append("state_dict")
    thresholds = checkpoint.get("thresholds", dict.fromkeys(checkpoint["classes"], 0.5))
    digests = checkpoint.get("training_records", {}).values()
    if not all(isinstance(digest, str) for digest in digests):
        wrong.append("training_records")
    if set(thresholds) != set(checkpoint["classes"]) or not all(
        isinstance(value, float) and 0 <= value <= 1 for value in thresholds.values()
    ):
        wrong.append("thresholds")
    return wrong


def find_model(model_path, network, data_dir, seed, round_number, leads):
    """Return the checkpoint of --model-path, or the one that main.py makes with these flags.

    `network` and `leads` are their texts in file names. Stops if it is not there.
    """
    run = run_name(network, data_dir, seed, round_number, leads)
    path = Path(model_path or checkpoint_path(run))
    if not path.is_file():
        train = f"python main.py --data-dir {data_dir} --leads {leads.replace('-', ',')}"
        fail(f"no model {path}; train it: {train}, with the same --arch, --seed and --round")
    return path


def load_model(path, device, leads=None):
    """Load a checkpoint; return (model in eval mode, checkpoint).

    The checkpoint's own leads, classes and seconds are used; other `leads` than its own stop.
    """
    checkpoint = load_checkpoint(path, device)
    has, trained = checkpoint["leads"], checkpoint["args"]["arch"]
    if leads is not None and list(leads) != has:
        fail(
            f"{path} was trained on leads {','.join(has)}, not {','.join(leads)}; leave --leads "
            "out, or train that choice: python main.py --leads " + ",".join(leads)
        )
    if trained not in BLOCKS:
        fail(
            f"{path} holds a network {trained!r}, which is none of {', '.join(BLOCKS)}; train it "
            "again: python main.py"
        )
    width, window = checkpoint["args"].get("width", WIDTH), checkpoint.get("window")
    model = ResNet1d(trained, len(has), len(checkpoint["classes"]), width, window)
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError:
        fail(
            f"{path} holds weights of another network than resnet.py's "
            f"{network_name(trained, width)}; train it again: python main.py"
        )
    if not all(torch.isfinite(weights).all() for weights in model.state_dict().values()):
        fail(f"{path} holds weights that are not finite; train it again: python main.py")
    return model.to(device).eval(), checkpoint


def transfer_weights(model, leads, classes, path):
    """Give a ResNet1d the weights of another model; return what is kept of where they came from.

    Both have the same network. Of the first convolution, the columns of `leads` are taken; the
    last layer, where the other model's classes are not `classes`, stays as it is.
    """
    other, checkpoint = load_model(path, "cpu")
    has = checkpoint["leads"]
    lacking = [lead for lead in leads if lead not in has]
    if lacking:
        fail(f"--init {path} has no lead {', '.join(lacking)}; choose --leads from {','.join(has)}")
    weights = other.state_dict()
    weights["stem.0.weight"] = weights["stem.0.weight"][:, [has.index(lead) for lead in leads]]
    if checkpoint["classes"] != list(classes):
        weights = {name: w for name, w in weights.items() if not name.startswith("fc.")}
    model.load_state_dict(model.state_dict() | weights)
    digest = weights_digest(checkpoint["state_dict"])
    return {"model": Path(path).name, "weights": digest, "trained_on": learnt_from(checkpoint)}


def learnt_from(checkpoint):
    """Say in words what a model has learnt from."""
    return checkpoint.get("trained_on", f"records of {checkpoint['args']['data_dir']}")


def describe(path, checkpoint):
    """Say in a sentence what a model is, what it has learnt from and how well it does, if known."""
    args, n = checkpoint["args"], len(checkpoint["leads"])
    network = network_name(args["arch"], args.get("width", WIDTH))
    seen = "windows of" if checkpoint.get("window") else "the last"
    text = (
        f"model {Path(path).name}: {network}, {n} lead{'s' * (n > 1)}, {seen} {args['seconds']} s"
    )
    parts = f"{text}; trained on {learnt_from(checkpoint)}", checkpoint.get("scored_on")
    return "; ".join(part for part in parts if part)


def scored_run(path, checkpoint, data_dir):
    """Name a model's run on a data folder: the model's own name, or '<model>_on_<folder>'."""
    name, folder = Path(path).stem, Path(data_dir).resolve().name
    here = folder == Path(checkpoint["args"]["data_dir"]).name
    return name if here else f"{name}_on_{folder}"
