"""Run main.py with a thin network, under torchrun."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import main
import resnet
from ecg.running.command import run_main

resnet.WIDTHS = (8, 8, 16, 16)
main.plot_history = lambda *args: None  # which takes longer than the training
run_main(main.main, main.parse_args)
