"""What `make run` and `make demo` add to the product: made-up transactions, two models, one command to start it all."""
