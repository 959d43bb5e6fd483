"""The methods of the benchmark, one file each. Installed as `compact_bench_baselines`."""
