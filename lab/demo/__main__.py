"""`make demo`: a backtest, then three canaries in turn under live traffic."""

from lab.demo.rollouts import main

if __name__ == "__main__":
    main()
