"""How often the canary judge is wrong, and how fast it decides: simulated through the judge's own code."""
