"""Bad input of any command is one line and exit code 2, and nothing starts."""

from __future__ import annotations


def test_bad_input_is_one_line_and_exit_code_2(refused, write_suite, plugins, tmp_path):
    results = tmp_path / "results"
    tail = ["--plugins", plugins, "--results", results]
    good = write_suite()
    assert "limit" in refused("run", good, "--limit", "0", *tail)
    assert "--seeds x" in refused("run", good, "--seeds", "x", *tail)
    assert "--seeds ''" in refused("run", good, "--seeds", "", *tail)
    assert "--seeds ''" in refused("tune", good, "--method", "dummy", "--trial-seeds", "", *tail)
    assert "--jobs" in refused("run", good, "--jobs", "9" * 20, *tail)
    mistyped = refused("run", good, "--set", "methods=[still, avrage]", *tail)
    assert "--set methods=[still, avrage]: unknown method 'avrage'" in mistyped
    assert "did you mean 'mini'" in refused("run", good, "--profile", "minni", *tail)
    assert "no such row" in refused("run", good, "--only", "dumy", *tail)
    assert "no such folder" in refused("run", good, "--plugins", tmp_path / "none")
    assert "can't read" in refused("run", tmp_path / "none.yaml")
    assert "none.gguf" in refused("run", good, "--set", "student.id=none.gguf", *tail)
    assert "No such option" in refused("run", good, "--hurry")
    wrong = write_suite(methods=["still", "avrage"])
    assert "tiny.yaml:6: unknown method 'avrage' (did you" in refused("run", wrong, *tail)


def test_bad_data_is_one_line_and_exit_code_2(refused, write_suite, plugins, data_files, tmp_path):
    tail = ["--plugins", plugins, "--results", tmp_path / "results"]
    train, test = data_files
    path = write_suite()
    assert "teacher" in refused("run", path, "--set", "data.teachers=[ada, carl]", *tail)
    assert "flying" in refused("run", path, "--set", "data.source=flying", *tail)
    assert "unknown data source" in refused("run", path, "--set", "data.source=flying", *tail)
    of_catalog = refused("run", path, "--set", "data.source=svamp", *tail)
    assert "data.test_source goes with a file of your own" in of_catalog
    assert "svamp is SVAMP" in of_catalog and "of its own" not in of_catalog
    for odd in ("a/" + "x" * 900, "~nosuchuser/a.jsonl", "gone.parquet"):
        assert "Traceback" not in refused("run", path, "--set", f"data.source={odd}", *tail)
        assert "Traceback" not in refused("run", path, "--set", f"student.id={odd}", *tail)
    rows = test.read_text()
    test.write_text(rows + train.read_text().splitlines()[0] + "\n")
    assert "test questions of 'in_domain' are in the training set" in refused("run", path, *tail)
    test.write_text(rows)
    lines = train.read_text()
    train.write_text(lines + '{"question": 3}\n')
    assert "train.jsonl:31" in refused("run", path, *tail)
    train.write_text(lines + '{"question": oops\n')
    assert f"{train}:31: not JSON" in refused("run", path, *tail)


def test_a_student_that_cannot_be_loaded_is_exit_code_2(refused, write_suite, plugins, tmp_path):
    student = tmp_path / "student"
    student.mkdir()
    (student / "config.json").write_text("{}")
    tail = ["--plugins", plugins, "--results", tmp_path / "results"]
    line = refused("run", write_suite(), "--set", f"student.id={student}", *tail)
    assert f"--set student.id={student}: student.id: can't load" in line


def test_unwritable_results_is_exit_code_2(refused, write_suite, plugins, tmp_path):
    (tmp_path / "file").write_text("")
    line = refused("run", write_suite(), "--plugins", plugins, "--results", tmp_path / "file")
    assert "can't write to the results folder" in line


def test_a_wrong_checksum_is_refused(refused, write_suite, plugins, tmp_path):
    from compact_bench.data.sources import RAW, catalog

    for repository in catalog().repositories.values():
        for name in repository.files:
            path = tmp_path / "mirror" / repository.url.removeprefix(RAW) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("[]")
    suite = write_suite(data={"source": "svamp"})
    line = refused("run", suite, "--plugins", plugins, "--mirror", tmp_path / "mirror")
    assert "SHA-256" in line and "the catalog expects" in line


def test_a_broken_plugin_stops_only_what_selects_it(call, refused, write_suite, plugins):
    (plugins / "broke.py").write_text("import nothing_here\n")
    code, out, _ = call("list", "methods", "--plugins", plugins)
    assert code == 0 and "No module named 'nothing_here'" in out
    suite = write_suite(methods=["still", "broke"])
    assert "broke.py: ModuleNotFoundError" in refused("run", suite, "--plugins", plugins)


def test_minutes_are_above_0_and_code_of_a_hub_must_be_allowed(
    refused, write_suite, plugins, tmp_path
):
    good = write_suite()
    tail = ["--plugins", plugins, "--results", tmp_path / "results"]
    for option in ("--cell-minutes", "--stall-minutes"):
        for value in ("0", "-1", "nan", "x", ""):
            line = refused("run", good, option, value, *tail)
            assert f"{option}" in line and "allowed: above 0, or inf" in line
    assert "number of minutes" in refused("tune", good, "--stall-minutes", "0", *tail)
    coded = write_suite(student={"id": "nano", "trust_remote_code": True})
    for command in (["run"], ["tune", "--method", "dummy"]):
        line = refused(command[0], coded, *command[1:], *tail)
        assert "student.trust_remote_code" in line and "--trust-remote-code" in line


def test_where_cells_run_is_checked_before_anything_starts(
    refused, write_suite, plugins, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))  # a machine without Slurm
    tail = [write_suite(), "--plugins", plugins, "--results", tmp_path / "results"]
    assert "--shard 3/2: allowed: I/N" in refused("run", *tail, "--shard", "3/2")
    assert "--shard x: allowed: I/N" in refused("plan", *tail, "--shard", "x")
    assert "--threads" in refused("run", *tail, "--threads", "0")
    assert "did you mean 'submitit'" in refused("run", *tail, "--executor", "submitt")
    assert "goes with --executor" in refused("run", *tail, "--resource", "mem_gb=4")
    assert "--executor submitit: " in refused("run", *tail, "--executor", "submitit")
