"""Benchmark for distilling chain-of-thought rationales of several teachers into one student."""

__version__ = "0.1.0"
