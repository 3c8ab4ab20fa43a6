"""The Compare tab: two fields, aggregators or pictures side by side, at the same noise."""
