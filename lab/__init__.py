"""What is not shipped: the demo, fault injection, benchmarks, scripts and the embedded Postgres they run on."""
