"""`make demo`."""

from demo.live import main

main()
