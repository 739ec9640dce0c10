"""What operators and the judge may do to a rollout, and its rows."""
