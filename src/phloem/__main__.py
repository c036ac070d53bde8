"""``python -m phloem``: the command line, where no ``phloem`` is on the path. Decides nothing."""

from __future__ import annotations

from phloem.cli import main

if __name__ == "__main__":
    main()
