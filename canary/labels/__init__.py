"""Fraud and legitimate, as they become known."""
