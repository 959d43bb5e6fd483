"""Tests of compact_bench; the folders mirror the package."""
