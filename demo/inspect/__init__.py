"""The Inspect tab: score pictures, look at their mismatch through time; fit a field to one's own good pictures."""
