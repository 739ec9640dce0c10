"""The report of a rollout: the case for or against its promotion."""
