"""The paper's network: a 1-D ResNet that turns an ECG (N, L, T) into class logits (N, K).

Residual blocks after He et al. (2016), in one dimension, with kernel 7, dropout between the two
convolutions, and average and max pooling side by side before the linear layer.
"""

import hashlib
from pathlib import Path

import torch
from torch import nn

from utils import checkpoint_path, fail, replacing, run_name

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}  # blocks per stage
WIDTHS = (64, 128, 256, 512)  # channels per stage
KERNEL = 7
DROPOUT = 0.2

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

    def __init__(self, arch, n_leads, n_classes):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(n_leads, WIDTHS[0], 15, 2, 7, bias=False),
            nn.BatchNorm1d(WIDTHS[0]),
            nn.ReLU(),
            nn.MaxPool1d(3, 2, 1),
        )
        stages, n_in = [], WIDTHS[0]
        for stage, (n_blocks, width) in enumerate(zip(BLOCKS[arch], WIDTHS, strict=True)):
            for block in range(n_blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock1d(n_in, width, stride))
                n_in = width
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(2 * n_in, n_classes)

    def forward(self, x):
        """Map signals in mV (N, L, T) to logits (N, K)."""
        x = self.stages(self.stem(x))  # (N, 512, T / 32)
        average, peak = x.mean(-1), x.amax(-1)  # (N, 512) each
        return self.fc(torch.cat([average, peak], dim=1))


def add_model_args(parser):
    """Add the flags of the scripts that save or load a model."""
    group = parser.add_argument_group("model")
    group.add_argument("--arch", choices=BLOCKS, default="resnet34", help="depth of the network")
    group.add_argument("--use-gpu", action="store_true", help="use the first CUDA GPU")
    group.add_argument("--amp", action="store_true", help="compute in bfloat16 where that is safe")


def add_model_path_arg(parser):
    """Add the flag of the scripts that load a model."""
    parser.add_argument("--model-path", help="model to load, instead of models/<run>.pth")


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
    if not all(names and all(isinstance(name, str) for name in names) for names in texts):
        wrong.append("leads or classes")
    if not all(isinstance(value, torch.Tensor) for value in checkpoint["state_dict"].values()):
        wrong.append("state_dict")
    thresholds = checkpoint.get("thresholds", dict.fromkeys(checkpoint["classes"], 0.5))
    if set(thresholds) != set(checkpoint["classes"]) or not all(
        isinstance(value, float) and 0 <= value <= 1 for value in thresholds.values()
    ):
        wrong.append("thresholds")
    return wrong


def find_model(model_path, arch, data_dir, seed, round_number, leads):
    """Return the checkpoint of --model-path, or the one that main.py makes with these flags.

    `leads` is the text of the leads for file names. Stops if it is not there.
    """
    path = Path(model_path or checkpoint_path(run_name(arch, data_dir, seed, round_number, leads)))
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
    model = ResNet1d(trained, len(has), len(checkpoint["classes"]))
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError:
        fail(
            f"{path} holds weights of another network than resnet.py's {trained}; train it again: "
            "python main.py"
        )
    if not all(torch.isfinite(weights).all() for weights in model.state_dict().values()):
        fail(f"{path} holds weights that are not finite; train it again: python main.py")
    return model.to(device).eval(), checkpoint


def scored_run(path, checkpoint, data_dir):
    """Name a model's run on a data folder: the model's own name, or '<model>_on_<folder>'."""
    name, folder = Path(path).stem, Path(data_dir).resolve().name
    here = folder == Path(checkpoint["args"]["data_dir"]).name
    return name if here else f"{name}_on_{folder}"
