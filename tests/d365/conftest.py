"""Hypothesis without deadlines: how long an example takes on a busy machine says nothing about it."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
