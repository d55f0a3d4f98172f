"""Ours in the place of others': what lets a program run unchanged."""
