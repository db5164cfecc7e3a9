"""Sizes of the paper that pages are printed on; without matplotlib, for the flags."""

PAPERS = {"A4": (297, 210), "letter": (279.4, 215.9)}  # mm, landscape
A4 = PAPERS["A4"]
