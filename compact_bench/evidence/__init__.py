"""What a cell measures beside its answers, while the student's weights are at hand.

Curves over training and over the size of the change, a second reading after a little relearning,
the divergence from the untrained student, hidden states and a sketch of the change: what the
report needs to say what was learned and what was forgotten, from records alone.
"""
