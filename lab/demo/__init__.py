"""`make run` and `make demo`: invented payments, two models trained on them, one command that starts everything."""
