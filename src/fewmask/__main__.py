"""python -m fewmask: the command line, also for torchrun."""

from fewmask.cli import main

if __name__ == "__main__":
    main()
