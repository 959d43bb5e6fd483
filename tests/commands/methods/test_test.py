"""`test`: the conformance checks of one method, as a table and as JSON."""

from __future__ import annotations

import json

from compact_bench.commands.methods import new


def test_test_runs_the_checks_of_a_plugin(call, refused, tmp_path):
    """One that passes, as JSON, and one that fails, as a table; a mistyped name starts nothing."""
    new.write("near_short", tmp_path)
    code, out, _ = call("test", "near_short", "--plugins", tmp_path, "--json")
    rows = json.loads(out)
    assert code == 0 and {row["result"] for row in rows} == {"ok"}
    assert {"check", "result", "why", "description"} == set(rows[0])
    file = tmp_path / "near_short.py"
    file.write_text(file.read_text().replace("return fusion", "return 2 * fusion"))
    code, out, _ = call("test", "near_short", "--plugins", tmp_path, "--set", "temperature=5")
    assert code == 1
    assert "sum to 2; expected finite weights that sum to 1" in out
    assert out.splitlines()[-1].startswith("near_short: ") and "FAILED" in out
    near = refused("test", "near_shrt", "--plugins", tmp_path)
    assert "unknown method 'near_shrt' (did you mean 'near_short'?)" in near
    wrong = refused("test", "near_short", "--plugins", tmp_path, "--set", "temperature=-1")
    assert "--set temperature: Input should be greater than 0" in wrong
    assert "expected KEY=VALUE" in refused("test", "average", "--set", "alpha")


def test_a_mistake_is_said_once_with_its_line(call, refused, tmp_path):
    """An error in `weights` fails most checks; the line in the plugin is in the message."""
    new.write("near_short", tmp_path)
    file = tmp_path / "near_short.py"
    file.write_text(file.read_text().replace("out.lengths.to", "out.lenghts.to"))
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "lenghts" in text)
    code, out, _ = call("test", "near_short", "--plugins", tmp_path)
    assert code == 1 and out.count("FAILED") == 1 + out.count(" as gradient") + 1
    assert out.count("has no attribute 'lenghts'") == 1
    assert f"(near_short.py:{line}, in weights: length = out.lenghts.to(" in out
    assert [one for one in out.splitlines() if one.startswith("gradient: each step")]
    wrong = refused("test", "near_short", "--plugins", tmp_path, "--set", "temprature=1")
    assert wrong.rstrip().endswith("; known: temperature")
