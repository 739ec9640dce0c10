"""How often the canary judge is wrong, and how fast it is right: simulated through the judge's own code."""
