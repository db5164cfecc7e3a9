"""What is said of whole answers."""

import numpy as np

from ecg.evaluation.scored_run import whole_answers

Y_TRUE = np.array([[1, 0, 0], [1, 0, 0], [0, 1, np.nan], [0, 0, 1]])  # of the healthy: class 0


def test_an_answer_is_right_if_every_known_class_is():
    found = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 1], [0, 1, 1]], bool)
    text = "whole answer right: 2 of 4; healthy people with another finding: 1 of 2"
    assert whole_answers(Y_TRUE, found, 0) == text


def test_without_a_normal_class_nobody_is_called_healthy():
    assert whole_answers(Y_TRUE, Y_TRUE == 1, None) == "whole answer right: 4 of 4"
    assert whole_answers(Y_TRUE[2:], Y_TRUE[2:] == 1, 0) == "whole answer right: 2 of 2"
