"""The workshop: its notebooks, and the checks and questions in them."""
