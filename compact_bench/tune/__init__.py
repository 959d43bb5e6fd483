"""Optuna chooses a method's settings on the dev split; the winner is tested once.

space (what is searched) -> study (trials, shared by processes) -> search (runs the trials' cells)
-> final (the winner as a suite, tested) -> tables, figures, page.
"""
