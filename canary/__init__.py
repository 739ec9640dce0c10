"""Rollouts: who gets the canary, is it good, and what happens next."""
