import argparse
from pathlib import Path

import pytest

from ecg.inference.flags import add_device_args, find_model
from utils import InputError

RUN = ("resnet34", "data/CPSC", 42, 0, "I-V5")


def test_a_mistyped_model_path_is_said_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as stop:
        find_model("models/genral.pth", *RUN)
    err = str(stop.value)
    assert "--model-path models/genral.pth: no such file" in err and "train it" not in err


def test_a_model_that_is_not_there_yet_is_to_be_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as stop:
        find_model(None, *RUN)
    err = str(stop.value)
    assert "no model models/resnet34_CPSC_I-V5_42.pth" in err
    assert "python main.py --data-dir data/CPSC --leads I,V5" in err


def test_the_models_of_the_data_set_that_are_there_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    there = "from-general_mine_all_42.pth"
    for name in (
        there,
        "from-general_mine_I_42.pth",
        "from-x_mine_all_42.last.pth",
        "a_b_all_42.pth",
    ):
        Path("models", name).touch()
    with pytest.raises(InputError) as stop:
        find_model(None, "resnet34", "data/mine", 42, 0, "all")
    err = str(stop.value)
    assert f"no model models/resnet34_mine_all_42.pth ({there} is there; name it by --init" in err


def test_use_gpu_is_short_for_the_first_cuda_gpu():
    parser = argparse.ArgumentParser()
    add_device_args(parser)
    assert parser.parse_args([]).device == "cpu"
    assert parser.parse_args(["--use-gpu"]).device == "cuda"
    assert parser.parse_args(["--device", "auto"]).device == "auto"
    assert parser.parse_args(["--device", "mps", "--use-gpu"]).device == "cuda"
