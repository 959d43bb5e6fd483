"""``python -m compact_bench``."""

from compact_bench.cli import main

if __name__ == "__main__":
    main()
