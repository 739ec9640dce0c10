"""The life of a rollout: what operators and the judge may do with it, and its rows."""
