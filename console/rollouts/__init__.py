"""Rollouts: what each waits for, and the buttons that steer it."""
