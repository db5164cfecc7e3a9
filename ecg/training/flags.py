"""The flags of a training; main.py says what they do together."""

from argparse import BooleanOptionalAction

from dataset import SECONDS, add_round_arg
from ecg.training.configuration import SCHEDULES
from utils import fraction, positive, positive_number


def add_training_args(parser):
    """Add the flags of a training; without them it is the paper's."""
    group = parser.add_argument_group("training")
    add_round_arg(group)
    group.add_argument("--seconds", type=positive, default=SECONDS, help="length of the input, s")
    text = "passes over the records; with --init, if not given: 6 to 30, more for fewer records"
    group.add_argument("--epochs", type=positive, default=40, help=text)
    rate = {"type": positive_number, "default": 1e-4, "help": "the highest learning rate"}
    group.add_argument("--lr", "--learning-rate", **rate)
    text = "course of the learning rate; cosine: a short rise, then down to 0 in the last epoch"
    group.add_argument("--schedule", choices=SCHEDULES, default="constant", help=text)
    text = "train on random parts of --seconds of longer records; score them in overlapping "
    text += "windows and keep the largest logit"
    group.add_argument("--windows", action="store_true", help=text)
    text = "train on N new synthetic records an epoch"
    group.add_argument("--fresh", type=positive, metavar="N", help=text)
    text = "teach a second head where each criterion is, from synthetic records: with --fresh, or, "
    text += "if not given, with an --init that has this head and the same classes"
    group.add_argument("--evidence", action=BooleanOptionalAction, help=text)
    text = "keep the mean of --init's weights and the trained ones; if not given: where classes "
    text += "and leads are the same and the records are real"
    group.add_argument("--average", action=BooleanOptionalAction, help=text)
    text = "choose thresholds as if each class were present in this share of the records, such as "
    text += "0.05, and halfway to 0.5; not given: best F1 on the validation fold, drawn to 0.5 or "
    text += "to --init's where positives are few"
    group.add_argument("--prevalence", type=fraction, metavar="SHARE", help=text)
    text = "take each lead's median off, so that an offset is not read as an ST shift"
    group.add_argument("--centred", action="store_true", help=text)
    text = "class that excludes all others, such as SNR: one window without it is enough"
    group.add_argument("--normal", metavar="CLASS", help=text)
    group.add_argument("--patience", type=positive, help="stop after N epochs without a better one")
    text = "resume after the last finished epoch; auto: start over if that is impossible"
    resume = {"nargs": "?", "const": "strict", "choices": ("strict", "auto")}
    group.add_argument("--resume", **resume, help=text)
