"""The student model: loading it, asking it, and what asking costs."""
