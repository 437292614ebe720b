"""``python -m streams.cli``: how a process of this project starts another one."""

from streams.cli import main

main(prog_name="evenstream")
