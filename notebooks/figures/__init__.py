"""What the notebooks draw and tabulate; nothing is computed here but places on the page."""
