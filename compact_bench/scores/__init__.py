"""Scores of a student's compatibility with each rationale: pure functions of tensors."""
