"""Eq. 1: a network trained by the clock or by steps, resumable, in one process or several."""
