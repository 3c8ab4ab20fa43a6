"""The Playground tab: the method in the plane, computed as the visitor acts."""
