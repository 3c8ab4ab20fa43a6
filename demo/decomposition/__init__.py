"""The Decomposition tab: how much of the mismatch is denoising term and how much Fisher term."""
