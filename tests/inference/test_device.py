import random

import numpy as np
import pytest
import torch

from ecg.inference.device import get_device, set_seed


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


def test_get_device_refuses_a_missing_gpu(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert get_device(False).type == "cpu"
    with pytest.raises(SystemExit):
        get_device(True)
    assert "without it" in capsys.readouterr().err
