"""What is fitted, saved and used: view + field + threshold."""
