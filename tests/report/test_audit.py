"""What `audit` prints, writes and draws of the generated teachers."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from compact_bench.__main__ import commands
from compact_bench.mini.world import Teaching, generate

SUITE = str(Path(__file__).parents[2] / "suites" / "gsm8k.yaml")
SMALL = ["audit", SUITE, "--set", "data.train=40", "--set", "data.test=30"]


def test_the_text_the_json_and_the_figure_are_of_the_bank(tmp_path: Path):
    figure = tmp_path / "teachers.svg"
    said = CliRunner().invoke(commands, [*SMALL, "--json", "--figure", str(figure)])
    assert said.exit_code == 0, said.output
    told = json.loads(said.stdout)
    assert told["questions"] == 40 and told["test"] == 30 and told["same"] == []
    names = [one["teacher"] for one in told["teachers"]]
    sound = generate("gsm8k", train=40, dev=1, test=1, teaching=Teaching(faults=0)).bank
    assert names == list(sound.teachers) == sorted(told["together"], key=names.index)
    assert all(one["low"] <= one["right"] <= one["high"] < 1 for one in told["teachers"])
    assert all(one["nll"] is None for one in told["teachers"])
    assert figure.read_text("utf-8").count(names[0]) >= 2
    text = CliRunner().invoke(commands, SMALL).stdout
    first = next(line for line in text.splitlines() if line.startswith(names[0]))
    assert f"{100 * told['teachers'][0]['right']:.1f}" in first


def test_the_students_likelihood_on_demand():
    said = CliRunner().invoke(commands, [*SMALL, "--set", "data.train=4", "--nll", "--json"])
    assert all(0 < one["nll"] < 20 for one in json.loads(said.stdout)["teachers"])


def test_another_ending_is_refused(tmp_path: Path):
    said = CliRunner().invoke(commands, [*SMALL, "--figure", str(tmp_path / "teachers.gif")])
    assert said.exit_code == 2 and "none of .svg, .pdf, .png" in said.output
