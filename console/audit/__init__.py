"""The audit log: who changed what, when and why, and whether the chain is whole."""
