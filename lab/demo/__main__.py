"""`make demo`."""

from lab.demo.live import main

main()
