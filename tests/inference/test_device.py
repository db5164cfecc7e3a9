import random

import numpy as np
import pytest
import torch

from ecg.inference.device import get_device, set_seed
from utils import InputError


def test_set_seed_repeats_every_generator():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    set_seed(1, 2)
    first = draw()
    assert draw() != first
    set_seed(1, 2)
    assert draw() == first
    set_seed(1, 3)
    assert not set(draw()) & set(first)


def test_get_device_refuses_a_missing_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert get_device("cpu").type == get_device("auto").type == "cpu"
    for name in ("cuda", "mps"):
        with pytest.raises(InputError) as stop:
            get_device(name)
        err = str(stop.value)
        assert "run the same command without" in err and f"--device {name}" in err


def test_get_device_takes_the_gpu_that_is_there_and_says_that_apples_is_untried(
    monkeypatch, capsys
):
    for module in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(module, "is_available", lambda: True)
    assert get_device("auto") == get_device("cuda") == torch.device("cuda:0")
    assert capsys.readouterr().err == ""
    assert get_device("mps").type == "mps" and get_device("cpu").type == "cpu"
    assert capsys.readouterr().err.startswith("note: nobody has tried")
