from pathlib import Path

import pytest
import yaml

from ecg.training.configuration import check
from ecg.training.estimate import MODEL_GB
from resnet import BLOCKS

CONFIG = Path(__file__).parents[2] / "config"
PAPER = yaml.safe_load((CONFIG / "paper.yaml").read_text())


@pytest.mark.parametrize("path", sorted(CONFIG.glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_here_can_be_carried_out(path, monkeypatch):
    monkeypatch.chdir(CONFIG.parent)
    check(PAPER | yaml.safe_load(path.read_text()), PAPER)
    assert set(MODEL_GB) == set(BLOCKS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", "10"),
        ("epochs", None),  # main.py chooses, with init
        ("lr", "3e-4"),
        ("amp", "True"),
        ("lead_sets", "all I aVR"),
        ("classifiers", ""),
        ("classifiers", "LR LGB-rhythm"),
        ("data_dir", "Daten für EKG; $(touch x)'s"),
        ("limit", 40),
    ],
)
def test_what_the_command_line_gives_is_read(name, value):
    check(PAPER | {name: value}, PAPER)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("epoch", 2, "epoch: unknown; choose from data_dir, seed"),
        ("epochs", "0x2", "epochs: '0x2' is not a whole number"),
        ("epochs", 0, "epochs: '0' is not"),
        ("epochs", True, "epochs: 'True' is not"),
        ("epochs", [1], "epochs"),
        ("rounds", 11, "rounds: 11 rounds are more than the 10 folds"),
        ("rounds", None, "rounds"),
        ("seed", -1, "seed: '-1'"),
        ("lr", "nan", "lr: 'nan' is not a number above 0"),
        ("amp", 1, "amp: '1' is neither True nor False"),
        ("use_gpu", "yes", "use_gpu: 'yes' is neither"),
        ("schedule", "linear", "schedule: 'linear' is unknown; choose from constant, cosine"),
        ("arch", "resnet50", "arch: 'resnet50' is unknown; choose from resnet18, resnet34"),
        ("classifiers", "lr", "classifiers: 'lr' is unknown; choose from LR"),
        ("classifiers", ["LR", "lgb"], "classifiers: 'lgb'"),
        ("lead_sets", "all X", "lead_sets: unknown lead 'X'"),
        ("lead_sets", [], "lead_sets: it is empty"),
        ("lead_sets", 7, "lead_sets"),
        ("init", "models/none.pth", "init: models/none.pth: no such file"),
        ("data_dir", "data/{run}", "data_dir: 'data/{run}'"),
        ("width", "wide", "width: 'wide'"),
    ],
)
def test_what_no_step_would_take_is_refused_by_name(name, value, text):
    with pytest.raises(ValueError, match="^" + name) as error:
        check(PAPER | {name: value}, PAPER)
    assert str(error.value).startswith(text)
