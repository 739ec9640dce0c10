"""`python -m sira`, which works from a checkout too."""

from sira.command import main

if __name__ == "__main__":
    main()
