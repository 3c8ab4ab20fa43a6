"""The Batch tab: score many pictures at once, relabel them by a threshold, take everything away."""
