"""`python -m compact_bench.student.nano`: make the shipped student again from its seed."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace
from pathlib import Path

from compact_bench.student.nano import nano_path
from compact_bench.student.nano.pretrain import Recipe, pretrain


def main(arguments: list[str] | None = None) -> None:
    """Parse the options and train."""
    default = {field.name: field.default for field in fields(Recipe)}
    parser = argparse.ArgumentParser(prog="python -m compact_bench.student.nano",
                                     description="Train the nano student.")  # fmt: skip
    parser.add_argument("--out", type=Path, default=nano_path(), help="folder to write")
    parser.add_argument("--steps", type=int, default=default["steps"], help="batches")
    parser.add_argument("--seed", type=int, default=default["seed"])
    parser.add_argument("--threads", type=int, default=1, help="the shipped student: 1")
    options = parser.parse_args(arguments)
    if options.steps < 1 or options.threads < 1:
        parser.error("--steps and --threads must be 1 or more")
    import torch

    torch.set_num_threads(options.threads)
    recipe = replace(Recipe(), steps=options.steps, seed=options.seed)
    pretrain(recipe, options.out, lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
