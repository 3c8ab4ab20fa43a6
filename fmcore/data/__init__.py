"""Pictures from files, folders of them, and rendered examples; no field, no network."""
