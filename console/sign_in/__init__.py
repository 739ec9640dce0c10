"""Signing in with a token or with a one-time link, and signing out."""
