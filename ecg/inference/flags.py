"""The flags that choose a network or a model, and the file they lead to."""

import argparse
import glob
from pathlib import Path

from utils import BLOCKS, WIDTH, InputError, checkpoint_path, positive, run_name

DEVICES = ("auto", "cpu", "cuda", "mps")


def add_network_args(parser, **arch):
    """Add the flags that name a network; return their group. `arch`: other options of --arch."""
    if not arch:
        arch = {"choices": BLOCKS, "help": "depth of the network"}
    group = parser.add_argument_group("model")
    group.add_argument("--arch", default="resnet34", **arch)
    text = "channels of the first stage; twice, four and eight times as many in the others"
    group.add_argument("--width", type=positive, default=WIDTH, help=text)
    text = "start from this model's weights; the run is named after it"
    group.add_argument("--init", metavar="MODEL.pth", help=text)
    return group


def add_device_args(group):
    """Add the flags that say where and how exactly to compute."""
    text = "where to compute; auto: a CUDA GPU where there is one; mps: Apple's GPU, untried"
    group.add_argument("--device", choices=DEVICES, default="cpu", help=text)
    # SUPPRESS: the default is that of --device
    short = {"action": "store_const", "const": "cuda", "dest": "device"}
    text = "the same as --device cuda"
    group.add_argument("--use-gpu", **short, default=argparse.SUPPRESS, help=text)
    group.add_argument("--amp", action="store_true", help="compute in bfloat16 where that is safe")


def add_model_args(parser):
    """Add the flags of the scripts that save or load a model; return their group."""
    group = add_network_args(parser)
    add_device_args(group)
    return group


def add_model_path_arg(parser, **options):
    """Add the flag of the scripts that load a model."""
    text = "model to load, instead of models/<run>.pth"
    parser.add_argument("--model-path", **{"help": text} | options)


def parse_without(parser, argv, moved, command):
    """Parse flags; of those that have `moved`, say which `command` has them now."""
    args, others = parser.parse_known_args(argv)
    if gone := [word for word in others if word.split("=")[0] in moved]:
        parser.error(f"{gone[0]} has moved; for ECGs of your own: {command}")
    if others:
        parser.error(f"unrecognized arguments: {' '.join(others)}")
    return args


def present_models(data_dir, leads):
    """Return the file names of the models of a data folder and these leads that are there."""
    name = glob.escape(f"{Path(data_dir).resolve().name}_{leads}")
    paths = Path("models").glob(f"[!.]*_{name}_*.pth")
    return sorted(path.name for path in paths if not path.name.endswith(".last.pth"))


def find_model(model_path, network, data_dir, seed, round_number, leads):
    """Return the path of --model-path, or of the model that main.py makes with these flags.

    `network` and `leads` are their texts in file names. Raises InputError if there is no such file.
    """
    if model_path:
        if not Path(model_path).is_file():
            raise InputError(
                f"--model-path {model_path}: no such file; check the name, models lie in models/"
            )
        return Path(model_path)
    path = checkpoint_path(run_name(network, data_dir, seed, round_number, leads))
    if not path.is_file():
        train = f"python main.py --data-dir {data_dir} --leads {leads.replace('-', ',')}"
        there = present_models(data_dir, leads)
        others = f" ({', '.join(there)} is there; name it by --init or --arch)" if there else ""
        raise InputError(
            f"no model {path}{others}; train it: {train}, with the same --arch, --seed and --round"
        )
    return path
